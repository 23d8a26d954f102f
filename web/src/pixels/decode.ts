/** Pictures to tiles, as `orbitune predict` reads them. */

import { NO_TIFF_TILES, Refusal } from "../refusal";
import { HEADER_BYTES, readHeader } from "./header";
import { Resizer } from "./resize";

export interface TileSize {
  width: number;
  height: number;
}

/** Limits of what a page can hold in memory: of Python's, half the pixels. */
export const MOST_BYTES = 200e6;
export const MOST_PIXELS = 45e6;
/** A picture may be this many times smaller than the tiles along a side, or have this many pixels. */
const MOST_ENLARGED = 4;
const FEWEST_PIXELS = 16;
const STRIP_PIXELS = 1 << 20;

/**
 * Decode a picture and resize it to a tile.
 *
 * @returns uint8 (height, width, 3).
 * @throws Refusal if it is no usable picture.
 */
export async function readTile(file: Blob, size: TileSize): Promise<Uint8Array<ArrayBuffer>> {
  if (file.size > MOST_BYTES) throw new Refusal(`is larger than ${MOST_BYTES / 1e6} MB: cut it into tiles first`);
  const header = readHeader(new Uint8Array(await file.slice(0, HEADER_BYTES).arrayBuffer()));
  if (header.kind === "TIFF") throw new Refusal(`is a TIFF: ${NO_TIFF_TILES}. A georeferenced scene becomes a map where it is opened alone`);
  checkPixels(header.width, header.height);
  const picture = await open(without(file, header.exif));
  try {
    checkPixels(picture.width, picture.height);
    checkSide(picture, size);
    return resize(picture, size);
  } finally {
    picture.close();
  }
}

/** Return a file without some of its bytes. */
function without(file: Blob, ranges: [number, number][]): Blob {
  const ends = [...ranges, [file.size, file.size]];
  return ranges.length ? new Blob(ends.map(([end], place) => file.slice(ends[place - 1]?.[1] ?? 0, end))) : file;
}

async function open(file: Blob): Promise<ImageBitmap> {
  try {
    // The values as they are stored, as in Python: without colour profile and transparency.
    return await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Refusal("is damaged, or of a kind that this browser does not open");
  }
}

function checkPixels(width: number, height: number): void {
  if (width * height > MOST_PIXELS) {
    throw new Refusal(`has ${width.toLocaleString("en")} x ${height.toLocaleString("en")} pixels, too many for a browser: cut it into tiles first`);
  }
}

/** A single pixel, enlarged, looks like open water to any model. */
function checkSide(picture: TileSize, size: TileSize): void {
  const [width, height] = [size.width, size.height].map((side) =>
    Math.min(FEWEST_PIXELS, Math.ceil(side / MOST_ENLARGED)),
  ) as [number, number];
  if (picture.width < width || picture.height < height) {
    throw new Refusal(
      `is ${picture.width}x${picture.height} pixels, too small beside tiles of ${size.width}x${size.height}: ` +
        `at least ${width}x${height} are needed`,
    );
  }
}

function resize(picture: ImageBitmap, size: TileSize): Uint8Array<ArrayBuffer> {
  const { width, height } = picture;
  const resizer = new Resizer(width, height, size);
  const rows = Math.min(height, Math.max(1, Math.floor(STRIP_PIXELS / width)));
  const canvas = new OffscreenCanvas(width, rows);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Refusal("is too large for this browser");
  for (let top = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    context.clearRect(0, 0, width, rows);
    context.drawImage(picture, 0, -top);
    const strip = context.getImageData(0, 0, width, count).data;
    for (let place = 3; place < strip.length; place += 4) {
      // A canvas does not keep the colours of transparent pixels.
      if (strip[place] !== 255) throw new Refusal("is transparent in places: save it without transparency");
    }
    resizer.add(strip, top);
  }
  return resizer.finish();
}
