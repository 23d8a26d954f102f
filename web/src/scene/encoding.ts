/**
 * Encoding of a scene: how its numbers become reflectance. The rules, limits and their reasons are those of
 * `orbitune.mapping.scene.encoding_statistics`; where they do not tell, the user is asked.
 */

import { Refusal } from "../refusal";
import { percentiles } from "./percentiles";
import { type BandTags, RGB } from "./tags";

/** Reflectance = number * scale + offset, of each band. */
export interface Encoding {
  kind: string;
  scale: number[];
  offset: number[];
  offsetStated: boolean;
}

/** Percentiles 0.5, 5, 50 and 99.9 of each band's pixels that are not 0, and the largest. */
interface Statistics {
  dark: number[];
  low: number[];
  median: number[];
  bright: number[];
  highest: number[];
}

export const QUANTIFICATION = 10_000;
const FRACTIONS = 65_535;
const ASK = "give the values that become 0 and 255, such as 0 and 2750";

/**
 * Recognise the encoding of red, green and blue.
 *
 * @param sample the valid values of an overview of each band.
 * @param pixels some values as they are in the file.
 * @param names canonical name of each band; null where it is not known.
 * @param white reflectance that is 255 in 8 bits.
 * @throws Refusal if nothing tells it.
 */
export function recognise(
  tags: BandTags[],
  dtype: string,
  sample: ArrayLike<number>[],
  pixels: ArrayLike<number>[],
  names: (string | null)[],
  white: number,
): Encoding {
  let [scale, offset] = [tags.map((each) => each.scale), tags.map((each) => each.offset)];
  const offsetStated = tags.some((each) => each.offsetStated);
  const telling = tellingBands(names);
  const known = telling.map((band) => names[band]!);
  const measured = measure(telling.map((band) => sample[band]!));
  const of = (values: number[]) => telling.map((band) => values[band]!);
  let kind = statedKind(scale);
  if (kind === null) {
    const numbers = telling.map((band) => Float64Array.from(pixels[band]!, (each) => each * scale[band]! + offset[band]!));
    const unit = findUnit(linear(measured, of(scale), of(offset)), dtype, numbers, known, white);
    kind = unit.kind;
    [scale, offset] = [scale, offset].map((values) => values.map((each) => each * unit.value)) as [number[], number[]];
  }
  if (kind !== "8 bits" && !offsetStated) {
    const found = findOffset(linear(measured, of(scale), of(offset)), known);
    offset = offset.map((each) => each + found);
  }
  return { kind, scale, offset, offsetStated };
}

/** Return the bands whose statistics tell the encoding. */
function tellingBands(names: (string | null)[]): number[] {
  if (RGB.every((name) => names.includes(name))) return RGB.map((name) => names.indexOf(name));
  const known = names.flatMap((name, band) => (name ? [band] : []));
  return known.length ? known : names.map((_, band) => band);
}

function statedKind(scale: number[]): string | null {
  if (!scale.some((each) => each !== 1 && Math.abs(each) <= 0.01)) return null;
  const is = (steps: number) => scale.every((each) => Math.abs(each * steps - 1) <= 1e-6);
  return is(QUANTIFICATION) ? "digital numbers" : is(FRACTIONS) ? "16-bit fractions" : "scaled numbers";
}

function measure(sample: ArrayLike<number>[]): Statistics {
  const bands = sample.map((values) => Float64Array.from(values).filter((each) => Number.isFinite(each) && each !== 0));
  if (bands.every((band) => !band.length)) throw new Refusal("has no pixel with data");
  // A band of zeros counts as the others together.
  const others = () => Float64Array.from(bands.flatMap((band) => [...band]));
  const ends = bands.map((band) => percentiles(band.length ? band : others(), [0.5, 5, 50, 99.9, 100]));
  const [dark, low, median, bright, highest] = [0, 1, 2, 3, 4].map((level) => ends.map((each) => each[level]!));
  return { dark: dark!, low: low!, median: median!, bright: bright!, highest: highest! };
}

