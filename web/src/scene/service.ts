/** The scene that is open in the worker: its preview, and its grid cells. Loaded when the first scene arrives. */

import type { SceneSettings } from "../model/description";
import { Refusal } from "../refusal";
import { cutCell, mirrored, type Patch } from "./cells";
import { recognise } from "./encoding";
import type { CellBlock, Classified, LabelledCells, PreparedScene, Rgb, SceneChoice, SceneInfo } from "./messages";
import { Raster, type Values, type Window } from "./raster";
import { chooseScaling, matchAtmosphere, type Scaling, toBytes } from "./scaling";
import { RGB } from "./tags";

const SAMPLE_SIDE = 1024; // longest side of the overview
const WINDOW_SIDE = 128; // of the windows that tell the encoding
const PREVIEW_SIDE = 512;

/** Computes the graph on a tile, uint8 (tile, tile, 3). */
export type Compute = (tile: Uint8Array<ArrayBuffer>) => Promise<Classified>;

export class SceneService {
  private bands: Rgb = [0, 1, 2];
  private scaling: Scaling | null = null;
  private row: { of: string; patch: Patch } | null = null;

  private constructor(
    private readonly raster: Raster,
    private readonly settings: SceneSettings,
    private readonly tile: number,
  ) {}

  static async open(file: Blob, settings: SceneSettings, tile: number): Promise<SceneService> {
    const raster = await Raster.open(file, settings.resolution);
    const { width, height } = raster.info;
    if (Math.min(width, height) < tile) throw new Refusal(`is ${width}x${height} pixels, smaller than one tile of ${tile}`);
    return new SceneService(raster, settings, tile);
  }

  get info(): SceneInfo {
    return this.raster.info;
  }

  /** Choose how the scene is read, and return a small picture of it. */
  async prepare({ bands, given, range }: SceneChoice, step: (fraction: number) => Promise<void>): Promise<PreparedScene> {
    this.bands = bands;
    [this.row, this.scaling] = [null, null];
    const sample = await this.raster.sample(bands, SAMPLE_SIDE, step);
    const scaling = range ? given3(range) : await this.recognise(sample, given);
    this.scaling = scaling;
    return { scaling: scaling.source, preview: preview(sample, scaling) };
  }

  /** Label cells of one row. */
  async label({ stride, row, column, count, span }: CellBlock, canBeUnsure: boolean, compute: Compute): Promise<LabelledCells> {
    const { tile } = this;
    const margin = (tile - stride) / 2;
    const key = [stride, row, ...span].join();
    if (this.row?.of !== key) {
      const [left, right] = span.map((each) => each * stride) as [number, number];
      this.row = { of: key, patch: await this.patch(left - margin, row * stride - margin, right - left + 2 * margin, tile) };
    }
    const { patch } = this.row;
    const cells: LabelledCells["cells"] = [];
    for (let place = column; place < column + count; place++) {
      const cut = cutCell(patch, (place - span[0]) * stride, tile, stride, canBeUnsure);
      cells.push(typeof cut === "string" ? cut : await compute(cut));
    }
    const left = (column - span[0]) * stride + margin;
    return { cells, rgba: picture(patch, left, margin, count * stride, stride) };
  }

  private async recognise(sample: Window, given: boolean): Promise<Scaling> {
    const { dtype } = this.info;
    const tags = this.bands.map((band) => this.raster.tags.band(band, dtype === "uint8"));
    const found = this.bands.map((band) => this.info.names[band]!);
    const names = given && new Set(this.bands).size === found.length && !found.some(Boolean) ? [...RGB] : found;
    const values = sample.bands.map((band) => band.filter((_: number, place: number) => sample.valid[place]));
    const encoding = recognise(tags, dtype, values, await this.somePixels(), names, this.settings.white);
    return matchAtmosphere(chooseScaling(encoding, this.settings), values, this.settings);
  }

  /** Return values of a few windows as they are in the file. */
  private async somePixels(): Promise<number[][]> {
    const [height, width] = [this.info.height, this.info.width].map((side) => Math.min(WINDOW_SIDE, side)) as [number, number];
    const found: number[][] = [[], [], []];
    for (const [down, across] of [[0.5, 0.5], [0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]] as const) {
      const [top, left] = [Math.trunc(down * (this.info.height - height)), Math.trunc(across * (this.info.width - width))];
      const window = await this.raster.read(this.bands, left, top, width, height);
      window.bands.forEach((values, band) => {
        for (let place = 0; place < values.length; place++) if (window.valid[place]) found[band]!.push(values[place]!);
      });
    }
    return found;
  }

  /** Read a window in the numbers of tiles; beyond its edges the scene is mirrored. */
  private async patch(left: number, top: number, width: number, height: number): Promise<Patch> {
    if (!this.scaling) throw new Refusal("has no scaling yet");
    const across = inside(left, width, this.info.width);
    const down = inside(top, height, this.info.height);
    const read = await this.raster.read(this.bands, across.first, down.first, across.count, down.count);
    const bytes = read.bands.map((values, band) => toBytes(values, this.scaling!.low[band]!, this.scaling!.high[band]!));
    const patch: Patch = { width, height, pixels: new Uint8Array(3 * width * height), valid: new Uint8Array(width * height) };
    for (let row = 0; row < height; row++) {
      const start = (mirrored(top + row, this.info.height) - down.first) * read.width;
      for (let column = 0; column < width; column++) {
        const from = start + mirrored(left + column, this.info.width) - across.first;
        const to = row * width + column;
        patch.valid[to] = read.valid[from]!;
        for (let band = 0; band < 3; band++) patch.pixels[3 * to + band] = bytes[band]![from]!;
      }
    }
    return patch;
  }
}

function given3([low, high]: [number, number]): Scaling {
  return { low: [low, low, low], high: [high, high, high], source: `values ${low} to ${high}, as given` };
}

/** Return the pixels of a side that a window needs, which may reach beyond it. */
function inside(start: number, count: number, side: number): { first: number; count: number } {
  const used = Array.from({ length: count }, (_, place) => mirrored(start + place, side));
  const first = Math.min(...used);
  return { first, count: Math.max(...used) - first + 1 };
}

function preview({ width, height, bands, valid }: Window, { low, high }: Scaling): PreparedScene["preview"] {
  const step = Math.max(1, Math.ceil(Math.max(width, height) / PREVIEW_SIDE));
  const [across, down] = [Math.ceil(width / step), Math.ceil(height / step)];
  const rgba = new Uint8ClampedArray(4 * across * down);
  const rows = bands.map((values, band) => toBytes(values as Values, low[band]!, high[band]!));
  for (let row = 0; row < down; row++) {
    for (let column = 0; column < across; column++) {
      const from = row * step * width + column * step;
      const to = 4 * (row * across + column);
      rows.forEach((values, band) => (rgba[to + band] = values[from]!));
      rgba[to + 3] = valid[from] ? 255 : 0;
    }
  }
  return { width: across, height: down, rgba };
}

function picture(patch: Patch, left: number, top: number, width: number, height: number): Uint8ClampedArray<ArrayBuffer> {
  const rgba = new Uint8ClampedArray(4 * width * height);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const from = (top + row) * patch.width + left + column;
      const to = 4 * (row * width + column);
      for (let band = 0; band < 3; band++) rgba[to + band] = patch.pixels[3 * from + band]!;
      rgba[to + 3] = patch.valid[from] ? 255 : 0;
    }
  }
  return rgba;
}
