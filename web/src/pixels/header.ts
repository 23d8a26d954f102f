/** Headers of picture files: kind, size and what a browser would read other than Orbitune does in Python. */

import { Refusal } from "../refusal";

export interface Header {
  kind: "JPEG" | "PNG" | "WEBP" | "BMP" | "GIF" | "TIFF";
  /** In pixels; 0 where the header does not say it. */
  width: number;
  height: number;
  /** Bytes from and to which EXIF says how to turn the picture, which browsers obey, and Python does not. */
  exif: [number, number][];
}

/** As many bytes of a file hold its size; a JPEG may have a preview before it. */
export const HEADER_BYTES = 1 << 18;

const KINDS = "JPEG, PNG, WEBP, BMP, GIF";

/**
 * Read the header of a file.
 *
 * @param bytes the first bytes of the file, `HEADER_BYTES` at most.
 * @throws Refusal if it is no picture, or one whose values a browser changes.
 */
export function readHeader(bytes: Uint8Array<ArrayBuffer>): Header {
  if (bytes.length === 0) throw new Refusal("is empty");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (starts(bytes, "\x89PNG")) return readPng(view);
    if (starts(bytes, "\xff\xd8\xff")) return readJpeg(view);
    if (starts(bytes, "GIF8")) return plain("GIF", view.getUint16(6, true), view.getUint16(8, true));
    if (starts(bytes, "BM")) return readBmp(view);
    if (starts(bytes, "RIFF") && starts(bytes.subarray(8), "WEBP")) return readWebp(view);
  } catch (error) {
    if (error instanceof RangeError) throw new Refusal("is damaged");
    throw error;
  }
  if (["II*\0", "MM\0*", "II+\0", "MM\0+"].some((mark) => starts(bytes, mark))) {
    return plain("TIFF", 0, 0);
  }
  throw new Refusal(`is no picture of a known kind (${KINDS})`);
}

function plain(kind: Header["kind"], width: number, height: number): Header {
  return { kind, width, height, exif: [] };
}

function starts(bytes: Uint8Array, mark: string): boolean {
  return [...mark].every((letter, place) => bytes[place] === letter.charCodeAt(0));
}

function readPng(view: DataView): Header {
  if (view.getUint8(24) === 16) {
    throw new Refusal("has 16-bit values, which a browser reduces to 8: classify it with `orbitune predict`");
  }
  const exif: [number, number][] = [];
  for (let place = 8; place + 8 <= view.byteLength; ) {
    const [end, kind] = [place + 12 + view.getUint32(place), letters(view, place + 4)];
    if (kind === "eXIf") exif.push([place, end]);
    if (kind === "IDAT") break;
    place = end;
  }
  return { kind: "PNG", width: view.getUint32(16), height: view.getUint32(20), exif };
}

function readBmp(view: DataView): Header {
  const short = view.getUint32(14, true) === 12; // the header of OS/2
  if (short) return plain("BMP", view.getUint16(18, true), view.getUint16(20, true));
  return plain("BMP", view.getInt32(18, true), Math.abs(view.getInt32(22, true)));
}

function readJpeg(view: DataView): Header {
  const exif: [number, number][] = [];
  let place = 2;
  while (place + 9 < view.byteLength) {
    const marker = view.getUint8(place + 1);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) {
      if (view.getUint8(place + 9) === 4) throw new Refusal("has four colours (CMYK): save it as RGB");
      return { kind: "JPEG", width: view.getUint16(place + 7), height: view.getUint16(place + 5), exif };
    }
    if (marker === 0xff) {
      place += 1; // a fill byte
      continue;
    }
    const end = place + 2 + view.getUint16(place + 2);
    if (marker === 0xe1 && letters(view, place + 4) === "Exif") exif.push([place, end]);
    place = end;
  }
  return { kind: "JPEG", width: 0, height: 0, exif };
}

function readWebp(view: DataView): Header {
  const form = letters(view, 12);
  if (form === "VP8X") {
    const size = (place: number) => view.getUint16(place, true) + (view.getUint8(place + 2) << 16) + 1;
    return plain("WEBP", size(24), size(27));
  }
  if (form === "VP8L") {
    const bits = view.getUint32(21, true);
    return plain("WEBP", (bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1);
  }
  return plain("WEBP", view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff);
}

/** Return the four letters at a place. */
function letters(view: DataView, place: number): string {
  return String.fromCharCode(...[0, 1, 2, 3].map((each) => view.getUint8(place + each)));
}
