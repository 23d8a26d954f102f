/** What the page and the worker tell each other of a scene. */

/** A scene, as its file describes it. */
export interface SceneInfo {
  width: number;
  height: number;
  /** Description of each band; empty strings for none. */
  bands: string[];
  /** Red, green and blue, counted from 0. */
  chosen: Rgb;
  /** How they were chosen, and whether the file states them. */
  source: string;
  stated: boolean;
  /** Metres of a pixel. */
  metres: number;
  dtype: string;
}

export type Rgb = [number, number, number];

/** What the user chose for a scene. */
export interface SceneChoice {
  bands: Rgb;
  /** Whether the user named the bands, and did not leave those that the file states. */
  given: boolean;
  /** Values that become 0 and 255; null to tell them by the scene. */
  range: [number, number] | null;
}

/** Small picture of a whole scene. */
export interface Preview {
  width: number;
  height: number;
  rgba: Uint8ClampedArray<ArrayBuffer>;
}

export interface PreparedScene {
  /** How values become those of tiles, in words. */
  scaling: string;
  preview: Preview;
}

/** A part of a row of grid cells. */
export interface CellBlock {
  /** Side of a cell in pixels. */
  stride: number;
  row: number;
  column: number;
  count: number;
  /** First and last column that will be asked for in this row. */
  span: [number, number];
}

/** A cell that was classified. */
export interface Classified {
  probabilities: number[];
  score: number | null;
  features: Float32Array;
}

export interface LabelledCells {
  /** For each cell what it is, or why it has no class. */
  cells: (Classified | "nodata" | "not sure")[];
  /** Pixels of the cells, (stride, count * stride, 4). */
  rgba: Uint8ClampedArray<ArrayBuffer>;
}
