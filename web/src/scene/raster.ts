/** GeoTIFF scenes, read in windows: pixels, and where they are data, as `orbitune.mapping.scene.band_reader`. */

import { fromBlob, type GeoTIFFImage } from "geotiff";

import { Refusal } from "../refusal";
import { type Blocks, type Box, parts } from "./blocks";
import type { Rgb, SceneInfo } from "./messages";
import { groundSize } from "./ground";
import { chooseBands, GdalTags, namesOf } from "./tags";

export type Values = Uint8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float32Array | Float64Array;

/** Red, green and blue of a window. */
export interface Window {
  width: number;
  height: number;
  bands: [Values, Values, Values];
  /** 1 where the scene has data. */
  valid: Uint8Array;
}

/** None, LZW, deflate (two numbers) and PackBits: JPEG has other values in each decoder. See `build.mjs`. */
const COMPRESSIONS = new Set([1, 5, 8, 32773, 32946]);
/** What a browser can decode at a time. */
const MOST_BLOCK_BYTES = 256e6;
/** Red, green, blue and alpha. */
const SAMPLES = 4;
/** A smaller picture of the scene in its file may have this many times fewer pixels along a side than asked for. */
const OVERVIEW = 1.2;
const MASK = 4; // bits of NewSubfileType
const REDUCED = 1;

export class Raster {
  private constructor(
    private readonly image: GeoTIFFImage,
    private readonly overviews: GeoTIFFImage[],
    readonly tags: GdalTags,
    readonly info: SceneInfo,
    private readonly alpha: number | null,
  ) {}

  /** Open a file. @param wanted metres of a pixel of the tiles. @throws Refusal if it cannot be read, or not as Python reads it. */
  static async open(file: Blob, wanted: number): Promise<Raster> {
    const tiff = await fromBlob(file).catch(() => {
      throw new Refusal("is damaged, or no GeoTIFF");
    });
    const images: GeoTIFFImage[] = [];
    for (let place = 0; place < (await tiff.getImageCount()); place++) images.push(await tiff.getImage(place));
    const [image, ...others] = images as [GeoTIFFImage, ...GeoTIFFImage[]];
    const metres = groundSize(image, wanted); // first: a tile that is no scene needs no other advice
    const kinds = others.map((each) => Number(each.fileDirectory.getValue("NewSubfileType") ?? 0));
    if (kinds.some((kind) => kind & MASK)) throw new Refusal(`has a mask of its own, which this page does not read: ${ELSEWHERE}`);
    const overviews = others.filter((each, place) => kinds[place]! & REDUCED && isLike(each, image));
    for (const each of [image, ...overviews]) await check(each);
    const tags = new GdalTags(((await image.fileDirectory.loadValue("GDAL_METADATA")) as string | undefined) ?? "");
    const count = image.getSamplesPerPixel();
    const extra = [...((await image.fileDirectory.loadValue("ExtraSamples")) ?? [])] as number[];
    const alpha = extra.findIndex((kind) => kind === 1 || kind === 2);
    const isRgb = Number(image.fileDirectory.getValue("PhotometricInterpretation")) === 2;
    const bands = Array.from({ length: count }, (_, band) => tags.stated(band, isRgb));
    const info: SceneInfo = {
      width: image.getWidth(),
      height: image.getHeight(),
      bands: bands.map(({ description, atWavelength, colour }) => description || atWavelength || colour),
      names: namesOf(bands),
      ...chooseBands(bands),
      metres,
      dtype: dtypeOf(image),
    };
    return new Raster(image, overviews, tags, info, alpha < 0 ? null : count - extra.length + alpha);
  }

  /**
   * Read a window of the scene.
   *
   * @param bands red, green and blue, counted from 0.
   */
  read(bands: Rgb, left: number, top: number, width: number, height: number): Promise<Window> {
    return this.readFrom(this.image, bands, [left, top, left + width, top + height]);
  }

