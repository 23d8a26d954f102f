/** GDAL's metadata of a GeoTIFF: names, scales and offsets of bands, as `orbitune.mapping.scene.bands`. */

import { Refusal } from "../refusal";
import { bandAt, bandInText, canonicalName } from "./band_names";
import type { Rgb } from "./messages";

/** Physical value = number * scale + offset. */
export interface BandTags {
  scale: number;
  offset: number;
  /** Whether the file states an offset. */
  offsetStated: boolean;
}

/** Canonical names of red, green and blue. */
export const RGB = ["B04", "B03", "B02"];

const COLOURS = ["red", "green", "blue"];
const SENTINEL: Record<string, string> = { b04: "red", b4: "red", b03: "green", b3: "green", b02: "blue", b2: "blue" };
const UNITS = ["BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE"];
const OFFSET = /^(BOA|RADIO)_ADD_OFFSET(_\d+)?$/i;
/** A description that is a number alone. */
const NUMBERED = /^(?:band|layer)?[\s_-]*\d*$/i;
const NUMBER = /^\s*([+-]?\d+(?:\.\d*)?)\s*$/;

/** What a file states of a band. */
export interface StatedBand {
  /** Empty for none. */
  description: string;
  /** Band of Sentinel-2 at the wavelength that is stated; null for none. */
  atWavelength: string | null;
  /** Colour in lower case; empty for none. */
  colour: string;
}

interface Item {
  name: string;
  band: number | null;
  role: string;
  value: string;
}

export class GdalTags {
  private readonly items: Item[];

  /** @param xml of the tag GDAL_METADATA. */
  constructor(xml: string) {
    this.items = [...xml.matchAll(/<Item\s+([^>]*)>([^<]*)<\/Item>/g)].map(([, attributes, value]) => {
      const found = new Map([...attributes!.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, text]) => [name!, plain(text!)]));
      const band = found.get("sample");
      return { name: found.get("name") ?? "", band: band === undefined ? null : Number(band), role: found.get("role") ?? "", value: plain(value!) };
    });
  }

  description(band: number): string {
    return this.items.find((item) => item.band === band && item.role === "description")?.value.trim() ?? "";
  }

  /** @param isRgb whether the first three bands of the file are red, green and blue, unless it states others. */
  stated(band: number, isRgb: boolean): StatedBand {
    const item = (is: (item: Item) => boolean) => this.items.find((each) => each.band === band && is(each))?.value.trim();
    const colour = item((each) => each.role === "colorinterp") ?? ((isRgb && COLOURS[band]) || "");
    const micrometres = Number(item((each) => each.name === "CENTRAL_WAVELENGTH_UM") || NaN);
    return { description: this.description(band), atWavelength: bandAt(1000 * micrometres), colour: colour.toLowerCase() };
  }

  /** Return scale and offset of a band. @throws Refusal if they are none. */
  band(band: number, isByte: boolean): BandTags {
    const number = (role: string, other: number) =>
      Number(this.items.find((item) => item.band === band && item.role === role)?.value ?? other);
    let [scale, offset] = [number("scale", 1), number("offset", 0)];
    if (!Number.isFinite(scale) || !Number.isFinite(offset) || !scale) {
      throw new Refusal("states a scale that is none: give the values that become 0 and 255");
    }
    if (offset) return { scale, offset, offsetStated: true };
    const unit = this.items.find((item) => item.band === null && UNITS.includes(item.name) && NUMBER.test(item.value));
    if (scale === 1 && unit && Number(unit.value) > 0 && !isByte) scale = 1 / Number(unit.value); // 8 bits were scaled anew
    const stated = this.items.filter((item) => OFFSET.test(item.name) && NUMBER.test(item.value));
    const own = stated.filter((item) => item.band === band);
    const offsets = new Set((own.length ? own : stated.filter((item) => item.band === null)).map((item) => Number(item.value)));
    if (offsets.size > 1) throw new Refusal("states different offsets without their bands: give the values that become 0 and 255");
    offset = scale * ([...offsets][0] ?? 0);
    return { scale, offset, offsetStated: offset !== 0 };
  }
}

/** Return the canonical name of each band; null where it is not known. */
export function namesOf(bands: StatedBand[]): (string | null)[] {
  const names = bands.map(({ description, atWavelength }) => {
    return NUMBERED.test(description) ? atWavelength : bandInText(description);
  });
  if (names.some((name) => name !== null && RGB.includes(name))) return names;
  return names.map((name, band) => {
    const { description, colour } = bands[band]!;
    return name ?? (NUMBERED.test(description) && COLOURS.includes(colour) ? canonicalName(colour) : null);
  });
}

/** Return red, green and blue by what the file states: descriptions, wavelengths, colours; else the first three. */
export function chooseBands(bands: StatedBand[]): { chosen: Rgb; source: string; stated: boolean } {
  const described = bands.map(({ description }) => description.trim().toLowerCase());
  const words = described.map((each) => each.split(/[^a-z0-9]+/));
  const found: [Rgb | null, string][] = [
    [findEach(described, COLOURS), "by their descriptions"],
    [findEach(words.map((each) => SENTINEL[each.find((word) => Object.hasOwn(SENTINEL, word)) ?? ""]), COLOURS), "by their descriptions"],
    [findEach(words.map((each) => each.find((word) => COLOURS.includes(word))), COLOURS), "by their descriptions"],
    [findEach(bands.map((each) => each.atWavelength), RGB), "by their wavelengths"],
    [findEach(bands.map((each) => each.colour), COLOURS), "by the colours that the file states"],
  ];
  for (const [chosen, source] of found) if (chosen) return { chosen, source, stated: true };
  return { chosen: [0, 1, 2], source: "the first three: nothing states them, so check the colours", stated: false };
}

/** Return where each of `wanted` is; null unless each occurs once. */
function findEach(names: (string | null | undefined)[], wanted: string[]): Rgb | null {
  const once = wanted.every((name) => names.filter((each) => each === name).length === 1);
  return once ? (wanted.map((name) => names.indexOf(name)) as Rgb) : null;
}

function plain(text: string): string {
  const letters: Record<string, string> = { "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&amp;": "&" };
  return text.replace(/&(lt|gt|quot|apos|amp);/g, (found) => letters[found]!);
}