function linear(found: Statistics, scale: number[], offset: number[]): Statistics {
  const of = (values: number[]) => values.map((each, band) => each * scale[band]! + offset[band]!);
  return { dark: of(found.dark), low: of(found.low), median: of(found.median), bright: of(found.bright), highest: of(found.highest) };
}

function findUnit(
  { dark, median, bright, highest }: Statistics,
  dtype: string,
  pixels: Float64Array[],
  names: string[],
  white: number,
): { kind: string; value: number } {
  const [brightest, most] = [Math.max(...bright), Math.max(...highest)];
  if (dtype === "uint8") return { kind: "8 bits", value: white / 255 };
  if (Math.min(...median) < 0) throw new Refusal(`has numbers of which half are below 0: ${ASK}`);
  if (brightest <= 2 && dtype.startsWith("float")) {
    if (hasSteps(pixels, 1 / 255, 0.001)) return { kind: "8 bits", value: white };
    if (highest.every((each) => each === 1) && bright.every((each) => each < 1) && dark.every((each) => each < 0.03)) {
      throw new Refusal(`has bands that are stretched to 0 to 1: ${ASK}`);
    }
    return { kind: "reflectance", value: 1 };
  }
  if (brightest < 100) throw new Refusal(`has numbers up to ${brightest.toPrecision(3)}, which no reflectance has: ${ASK}`);
  if (most <= 255) {
    if (most < 250) throw new Refusal(`has numbers up to ${most}, which may be 8 bits or dark water: ${ASK}`);
    return { kind: "8 bits", value: white / 255 };
  }
  if (most > FRACTIONS) throw new Refusal(`has numbers up to ${most}, which no reflectance has: ${ASK}`);
  if (hasSteps(pixels, FRACTIONS / QUANTIFICATION, 0.08)) return { kind: "16-bit fractions", value: 1 / FRACTIONS };
  const slope = slopeOf(dark.map((each) => each / QUANTIFICATION), names);
  if (brightest > 22_000 || (slope !== null && slope < -0.15)) return { kind: "16-bit fractions", value: 1 / FRACTIONS };
  if (brightest >= 13_000 && Math.min(...dark) / QUANTIFICATION >= 0.095 / 2) {
    throw new Refusal(`has numbers up to ${brightest.toFixed(0)}, which do not tell what they are: ${ASK}`);
  }
  return { kind: "digital numbers", value: 1 / QUANTIFICATION };
}

/** Return the offset of the reflectance by its darkest pixels: 0, or that of Sentinel-2's baseline 04.00. */
function findOffset({ dark, low, median }: Statistics, names: string[]): number {
  const slope = slopeOf(dark, names);
  const darkest = Math.min(...dark);
  const band = dark.indexOf(darkest);
  if (darkest < 0.095) return 0;
  const spread = median[band]! - darkest;
  const hasDarkEdge = spread < 0.025 || low[band]! - darkest <= 0.25 * spread;
  if (darkest <= 0.16 && (slope === null || slope <= 0.015) && hasDarkEdge) return -0.1;
  throw new Refusal(`has no dark pixels, so an offset of its numbers cannot be told from cloud, snow or bare ground: ${ASK}`);
}

/** Return how much more red than blue the darkest pixels reflect; null if unknown. */
function slopeOf(dark: number[], names: string[]): number | null {
  const [red, blue] = [names.indexOf("B04"), names.indexOf("B02")];
  return red < 0 || blue < 0 ? null : dark[red]! - dark[blue]!;
}

/** Return whether numbers are multiples of a step, rounded or cut off to integers. */
function hasSteps(bands: Float64Array[], step: number, tolerance: number): boolean {
  const known = bands.map((band) => band.filter((each) => Number.isFinite(each) && each !== 0));
  const count = known.reduce((sum, band) => sum + band.length, 0);
  if (new Set(known.flatMap((band) => [...new Set(band)])).size < 20) return false;
  return [0, 0.5].some((shift) => {
    let near = 0;
    for (const band of known) {
      for (let place = 0; place < band.length; place++) {
        const steps = (band[place]! + shift) / step;
        if (Math.abs(steps - Math.round(steps)) <= tolerance) near++;
      }
    }
    return near / count >= 0.9;
  });
}
