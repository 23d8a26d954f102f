/** The labels of a window of a scene, and what they come to. */

import type { Classified, LabelledCells } from "./messages";

/** Index of a class, or why there is none. */
export type Label = number | "nodata" | "not sure";

/** A window in whole tiles, on the grid of the scene. */
export interface TileWindow {
  left: number;
  top: number;
  side: number;
}

/** A part of a row of cells that is asked for at a time. */
export interface Step {
  row: number;
  column: number;
  count: number;
}

const CELLS_A_STEP = 8;

export class MapState {
  readonly rows: number;
  readonly columns: number;
  readonly span: [number, number];
  private readonly firstRow: number;
  private readonly found: (LabelledCells["cells"][number] | null)[];

  /**
   * @param scene size in pixels.
   * @param tile, stride sides of a tile and of a cell in pixels.
   */
  constructor(
    window: TileWindow,
    scene: { width: number; height: number },
    tile: number,
    readonly stride: number,
  ) {
    const cells = (tiles: number, side: number) => Math.min((tiles * tile) / stride, Math.ceil(side / stride));
    this.firstRow = (window.top * tile) / stride;
    this.span = [(window.left * tile) / stride, cells(window.left + window.side, scene.width)];
    this.rows = cells(window.top + window.side, scene.height) - this.firstRow;
    this.columns = this.span[1] - this.span[0];
    this.found = Array.from({ length: this.rows * this.columns }, () => null);
  }

  get count(): number {
    return this.found.length;
  }

  /** Return the parts of the window, row by row. */
  steps(): Step[] {
    const starts = Array.from({ length: Math.ceil(this.columns / CELLS_A_STEP) }, (_, part) => part * CELLS_A_STEP);
    return Array.from({ length: this.rows }, (_, row) =>
      starts.map((start) => ({
        row: this.firstRow + row,
        column: this.span[0] + start,
        count: Math.min(CELLS_A_STEP, this.columns - start),
      })),
    ).flat();
  }

  /** Return row and column in the window of a part. */
  place({ row, column }: Step): [number, number] {
    return [row - this.firstRow, column - this.span[0]];
  }

  add(step: Step, cells: LabelledCells["cells"]): void {
    const [row, column] = this.place(step);
    cells.forEach((cell, each) => (this.found[row * this.columns + column + each] = cell));
  }

  /** Return the label of each cell, row by row; null for those that are not labelled yet. */
  labels(judge: (cell: Classified) => number | "not sure"): (Label | null)[] {
    return this.found.map((cell) => (cell === null || typeof cell === "string" ? cell : judge(cell)));
  }
}

/** Return the fraction of the cells with data that each label has, the largest first. */
export function shares(labels: (Label | null)[]): [Exclude<Label, "nodata">, number][] {
  const counts = new Map<Exclude<Label, "nodata">, number>();
  for (const label of labels) if (label !== null && label !== "nodata") counts.set(label, (counts.get(label) ?? 0) + 1);
  const total = [...counts.values()].reduce((sum, each) => sum + each, 0);
  return [...counts].map(([label, count]): [typeof label, number] => [label, count / total]).sort((a, b) => b[1] - a[1]);
}