  /**
   * Read the whole scene with fewer pixels, each the nearest of the scene, as GDAL does.
   *
   * @param longest side in pixels.
   * @param step called with the fraction that has been read.
   */
  async sample(bands: Rgb, longest: number, step: (fraction: number) => Promise<void>): Promise<Window> {
    const factor = Math.min(1, longest / Math.max(this.info.width, this.info.height));
    const width = Math.max(1, Math.round(this.info.width * factor));
    const height = Math.max(1, Math.round(this.info.height * factor));
    const enough = (each: GeoTIFFImage) => this.info.width / each.getWidth() < OVERVIEW / factor;
    const found = this.overviews.filter(enough).sort((a, b) => a.getWidth() - b.getWidth())[0];
    const image = found && factor < 1 ? found : this.image;
    const columns = nearest(width, image.getWidth());
    const rows = nearest(height, image.getHeight());
    const sampled: Window = { width, height, bands: [0, 1, 2].map(() => this.array(width * height)) as Window["bands"], valid: new Uint8Array(width * height) };
    const all = parts([0, 0, image.getWidth(), image.getHeight()], blocksOf(image, SAMPLES));
    for (const [place, box] of all.entries()) {
      const [left, top, right, bottom] = box;
      const inRows = within(rows, top, bottom);
      const inColumns = within(columns, left, right);
      if (inRows.length && inColumns.length) {
        const part = await this.readFrom(image, bands, box);
        for (const row of inRows) {
          for (const column of inColumns) {
            const from = (rows[row]! - top) * part.width + columns[column]! - left;
            const to = row * width + column;
            sampled.valid[to] = part.valid[from]!;
            part.bands.forEach((values, band) => (sampled.bands[band as 0]![to] = values[from]!));
          }
        }
      }
      await step((place + 1) / all.length);
    }
    return sampled;
  }

  private async readFrom(image: GeoTIFFImage, bands: Rgb, box: Box): Promise<Window> {
    const samples = this.alpha === null || bands.includes(this.alpha) ? [...bands] : [...bands, this.alpha];
    const unique = [...new Set(samples)];
    const [left, top, right, bottom] = box;
    const [width, height] = [right - left, bottom - top];
    const read = unique.map(() => this.array(width * height));
    for (const part of parts(box, blocksOf(image, unique.length))) {
      const found = (await image.readRasters({ window: part, samples: unique, interleave: false }).catch((error: unknown) => {
        console.error(error);
        throw new Refusal(`is damaged near row ${part[1]}`);
      })) as unknown as Values[];
      const across = part[2] - part[0];
      for (let row = part[1]; row < part[3]; row++) {
        const [from, to] = [(row - part[1]) * across, (row - top) * width + part[0] - left];
        read.forEach((values, place) => values.set(found[place]!.subarray(from, from + across), to));
      }
    }
    const found = samples.map((band) => read[unique.indexOf(band)]!);
    const valid = validity(found.slice(0, 3) as Window["bands"], this.nodata, found[3]);
    return { width, height, bands: found.slice(0, 3) as Window["bands"], valid };
  }

  private get nodata(): number | null {
    return this.image.getGDALNoData();
  }

  private array(size: number): Values {
    const kinds = { uint8: Uint8Array, uint16: Uint16Array, int16: Int16Array, uint32: Uint32Array, int32: Int32Array, float32: Float32Array, float64: Float64Array };
    return new kinds[this.info.dtype as keyof typeof kinds](size);
  }
}

export const ELSEWHERE = "map it with `orbitune map`";

/**
 * Return where pixels are data: no band has the nodata value, and not all are saturated or, but for 8 bits, 0.
 *
 * @param alpha of the same pixels; 0 where there is none.
 */
