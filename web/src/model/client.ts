/** The model, as the page calls it: a worker that answers one picture after the other. */

import type { ModelDescription } from "./description";
import type { Answer, Job, Jobs, Reply, Request } from "./messages";
import { Refusal } from "../refusal";

/** The names of all files of the page with their sizes in bytes, from files.js. */
export interface PageFiles {
  version: string;
  bytes: Record<string, number>;
}

export const RUNTIME = "ort-wasm-simd-threaded.wasm.gz";
const MOST_THREADS = 4;

/**
 * Half of the cores: where other programs need the rest, a thread that waits for another costs more than it saves.
 * Threads share memory, which a browser allows on isolated pages alone: see the service worker.
 */
function threadCount(): number {
  return crossOriginIsolated ? Math.max(1, Math.min(MOST_THREADS, navigator.hardwareConcurrency >> 1)) : 1;
}

interface Waiting {
  resolve: (returned: Jobs[keyof Jobs]["returned"]) => void;
  reject: (error: Error) => void;
  step: Step;
}

/** Called with the fraction that is done; false stops it. */
export type Step = (fraction: number) => boolean | void;

export class Model {
  private readonly waiting = new Map<number, Waiting>();
  private asked = 0;

  private constructor(private readonly worker: Worker) {}

  /**
   * Start the worker and load the graph.
   *
   * @param progress called with the fraction of the bytes that have arrived.
   * @throws Error with a sentence for the user.
   */
  static load(model: ModelDescription, files: PageFiles, progress: (fraction: number) => void): Promise<Model> {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "model" });
    const loaded = new Model(worker);
    return new Promise((resolve, reject) => {
      worker.onerror = (event) => {
        reject(new Error(`The page's worker cannot start. ${event.message ?? ""}`.trim()));
        for (const each of loaded.waiting.values()) each.reject(new Refusal("stopped the model: reload the page"));
        loaded.waiting.clear();
      };
      worker.onmessage = ({ data }: MessageEvent<Reply>) => {
        if (data.kind === "progress") progress(data.fraction);
        else if (data.kind === "ready") resolve(loaded);
        else if (data.kind === "failed") reject(new Error(data.message));
        else loaded.answered(data);
      };
      loaded.send({
        kind: "load",
        tile: model.tile,
        graph: new URL(model.graph.file, document.baseURI).href,
        runtime: new URL(RUNTIME, document.baseURI).href,
        bytes: model.graph.bytes + (files.bytes[RUNTIME] ?? 0),
        version: files.version,
        threads: threadCount(),
      });
    });
  }

  /** Classify a picture. @throws Refusal if it cannot be used. */
  async classify(file: Blob): Promise<Answer> {
    const start = performance.now();
    const answer = await this.ask("classify", file);
    // Seen in the browser's developer tools, and by benchmarks/web_page.py.
    performance.measure("picture", { start });
    performance.measure("graph", { start, duration: answer.milliseconds });
    return answer;
  }

  /**
   * Ask the worker for something.
   *
   * @throws Refusal if a file cannot be used, and where `step` stopped it.
   */
  ask<Kind extends keyof Jobs>(
    kind: Kind,
    given: Jobs[Kind]["given"],
    step: Step = () => {},
  ): Promise<Jobs[Kind]["returned"]> {
    const id = this.asked++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as Waiting["resolve"], reject, step });
      this.send({ kind, id, given } as Job);
    });
  }

  private send(request: Request): void {
    this.worker.postMessage(request);
  }

  private answered(reply: Extract<Reply, { id: number }>): void {
    const waiting = this.waiting.get(reply.id);
    if (reply.kind === "step") {
      if (waiting?.step(reply.fraction) === false) this.send({ kind: "stop", id: reply.id });
      return;
    }
    this.waiting.delete(reply.id);
    if (reply.kind === "done") waiting?.resolve(reply.returned);
    else waiting?.reject(new Refusal(reply.message));
  }
}
