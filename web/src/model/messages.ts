/** What the page and the worker that computes tell each other. */

import type { TileSize } from "../pixels/decode";
import type { CellBlock, Classified, LabelledCells, PreparedScene, SceneChoice, SceneInfo } from "../scene/messages";
import type { SceneSettings } from "./description";

export interface Answer extends Classified {
  /** Of the graph alone. */
  milliseconds: number;
}

/** What the worker is asked for: name, what it is given, what it returns. */
export interface Jobs {
  classify: { given: Blob; returned: Answer };
  /** The answers with a part of the picture covered, see `occlusion.occluded`. */
  occlude: { given: Blob; returned: Classified[] };
  openScene: { given: { file: Blob; settings: SceneSettings }; returned: SceneInfo };
  prepareScene: { given: SceneChoice; returned: PreparedScene };
  labelCells: { given: { block: CellBlock; canBeUnsure: boolean }; returned: LabelledCells };
}

export type Job<K extends keyof Jobs = keyof Jobs> = { [Each in K]: { kind: Each; id: number; given: Jobs[Each]["given"] } }[K];

export type Request =
  | { kind: "load"; tile: TileSize; graph: string; runtime: string; bytes: number; version: string; threads: number }
  | Job
  /** A job that is no longer wanted. */
  | { kind: "stop"; id: number };

export type Reply =
  | { kind: "progress"; fraction: number }
  | { kind: "ready" }
  | { kind: "failed"; message: string }
  | { kind: "step"; id: number; fraction: number }
  | { kind: "done"; id: number; returned: Jobs[keyof Jobs]["returned"] }
  | { kind: "refused"; id: number; message: string };
