/** Names of bands, as `orbitune.sources.band_names`: those of Sentinel-2, with common names and wavelengths. */

/** Central wavelength in nanometres, and common names. */
const SENTINEL2: Record<string, [number, ...string[]]> = {
  B01: [442.7, "coastal", "aerosol"],
  B02: [492.4, "blue"],
  B03: [559.8, "green"],
  B04: [664.6, "red"],
  B05: [704.1, "rededge1", "rededge"],
  B06: [740.5, "rededge2"],
  B07: [782.8, "rededge3"],
  B08: [832.8, "nir", "nearinfrared", "infrared"],
  B8A: [864.7, "nir08", "narrownir"],
  B09: [945.1, "nir09", "watervapor"],
  B10: [1373.5, "cirrus"],
  B11: [1613.7, "swir16", "swir1"],
  B12: [2202.4, "swir22", "swir2"],
};
const NEAREST = 15; // nanometres between the centres of two sensors' bands of one name
const WAVELENGTH = /(\d+(?:\.\d+)?)\s*(nm|nanomet\w*|um|\u00b5m|\u03bcm|micromet\w*)(?![a-z0-9_])/i;

/** Return the name of the band that a name or alias means, such as B04; null for another. */
export function canonicalName(name: string): string | null {
  const plain = name.toLowerCase().replace(/[\s_-]/g, "");
  const number = plain.match(/^b(?:and)?0?(8a|\d{1,2})$/)?.[1];
  if (number) {
    const full = number === "8a" ? "B8A" : `B${String(Number(number)).padStart(2, "0")}`;
    return full in SENTINEL2 ? full : null;
  }
  return Object.keys(SENTINEL2).find((band) => SENTINEL2[band]!.slice(1).includes(plain)) ?? null;
}

/** Return the band of the nearest central wavelength, within 15 nm; or null. */
export function bandAt(nanometres: number): string | null {
  const distance = (band: string) => Math.abs(SENTINEL2[band]![0] - nanometres);
  const nearest = Object.keys(SENTINEL2).reduce((a, b) => (distance(b) < distance(a) ? b : a));
  return distance(nearest) <= NEAREST ? nearest : null;
}

/** Return the one band that a description mentions, by a wavelength too; null where there is none, or several. */
export function bandInText(text: string): string | null {
  const whole = canonicalName(text);
  if (whole) return whole;
  const found = new Set(text.split(/[^A-Za-z0-9]+/).flatMap((word) => canonicalName(word) ?? []));
  if (found.size) return found.size === 1 ? [...found][0]! : null;
  const stated = text.match(WAVELENGTH);
  return stated && bandAt(Number(stated[1]) * (stated[2]!.toLowerCase().startsWith("n") ? 1 : 1000));
}
