/** The `gdalwarp` commands that bring a scene to square pixels in metres on the ground. */

/** Keys of a GeoTIFF that tell its coordinate reference system. */
export interface GeoKeys {
  GTModelTypeGeoKey?: number;
  GeogAngularUnitsGeoKey?: number;
  ProjectedCSTypeGeoKey?: number;
}

const GEOGRAPHIC = 2;
const DEGREE = 9102;
const RADIUS = 6378137; // of WGS 84 at the equator, in metres
const MERCATOR = [3857, 3395, 3785, 41001, 102100, 102113, 900913];
const EQUIRECTANGULAR = [4087, 32662];
const degrees = (radians: number) => (radians * 180) / Math.PI;

/** Return how to resample a scene that is in metres on the ground. @param metres wanted of a pixel. */
export function resampling(metres: number): string {
  return `resample it first, such as with gdalwarp -tr ${metres} ${metres} IN.tif OUT.tif`;
}

/** Return how to project a scene. @param centre of it, in its own coordinates; null if unknown. @param metres wanted of a pixel. */
export function projecting(keys: GeoKeys, centre: [number, number] | null, metres: number): string {
  const place = centre && position(keys, centre);
  const command = (code: string) => `project it first, such as with gdalwarp -t_srs EPSG:${code} -tr ${metres} ${metres} IN.tif OUT.tif`;
  if (place) return `${command(String(utmCode(...place)))}, in the UTM zone of its centre`;
  return `${command("326ZZ")}, where ZZ is its UTM zone: (longitude + 180) / 6, rounded up; 327ZZ south of the equator`;
}

/** Return the EPSG code of WGS 84 in the UTM zone of a position in degrees, and near a pole that of UPS. */
export function utmCode(longitude: number, latitude: number): number {
  if (latitude > 84) return 32661;
  if (latitude < -80) return 32761;
  const east = (((longitude + 180) % 360) + 360) % 360;
  return (latitude < 0 ? 32700 : 32600) + zone(east - 180, latitude);
}

/** Return the UTM zone of a position. @param longitude in -180 to 180, exclusive. */
function zone(longitude: number, latitude: number): number {
  if (latitude >= 56 && latitude < 64 && longitude >= 3 && longitude < 12) return 32; // the west of Norway
  if (latitude >= 72 && longitude >= 0 && longitude < 42) return 31 + 2 * Math.floor((longitude + 3) / 12); // Svalbard
  return Math.floor((longitude + 180) / 6) + 1;
}

/** Return longitude and latitude in degrees, to well within a zone; null in a projection that is not inverted here. */
function position(keys: GeoKeys, [x, y]: [number, number]): [number, number] | null {
  const code = Number(keys.ProjectedCSTypeGeoKey ?? 0);
  let found: [number, number] | null = null;
  if (Number(keys.GTModelTypeGeoKey) === GEOGRAPHIC && Number(keys.GeogAngularUnitsGeoKey ?? DEGREE) === DEGREE) found = [x, y];
  else if (MERCATOR.includes(code)) found = [degrees(x / RADIUS), degrees(Math.atan(Math.sinh(y / RADIUS)))];
  else if (EQUIRECTANGULAR.includes(code)) found = [degrees(x / RADIUS), degrees(y / RADIUS)];
  return found && Math.abs(found[0]) <= 360 && Math.abs(found[1]) <= 90 ? found : null;
}
