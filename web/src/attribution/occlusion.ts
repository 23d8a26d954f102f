/**
 * Attribution by occlusion (Zeiler and Fergus 2014, arXiv:1311.2901): a square of the tile's mean colour moves over the
 * tile, and where it lowers the probability of a class, the class rests on what it covers.
 */

/** Squares of the attribution map along a side. */
export const GRID = 8;
/** Side of the occluding square in these. */
const COVERED = 2;
const PLACES = GRID - COVERED + 1;
const SMALLEST = 1e-6;

/** Return a copy of a tile for each place of the square, uint8 (height, width, 3), row by row. */
export function* occluded(tile: Uint8Array<ArrayBuffer>, width: number, height: number): Generator<Uint8Array<ArrayBuffer>> {
  const mean = [0, 1, 2].map((band) => {
    let sum = 0;
    for (let place = band; place < tile.length; place += 3) sum += tile[place]!;
    return Math.round((3 * sum) / tile.length);
  });
  const edge = (place: number, side: number) => Math.round((place * side) / GRID);
  for (let row = 0; row < PLACES; row++) {
    for (let column = 0; column < PLACES; column++) {
      const copy = tile.slice();
      for (let y = edge(row, height); y < edge(row + COVERED, height); y++) {
        for (let x = edge(column, width); x < edge(column + COVERED, width); x++) copy.set(mean, 3 * (y * width + x));
      }
      yield copy;
    }
  }
}

export const PASSES = PLACES ** 2;

/**
 * Return how much each square of the tile supports a class, 0..1, (GRID, GRID); null if no square does.
 *
 * @param before probability of the class on the whole tile.
 * @param after the same with the square at each place.
 */
export function attribution(before: number, after: number[]): number[] | null {
  // Log-odds, as probabilities near 1 hardly move.
  const odds = (value: number) => Math.log(Math.max(value, SMALLEST) / Math.max(1 - value, SMALLEST));
  const sums = Array.from({ length: GRID ** 2 }, () => 0);
  const counts = [...sums];
  after.forEach((value, place) => {
    const [top, left] = [Math.floor(place / PLACES), place % PLACES];
    for (let row = top; row < top + COVERED; row++) {
      for (let column = left; column < left + COVERED; column++) {
        sums[row * GRID + column]! += odds(before) - odds(value);
        counts[row * GRID + column]! += 1;
      }
    }
  });
  const drops = sums.map((sum, place) => Math.max(0, sum / counts[place]!));
  const largest = Math.max(...drops);
  return largest > SMALLEST ? drops.map((each) => each / largest) : null;
}
