/**
 * Scaling of a scene to the numbers of the training tiles, as `orbitune.mapping.scene.radiometry` chooses it, with the
 * atmosphere that the scene lacks, as `orbitune.mapping.scene.atmosphere_match` adds it.
 */

import type { SceneSettings } from "../model/description";
import { type Encoding, QUANTIFICATION } from "./encoding";
import { percentiles } from "./percentiles";
import type { Values } from "./raster";

/** The values of each band that become 0 and 255. */
export interface Scaling {
  low: number[];
  high: number[];
  source: string;
}

const DARK = 1; // percentile of the darkest pixels
const NEGLIGIBLE = 0.05; // of the standard atmosphere

/** Return the scaling of a scene by its encoding. */
export function chooseScaling(encoding: Encoding, settings: SceneSettings): Scaling & { white: number } {
  const { kind, scale } = encoding;
  const sameNumbers = settings.scale_max !== null && kind === "digital numbers";
  const white = sameNumbers ? settings.scale_max! / QUANTIFICATION : settings.white;
  // Nothing tells an offset of the training tiles: a scene of the same product has the same.
  const offset = sameNumbers && !encoding.offsetStated ? encoding.offset.map(() => 0) : encoding.offset;
  const toFile = (value: number) => scale.map((each, band) => Number(((value - offset[band]!) / each).toPrecision(9)));
  const numbers = kind + (offset.some((each) => each) ? `, offset ${offset[0]!.toPrecision(3)}` : "");
  const source = kind === "8 bits" ? "8 bits, as they are" : `${numbers}: reflectance 0 to ${white}`;
  return { low: toFile(0), high: toFile(white), source, white };
}

/**
 * Add the atmosphere that a scene lacks, compared with the training tiles.
 *
 * @param sample valid values of an overview of each band.
 */
export function matchAtmosphere(
  scaling: Scaling & { white: number },
  sample: ArrayLike<number>[],
  { dark, path, transmittance }: SceneSettings,
): Scaling {
  if (!dark || !sample[0]!.length) return scaling;
  const { low, high, white } = scaling;
  const darkest = sample.map((values, band) => ((percentiles(values, [DARK])[0]! - low[band]!) / (high[band]! - low[band]!)) * white);
  const effect = path.map((each, band) => each - (1 - transmittance[band]!) * darkest[band]!);
  const lacking = dark.map((each, band) => (each / 255) * white - darkest[band]!);
  const dot = (a: number[], b: number[]) => a.reduce((sum, each, band) => sum + each * b[band]!, 0);
  const amount = Math.min(1, Math.max(0, dot(effect, lacking) / dot(effect, effect)));
  if (amount < NEGLIGIBLE) return scaling;
  // Reflectance r becomes transmitted * r + amount * path: solve for the r of both ends.
  const end = (value: number) =>
    low.map((each, band) => {
      const transmitted = 1 - amount * (1 - transmittance[band]!);
      const reflectance = (value - amount * path[band]!) / transmitted;
      return Number((each + (reflectance / white) * (high[band]! - each)).toPrecision(6));
    });
  const source = `${scaling.source}, with ${Math.round(100 * amount)} % of a clear atmosphere added`;
  return { low: end(0), high: end(white), source };
}

/** Return the values of a band as bytes, computed in single precision as NumPy does. */
export function toBytes(values: Values, low: number, high: number): Uint8Array {
  if (values instanceof Uint8Array && low === 0 && high === 255) return values.slice();
  const [first, last, factor] = [low, high, 255 / (high - low)].map(Math.fround) as [number, number, number];
  const bytes = new Uint8Array(values.length);
  for (let place = 0; place < values.length; place++) {
    const each = values[place]!;
    const value = Math.min(Math.max(Number.isNaN(each) ? first : Math.fround(each), first), last);
    bytes[place] = roundEven(Math.fround(Math.fround(value - first) * factor));
  }
  return bytes;
}

function roundEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}
