/**
 * Parts of a window that are read one after the other: all blocks of a part are in memory at a time, with all the bands
 * that they hold.
 */

/** Left, top, right and bottom in pixels; right and bottom are excluded. */
export type Box = [number, number, number, number];

/** The blocks that an image is stored in: tiles, or strips as wide as the image. */
export interface Blocks {
  width: number;
  height: number;
  /** Of one that is decoded. */
  bytes: number;
}

const MOST_BYTES = 16e6;

/** Return parts that cover a window, each of whole blocks of `most` bytes together, or of a single larger one. */
export function parts([left, top, right, bottom]: Box, { width, height, bytes }: Blocks, most = MOST_BYTES): Box[] {
  const fitting = Math.max(1, Math.floor(most / bytes));
  const across = Math.ceil(right / width) - Math.floor(left / width);
  const [columns, rows] = [Math.min(across, fitting), Math.max(1, Math.floor(fitting / across))];
  const found: Box[] = [];
  for (let y = Math.floor(top / height); y * height < bottom; y += rows) {
    for (let x = Math.floor(left / width); x * width < right; x += columns) {
      const [end, below] = [(x + columns) * width, (y + rows) * height];
      found.push([Math.max(left, x * width), Math.max(top, y * height), Math.min(right, end), Math.min(bottom, below)]);
    }
  }
  return found;
}
