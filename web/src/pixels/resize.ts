/**
 * Resizing of pictures to the tiles that the model was trained on, bit for bit as Pillow's bilinear filter does.
 *
 * Each output pixel is a weighted mean with the weights of a triangle, as wide as the pixels are reduced. Columns
 * come first, then rows; weights are integers of 22 bits, and both steps round to 8 bits.
 */

const WEIGHT_BITS = 22;

/** For each output pixel the first input pixel that it reads, and its weights. */
export interface Weights {
  first: Int32Array;
  weights: Int32Array[];
}

/** Return the weights that resize a side of `from` pixels to `to`. */
export function triangleWeights(from: number, to: number): Weights {
  const scale = from / to;
  const reach = Math.max(scale, 1);
  const first = new Int32Array(to);
  const weights: Int32Array[] = [];
  for (let out = 0; out < to; out++) {
    const centre = (out + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(from, Math.trunc(centre + reach + 0.5));
    const exact = Array.from({ length: end - start }, (_, place) =>
      Math.max(0, 1 - Math.abs((place + start - centre + 0.5) / reach)),
    );
    const total = exact.reduce((sum, weight) => sum + weight, 0);
    first[out] = start;
    weights.push(Int32Array.from(exact, (weight) => Math.trunc(0.5 + (weight / total) * (1 << WEIGHT_BITS))));
  }
  return { first, weights };
}

/** A picture that arrives in strips of rows, from the top. */
export class Resizer {
  private readonly across: Weights;
  private readonly narrowed: Uint8Array;

  /** @param width, height of the picture; `to` of the tile, in pixels. */
  constructor(
    private readonly width: number,
    private readonly height: number,
    private readonly to: { width: number; height: number },
  ) {
    this.across = triangleWeights(width, to.width);
    this.narrowed = new Uint8Array(height * to.width * 3);
  }

  /**
   * Add rows.
   *
   * @param rgba (rows, width, 4); alpha is ignored.
   * @param top number of the first row.
   */
  add(rgba: Uint8ClampedArray, top: number): void {
    const rows = rgba.length / (4 * this.width);
    const { first, weights } = this.across;
    const same = this.width === this.to.width; // Pillow then skips this step
    let out = top * this.to.width * 3;
    for (let row = 0; row < rows; row++) {
      const start = row * this.width;
      for (let column = 0; column < this.to.width; column++) {
        for (let band = 0; band < 3; band++) {
          if (same) {
            this.narrowed[out++] = rgba[4 * (start + column) + band]!;
            continue;
          }
          const used = weights[column]!;
          let sum = 1 << (WEIGHT_BITS - 1);
          let place = 4 * (start + first[column]!) + band;
          for (let each = 0; each < used.length; each++, place += 4) sum += rgba[place]! * used[each]!;
          this.narrowed[out++] = toByte(sum);
        }
      }
    }
  }

  /** Return the tile, uint8 (height, width, 3), when all rows were added. */
  finish(): Uint8Array<ArrayBuffer> {
    const line = this.to.width * 3;
    if (this.height === this.to.height) return this.narrowed.slice();
    const { first, weights } = triangleWeights(this.height, this.to.height);
    const tile = new Uint8Array(this.to.height * line);
    for (let row = 0; row < this.to.height; row++) {
      const used = weights[row]!;
      for (let column = 0; column < line; column++) {
        let sum = 1 << (WEIGHT_BITS - 1);
        let place = first[row]! * line + column;
        for (let each = 0; each < used.length; each++, place += line) sum += this.narrowed[place]! * used[each]!;
        tile[row * line + column] = toByte(sum);
      }
    }
    return tile;
  }
}

function toByte(sum: number): number {
  return Math.min(255, Math.max(0, sum >> WEIGHT_BITS));
}
