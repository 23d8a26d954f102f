import { describe, expect, it } from "vitest";

import { attribution, GRID, occluded, PASSES } from "../src/attribution/occlusion";

describe("attribution by occlusion", () => {
  it("covers each part of the tile with its mean colour", () => {
    const tile = new Uint8Array(3 * 16 * 16).fill(100);
    tile.fill(200, 0, tile.length / 2);
    const copies = [...occluded(tile, 16, 16)];
    expect(copies.length).toBe(PASSES);
    const changed = new Set(copies.flatMap((copy) => [...copy.keys()].filter((place) => copy[place] !== tile[place])));
    expect(changed.size).toBe(tile.length);
    expect([...copies[0]!.subarray(0, 3)]).toEqual([150, 150, 150]);
    expect(copies[0]!.filter((each) => each === 150).length).toBe(3 * 4 * 4);
  });

  it("is largest where covering lowers the probability most, and none where nothing does", () => {
    const after = Array.from({ length: PASSES }, (_, place) => (place === 0 ? 0.2 : 0.9));
    const found = attribution(0.9, after)!;
    expect(found.indexOf(Math.max(...found))).toBe(0);
    expect(found[0]).toBe(1);
    expect(found[GRID * GRID - 1]).toBe(0);
    expect(attribution(0.9, after.map(() => 0.95))).toBeNull();
  });
});
