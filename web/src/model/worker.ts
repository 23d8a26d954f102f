/** The worker that decodes and classifies, so that the page stays responsive. */

import { env, InferenceSession, Tensor } from "onnxruntime-web/wasm";

import { occluded, PASSES } from "../attribution/occlusion";
import { readTile, type TileSize } from "../pixels/decode";
import { Refusal } from "../refusal";
import type { SceneService } from "../scene/service";
import { download, keep } from "./download";
import type { Answer, Job, Jobs, Reply, Request } from "./messages";

const BANDS = 3;
let session: InferenceSession;
let tile: TileSize;
let scene: SceneService | null = null;
let last: Promise<void> = Promise.resolve();
const unwanted = new Set<number>(); // jobs that were stopped

self.onmessage = (event: MessageEvent<Request>) => {
  const asked = event.data;
  if (asked.kind === "stop") {
    unwanted.add(asked.id);
    return;
  }
  // One after the other, in order.
  last = last.then(() => (asked.kind === "load" ? load(asked) : work(asked)));
};

/** What the worker does when it is asked; `step` tells the fraction that is done, and throws once it was stopped. */
const WORK: { [Kind in keyof Jobs]: (given: Jobs[Kind]["given"], step: (fraction: number) => Promise<void>) => Promise<Jobs[Kind]["returned"]> } = {
  classify: async (file) => compute(await readTile(file, tile)),
  occlude: async (file, step) => {
    const found: Answer[] = [];
    for (const covered of occluded(await readTile(file, tile), tile.width, tile.height)) {
      found.push(await compute(covered));
      await step(found.length / PASSES);
    }
    return found;
  },
  openScene: async ({ file, settings }) => {
    scene = null; // not the last one, where this is refused
    const { SceneService } = await import("../scene/service"); // with the reader of TIFFs, which is large
    scene = await SceneService.open(file, settings, tile.width);
    return scene.info;
  },
  prepareScene: (choice, step) => opened().prepare(choice, step),
  labelCells: ({ block, canBeUnsure }) => opened().label(block, canBeUnsure, compute),
};

function opened(): SceneService {
  if (!scene) throw new Refusal("is not open");
  return scene;
}

function reply(message: Reply): void {
  self.postMessage(message);
}

async function load(asked: Extract<Request, { kind: "load" }>): Promise<void> {
  let loaded = 0;
  const arrived = (bytes: number) => {
    loaded += bytes;
    reply({ kind: "progress", fraction: Math.min(1, loaded / asked.bytes) });
  };
  try {
    tile = asked.tile;
    const [graph, runtime] = await Promise.all([
      named("The model", download(asked.graph, arrived)),
      named("The runtime", download(asked.runtime, arrived)),
    ]);
    env.wasm.numThreads = asked.threads;
    env.wasm.wasmBinary = runtime.content.buffer;
    env.wasm.wasmPaths = { mjs: new URL("ort-wasm-simd-threaded.js", self.location.href).href };
    session = await open(graph.content);
    const black = new Uint8Array(tile.width * tile.height * BANDS);
    await compute(black).catch((error: unknown) => {
      throw error instanceof Refusal ? new Error("The model is damaged: it gives no numbers. Export it again.") : error;
    }); // the first call is slower
    await keep([graph, runtime], asked.version);
    reply({ kind: "ready" });
  } catch (error) {
    reply({ kind: "failed", message: sentence(error) });
  }
}

async function open(graph: Uint8Array): Promise<InferenceSession> {
  // On shared cores, threads that spin while they wait take the time of those that compute.
  const extra = { session: { intra_op: { allow_spinning: "0" } } };
  return InferenceSession.create(graph, { executionProviders: ["wasm"], extra }).catch((error: unknown) => {
    console.error(error);
    throw new Error("The model cannot be opened: it is damaged, or the browser lacks the memory.");
  });
}

async function named<T>(what: string, done: Promise<T>): Promise<T> {
  try {
    return await done;
  } catch (error) {
    throw error instanceof Refusal ? new Error(`${what} ${error.message}`) : error;
  }
}

async function work({ kind, id, given }: Job): Promise<void> {
  const step = async (fraction: number) => {
    reply({ kind: "step", id, fraction });
    await new Promise((resolve) => setTimeout(resolve)); // messages arrive between tasks alone
    if (unwanted.delete(id)) throw new Refusal("is no longer asked for");
  };
  try {
    reply({ kind: "done", id, returned: await WORK[kind](given as never, step) });
  } catch (error) {
    if (!(error instanceof Refusal)) console.error(error);
    reply({ kind: "refused", id, message: error instanceof Refusal ? error.message : "cannot be read" });
  }
}

async function compute(pixels: Uint8Array<ArrayBuffer>): Promise<Answer> {
  const start = performance.now();
  const found = await session.run({ tiles: new Tensor("uint8", pixels, [1, tile.height, tile.width, BANDS]) });
  const answer: Answer = {
    probabilities: Array.from(found.probabilities!.data as Float32Array),
    score: found.ood_score ? (found.ood_score.data as Float32Array)[0]! : null,
    features: Float32Array.from(found.features!.data as Float32Array),
    milliseconds: performance.now() - start,
  };
  // Such features would spoil a head that learns from them, and all its answers.
  if (![...answer.probabilities, ...answer.features].every(Number.isFinite)) {
    throw new Refusal("has no answer: the model gives no numbers for it");
  }
  return answer;
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