export function validity(bands: Window["bands"], nodata: number | null, alpha?: Values): Uint8Array {
  const [first] = bands;
  const isFloat = first instanceof Float32Array || first instanceof Float64Array;
  const most = isFloat ? Infinity : 2 ** (8 * first.BYTES_PER_ELEMENT - (first instanceof Int16Array || first instanceof Int32Array ? 1 : 0)) - 1;
  const missing = nodata !== null && first instanceof Float32Array ? Math.fround(nodata) : nodata;
  const wide = first.BYTES_PER_ELEMENT > 1;
  const valid = new Uint8Array(first.length).fill(1);
  const [red, green, blue] = bands;
  for (let place = 0; place < first.length; place++) {
    const [r, g, b] = [red[place]!, green[place]!, blue[place]!];
    if (missing !== null) {
      // 0 is a common nodata value, and a valid value of a single band.
      const gaps = Number(r === missing) + Number(g === missing) + Number(b === missing);
      if (gaps === 3 || (gaps && missing !== 0)) valid[place] = 0;
    } else if (alpha && !alpha[place]) valid[place] = 0;
    if (wide && r === 0 && g === 0 && b === 0) valid[place] = 0;
    if (isFloat ? !Number.isFinite(r + g + b) : r >= most && g >= most && b >= most) valid[place] = 0;
  }
  return valid;
}

async function check(image: GeoTIFFImage): Promise<void> {
  const compression = Number((await image.fileDirectory.loadValue("Compression")) ?? 1);
  if (!COMPRESSIONS.has(compression)) {
    throw new Refusal(`has a compression (${compression}) that this page does not read: write it with gdal_translate -co COMPRESS=DEFLATE IN.tif OUT.tif, or ${ELSEWHERE}`);
  }
  const predictor = Number((await image.fileDirectory.loadValue("Predictor")) ?? 1);
  if (predictor !== 1 && !image.littleEndian && image.getBitsPerSample() > 8) {
    // geotiff.js adds up the differences in the byte order of the browser, and returns wrong numbers.
    throw new Refusal(`has differences in big-endian order, which this page does not read: write it with gdal_translate IN.tif OUT.tif, or ${ELSEWHERE}`);
  }
  if (image.getSamplesPerPixel() < 3) throw new Refusal("has fewer than three bands: red, green and blue are needed");
  if (!dtypeOf(image)) throw new Refusal(`has values of a kind that this page does not read: ${ELSEWHERE}`);
  const { bytes } = blocksOf(image, SAMPLES);
  if (!(bytes > 0)) throw new Refusal("is damaged: its blocks have no size");
  if (bytes > MOST_BLOCK_BYTES) {
    const [found, most] = [bytes, MOST_BLOCK_BYTES].map((each) => `${(each / 1e6).toFixed(0)} MB`);
    throw new Refusal(`is stored in blocks of ${found}, of which a page holds ${most}: write it with gdal_translate -co TILED=YES IN.tif OUT.tif first`);
  }
}

/** Return the name of the type of the values; empty for one that is not read, or where bands differ. */
function dtypeOf(image: GeoTIFFImage): string {
  const kinds = Array.from({ length: image.getSamplesPerPixel() }, (_, band) => {
    const format = { 1: "uint", 2: "int", 3: "float" }[image.getSampleFormat(band)];
    return `${format}${image.getBitsPerSample(band)}`;
  });
  const read = ["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"];
  return kinds.every((kind) => kind === kinds[0]) && read.includes(kinds[0]!) ? kinds[0]! : "";
}

/** Return the blocks of an image, for a number of samples of a pixel that are read of it. */
function blocksOf(image: GeoTIFFImage, samples: number): Blocks {
  const [width, height] = [image.getTileWidth(), image.getTileHeight()];
  // Blocks of all bands are decoded whole; others are those of one band.
  const pixel = image.planarConfiguration === 2 ? samples * image.getSampleByteSize(0) : image.getBytesPerPixel();
  return { width, height, bytes: width * height * pixel };
}

/** Return whether a smaller picture of the scene has the same bands. */
function isLike(overview: GeoTIFFImage, image: GeoTIFFImage): boolean {
  return overview.getSamplesPerPixel() === image.getSamplesPerPixel() && dtypeOf(overview) === dtypeOf(image);
}

/** Return the indices of those of `places` that lie between two of them. */
function within(places: number[], first: number, end: number): number[] {
  return places.flatMap((place, index) => (place >= first && place < end ? [index] : []));
}

/** Return for each of `count` pixels the nearest of `from`. */
function nearest(count: number, from: number): number[] {
  return Array.from({ length: count }, (_, place) => Math.min(from - 1, Math.floor((place + 0.5) * (from / count) + 1e-10)));
}
