import { describe, expect, it } from "vitest";

import { Resizer, triangleWeights } from "../src/pixels/resize";
import cases from "./pillow.json";

const bytes = (hex: string) => Uint8Array.from(hex.match(/../g)!, (pair) => parseInt(pair, 16));

/** RGB as a canvas gives it. */
function rgba(rgb: Uint8Array): Uint8ClampedArray {
  return Uint8ClampedArray.from({ length: (rgb.length / 3) * 4 }, (_, place) =>
    place % 4 === 3 ? 255 : rgb[Math.floor(place / 4) * 3 + (place % 4)]!,
  );
}

describe("resizing", () => {
  it.each(cases)("gives the pixels of Pillow, $width x $height to $to.width x $to.height", (each) => {
    const resizer = new Resizer(each.width, each.height, each.to);
    resizer.add(rgba(bytes(each.pixels)), 0);
    expect(resizer.finish()).toEqual(bytes(each.tile));
  });

  it("gives the same from strips", () => {
    const each = cases[0]!;
    const pixels = rgba(bytes(each.pixels));
    const resizer = new Resizer(each.width, each.height, each.to);
    const line = 4 * each.width;
    for (let top = 0; top < each.height; top += 2) {
      resizer.add(pixels.subarray(top * line, Math.min(top + 2, each.height) * line), top);
    }
    expect(resizer.finish()).toEqual(bytes(each.tile));
  });

  it("has weights that sum to one", () => {
    for (const weights of triangleWeights(31, 9).weights) {
      expect(weights.reduce((sum, weight) => sum + weight, 0) / (1 << 22)).toBeCloseTo(1, 5);
    }
  });
});
