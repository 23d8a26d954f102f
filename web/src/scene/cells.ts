/** Grid cells of a map, each labelled from the tile around it, as `orbitune.mapping.grid`. */

/** Fractions of a tile that must hold data for a cell to have any code but nodata, and to have a class. */
const MIN_VALID = 0.5;
const MIN_VALID_FOR_CLASS = 0.9;
const FEWEST_PIXELS = 16;
/** Finer cells take sixteen times the tiles of the coarsest. */
const FINEST = 4;

/** Pixels with the margin that their tiles need: red, green and blue, interleaved. */
export interface Patch {
  width: number;
  height: number;
  pixels: Uint8Array;
  valid: Uint8Array;
}

/** Return the strides that a tile of `tile` pixels allows, largest first: they divide it, with the cell in its centre. */
export function strides(tile: number): number[] {
  const all = Array.from({ length: tile }, (_, place) => tile - place);
  return all.filter((each) => tile % each === 0 && (tile - each) % 2 === 0 && each >= tile / FINEST && each >= Math.min(tile, FEWEST_PIXELS));
}

/** Return the pixel of a side for one beyond it: the scene is mirrored there. */
export function mirrored(place: number, side: number): number {
  for (;;) {
    if (place < 0) place = -place - 1;
    else if (place >= side) place = 2 * side - 1 - place;
    else return place;
  }
}

/** Return what a cell of a patch can be: its tile, uint8 (tile, tile, 3), or why it has no class. */
export function cutCell(
  patch: Patch,
  left: number,
  tile: number,
  stride: number,
  canBeUnsure: boolean,
): Uint8Array<ArrayBuffer> | "nodata" | "not sure" {
  const margin = (tile - stride) / 2;
  const inTile = fractionValid(patch, left, 0, tile);
  if (inTile < MIN_VALID || fractionValid(patch, left + margin, margin, stride) < MIN_VALID) return "nodata";
  if (canBeUnsure && inTile < MIN_VALID_FOR_CLASS) return "not sure";
  const cut = new Uint8Array(tile * tile * 3);
  for (let row = 0; row < tile; row++) {
    const start = 3 * (row * patch.width + left);
    cut.set(patch.pixels.subarray(start, start + 3 * tile), 3 * row * tile);
  }
  return inTile < 1 ? filled(cut, patch, left, tile) : cut;
}

/** Fill pixels without data with the mean of those with. */
function filled(cut: Uint8Array<ArrayBuffer>, patch: Patch, left: number, tile: number): Uint8Array<ArrayBuffer> {
  const isValid = (place: number) => patch.valid[Math.floor(place / tile) * patch.width + left + (place % tile)] === 1;
  const sums = [0, 0, 0];
  let count = 0;
  for (let place = 0; place < tile * tile; place++) {
    if (!isValid(place)) continue;
    count++;
    sums.forEach((_, band) => (sums[band]! += cut[3 * place + band]!));
  }
  for (let place = 0; place < tile * tile; place++) {
    if (!isValid(place)) sums.forEach((sum, band) => (cut[3 * place + band] = Math.trunc(sum / count)));
  }
  return cut;
}

function fractionValid(patch: Patch, left: number, top: number, side: number): number {
  let count = 0;
  for (let row = top; row < top + side; row++) {
    for (let column = left; column < left + side; column++) count += patch.valid[row * patch.width + column]!;
  }
  return count / side ** 2;
}
