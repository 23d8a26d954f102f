import { describe, expect, it } from "vitest";

import { readHeader } from "../src/pixels/header";

const file = (...parts: (string | number[])[]) =>
  Uint8Array.from(parts.flatMap((part) => (typeof part === "string" ? [...part].map((c) => c.charCodeAt(0)) : part)));
const zeros = (count: number) => Array<number>(count).fill(0);

const png = (depth: number) =>
  file("\x89PNG\r\n\x1a\n", [0, 0, 0, 13], "IHDR", [0, 0, 1, 0], [0, 0, 0, 64], [depth, 2, 0, 0, 0]);
const jpeg = (bands: number) =>
  file([0xff, 0xd8, 0xff, 0xe0, 0, 16], zeros(14), [0xff, 0xc0, 0, 17, 8, 0, 64, 1, 0, bands], zeros(9));

describe("the header of a file", () => {
  it.each([
    ["PNG", png(8), 256, 64],
    ["JPEG", jpeg(3), 256, 64],
    ["GIF", file("GIF89a", [0, 1, 64, 0]), 256, 64],
    ["BMP", file("BM", zeros(16), [0, 1, 0, 0, 64, 0, 0, 0]), 256, 64],
    ["BMP", file("BM", zeros(12), [12, 0, 0, 0, 0, 1, 64, 0, 1, 0, 24, 0]), 256, 64],
    ["WEBP", file("RIFF", zeros(4), "WEBPVP8X", zeros(8), [255, 0, 0, 63, 0, 0]), 256, 64],
    ["TIFF", file("II*\0", zeros(8)), 0, 0],
  ] as const)("states the size of a %s", (kind, bytes, width, height) => {
    expect(readHeader(bytes)).toEqual({ kind, width, height, exif: [] });
  });

  it.each([
    ["an empty file", file(), "is empty"],
    ["text", file("not a picture"), "is no picture of a known kind (JPEG, PNG, WEBP, BMP, GIF)"],
    ["a PNG that was cut off", file("\x89PNG\r\n"), "is damaged"],
    ["a PNG of 16 bits", png(16), "has 16-bit values"],
    ["a CMYK JPEG", jpeg(4), "has four colours (CMYK)"],
  ])("refuses %s", (_, bytes, message) => {
    expect(() => readHeader(bytes)).toThrow(message);
  });

  it("says where EXIF would turn the picture", () => {
    const exif = file([0xff, 0xd8, 0xff, 0xe1, 0, 10], "Exif\0\0", [9, 9]);
    expect(readHeader(file([...exif], [...jpeg(3)].slice(2))).exif).toEqual([[2, 14]]);
    const chunk = file([0, 0, 0, 2], "eXIf", zeros(6));
    expect(readHeader(file([...png(8)], zeros(4), [...chunk], zeros(4), "IDAT")).exif).toEqual([[33, 47]]);
  });
});
