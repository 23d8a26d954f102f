/** The worker that decodes and classifies, so that the page stays responsive. */

import { env, InferenceSession, Tensor } from "onnxruntime-web/wasm";

import { readTile, type TileSize } from "../pixels/decode";
import { Refusal } from "../refusal";
import { download, keep } from "./download";
import type { Answer, Reply, Request } from "./messages";

const BANDS = 3;
let session: InferenceSession;
let tile: TileSize;
let last: Promise<void> = Promise.resolve();

self.onmessage = (event: MessageEvent<Request>) => {
  const asked = event.data;
  // One after the other, in order.
  last = last.then(() => (asked.kind === "load" ? load(asked) : classify(asked.id, asked.file)));
};

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
    await compute(new Uint8Array(tile.width * tile.height * BANDS)); // the first call is slower
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

async function classify(id: number, file: Blob): Promise<void> {
  try {
    reply({ kind: "answer", id, answer: await compute(await readTile(file, tile)) });
  } catch (error) {
    if (!(error instanceof Refusal)) console.error(error);
    reply({ kind: "refused", id, message: error instanceof Refusal ? error.message : "cannot be read" });
  }
}

async function compute(pixels: Uint8Array): Promise<Answer> {
  const start = performance.now();
  const found = await session.run({ tiles: new Tensor("uint8", pixels, [1, tile.height, tile.width, BANDS]) });
  return {
    probabilities: Array.from(found.probabilities!.data as Float32Array),
    score: found.ood_score ? (found.ood_score.data as Float32Array)[0]! : null,
    features: Float32Array.from(found.features!.data as Float32Array),
    milliseconds: performance.now() - start,
  };
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
