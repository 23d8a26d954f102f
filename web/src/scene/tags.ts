/** GDAL's metadata of a GeoTIFF: descriptions, scales and offsets of bands, as `orbitune.mapping.scene.bands`. */

import { Refusal } from "../refusal";
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

const ROLES: Record<string, string> = { red: "B04", b04: "B04", b4: "B04", green: "B03", b03: "B03", b3: "B03", blue: "B02", b02: "B02", b2: "B02" };
const UNITS = ["BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE"];
const OFFSET = /^(BOA|RADIO)_ADD_OFFSET(_\d+)?$/i;
const NUMBER = /^\s*([+-]?\d+(?:\.\d*)?)\s*$/;

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

/** Return the canonical name of red, green or blue that a description means; null for another. */
export function roleOf(description: string): string | null {
  const found = new Set(description.toLowerCase().split(/[^a-z0-9]+/).flatMap((word) => ROLES[word] ?? []));
  return found.size === 1 ? [...found][0]! : null;
}

/** Return red, green and blue by the descriptions, else by the colours of the file, else the first three, which nothing states. */
export function chooseBands(descriptions: string[], isRgb: boolean): { chosen: Rgb; source: string; stated: boolean } {
  const roles = descriptions.map(roleOf);
  if (RGB.every((name) => roles.filter((role) => role === name).length === 1)) {
    return { chosen: RGB.map((name) => roles.indexOf(name)) as Rgb, source: "by their descriptions", stated: true };
  }
  const source = isRgb ? "by the colours that the file states" : "the first three: nothing states them, so check the colours";
  return { chosen: [0, 1, 2], source, stated: isRgb };
}

function plain(text: string): string {
  const letters: Record<string, string> = { "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&amp;": "&" };
  return text.replace(/&(lt|gt|quot|apos|amp);/g, (found) => letters[found]!);
}
