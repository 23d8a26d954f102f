/** Size of a pixel on the ground, where the file tells it without a projection library. */

import type { GeoTIFFImage } from "geotiff";

import { NO_TIFF_TILES, Refusal } from "../refusal";
import { projecting, resampling } from "./utm";

const PROJECTED = 1;
const METRE = 9001;
/**
 * Systems of the whole Earth, by EPSG or ESRI code and by ProjCoordTransGeoKey: Mercator, equirectangular, cylindrical
 * equal-area, sinusoidal and others. Their metres are not those on the ground: 0.64 of them at 50 degrees north.
 */
const GLOBAL = new Set([
  3857, 3395, 3785, 3832, 3994, 3388, 5641, 41001, 102100, 102113, 900913, 3786, 4087, 4088, 32662, 32663, 3410, 3975, 6933,
  6931, 6932, 8857, 8858, 8859,
]);
const GLOBAL_METHODS = new Set([7, 17, 20, 23, 24, 25, 28]);
const isOfEsri = (code: number) => (code >= 53001 && code <= 53099) || (code >= 54001 && code <= 54099);

/**
 * Return the metres of a pixel.
 *
 * @param wanted metres of a pixel of the tiles, for the advice.
 * @throws Refusal where they are not known, or differ between row and column.
 */
export function groundSize(image: GeoTIFFImage, wanted: number): number {
  const keys = image.getGeoKeys();
  if (!keys) throw new Refusal(`states no place on Earth: ${NO_TIFF_TILES}. To map it as a scene it has to be georeferenced`);
  const code = Number(keys.ProjectedCSTypeGeoKey ?? 0);
  const isGlobal = GLOBAL.has(code) || isOfEsri(code) || GLOBAL_METHODS.has(Number(keys.ProjCoordTransGeoKey ?? 0));
  if (Number(keys.GTModelTypeGeoKey) !== PROJECTED || isGlobal) {
    throw new Refusal(`has pixels that are not measured in metres on the ground: ${projecting(keys, centreOf(image), wanted)}`);
  }
  if (Number(keys.ProjLinearUnitsGeoKey ?? METRE) !== METRE) {
    throw new Refusal(`has pixels that are not measured in metres: ${projecting(keys, centreOf(image), wanted)}`);
  }
  const [across, down] = sides(image, wanted);
  if (Math.abs(across / down - 1) > 0.02) throw new Refusal(`has pixels of ${across} x ${down} m: ${resampling(wanted)}`);
  return Math.sqrt(across * down);
}

/** Return the length of a pixel's sides, which may be turned. @throws Refusal where they are sheared. */
function sides(image: GeoTIFFImage, wanted: number): [number, number] {
  const matrix = image.fileDirectory.getValue("ModelTransformation") as ArrayLike<number> | undefined;
  if (matrix) return measured([matrix[0]!, matrix[4]!], [matrix[1]!, matrix[5]!], wanted);
  const scale = image.fileDirectory.getValue("ModelPixelScale") as ArrayLike<number> | undefined;
  if (!scale) throw new Refusal("states no size of its pixels: a scene has to be georeferenced");
  return [Math.abs(scale[0]!), Math.abs(scale[1]!)];
}

/** Return the lengths of the way to the next pixel of a row, and of that to the one below it. */
export function measured(right: [number, number], below: [number, number], wanted: number): [number, number] {
  const [across, down] = [Math.hypot(...right), Math.hypot(...below)];
  const slant = Math.abs(right[0] * below[0] + right[1] * below[1]) / (across * down);
  if (slant > 0.02) {
    const angle = (Math.acos(slant) * 180) / Math.PI;
    throw new Refusal(`has sheared pixels, with ${angle.toFixed(0)} degrees between their sides: ${resampling(wanted)}`);
  }
  return [across, down];
}

/** Return the coordinates of the middle of a scene; null where the file does not tell them. */
function centreOf(image: GeoTIFFImage): [number, number] | null {
  try {
    const [left, bottom, right, top] = image.getBoundingBox() as [number, number, number, number];
    return [(left + right) / 2, (bottom + top) / 2];
  } catch {
    return null;
  }
}
