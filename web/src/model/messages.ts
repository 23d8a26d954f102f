/** What the page and the worker that computes tell each other. */

import type { TileSize } from "../pixels/decode";

export type Request =
  | { kind: "load"; tile: TileSize; graph: string; runtime: string; bytes: number; version: string; threads: number }
  | { kind: "classify"; id: number; file: Blob };

export interface Answer {
  probabilities: number[];
  score: number | null;
  features: Float32Array;
  /** Of the graph alone. */
  milliseconds: number;
}

export type Reply =
  | { kind: "progress"; fraction: number }
  | { kind: "ready" }
  | { kind: "failed"; message: string }
  | { kind: "answer"; id: number; answer: Answer }
  | { kind: "refused"; id: number; message: string };
