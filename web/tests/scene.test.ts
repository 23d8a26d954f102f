import { describe, expect, it } from "vitest";

import type { SceneSettings } from "../src/model/description";
import { type Box, parts } from "../src/scene/blocks";
import { cutCell, mirrored, type Patch, strides } from "../src/scene/cells";
import { recognise } from "../src/scene/encoding";
import { measured } from "../src/scene/ground";
import { MapState, shares } from "../src/scene/map_state";
import { percentiles } from "../src/scene/percentiles";
import { validity } from "../src/scene/raster";
import { chooseScaling, matchAtmosphere, toBytes } from "../src/scene/scaling";
import { type BandTags, chooseBands, GdalTags, namesOf } from "../src/scene/tags";
import { projecting } from "../src/scene/utm";

const settings = {
  white: 0.275,
  scale_max: null,
  dark: null,
  path: [0.02, 0.05, 0.08],
  transmittance: [0.95, 0.9, 0.85],
} as unknown as SceneSettings;
const untagged: BandTags = { scale: 1, offset: 0, offsetStated: false };
const names = ["B04", "B03", "B02"];

/** Values from a dark edge to `bright`, not in steps. */
const ramp = (dark: number, bright: number) => Array.from({ length: 1000 }, (_, n) => dark + Math.round((bright - dark) * (Math.max(0, n - 80) / 919) ** 2) + (n % 3));
const scene = (...bands: number[][]) => recognise([untagged, untagged, untagged], "uint16", bands, bands, names, 0.275);

describe("the encoding of a scene", () => {
  it("is that of 8 bits as it is", () => {
    const bands = [ramp(0, 250), ramp(0, 250), ramp(0, 250)];
    const encoding = recognise([untagged, untagged, untagged], "uint8", bands, bands, names, 0.275);
    expect(chooseScaling(encoding, settings)).toMatchObject({ low: [0, 0, 0], high: [255, 255, 255], source: "8 bits, as they are" });
  });

  it("has the offset of baseline 04.00 where no pixel is dark without it", () => {
    expect(chooseScaling(scene(ramp(300, 4000), ramp(400, 4000), ramp(500, 4000)), settings)).toMatchObject({ low: [0, 0, 0], high: [2750, 2750, 2750] });
    expect(chooseScaling(scene(ramp(1150, 5000), ramp(1200, 5000), ramp(1250, 5000)), settings)).toMatchObject({ low: [1000, 1000, 1000], high: [3750, 3750, 3750] });
  });

  it("is that of its tags", () => {
    const tags = new GdalTags('<GDALMetadata><Item name="BOA_ADD_OFFSET">-1000</Item><Item name="QUANTIFICATION_VALUE">10000</Item></GDALMetadata>').band(0, false);
    expect(tags).toEqual({ scale: 1e-4, offset: -0.1, offsetStated: true });
    const bands = [ramp(2000, 5000), ramp(2000, 5000), ramp(2000, 5000)];
    const encoding = recognise([tags, tags, tags], "uint16", bands, bands, names, 0.275);
    expect(chooseScaling(encoding, settings)).toMatchObject({ low: [1000, 1000, 1000], high: [3750, 3750, 3750] });
  });

  it.each([
    ["bare ground or an offset", [ramp(2000, 6000), ramp(2000, 6000), ramp(2000, 6000)], "no dark pixels"],
    ["classes", [ramp(0, 20), ramp(0, 20), ramp(0, 20)], "no reflectance has"],
    ["dark water or 8 bits", [ramp(0, 200), ramp(0, 200), ramp(0, 200)], "may be 8 bits or dark water"],
    ["nothing", [[0, 0], [0, 0], [0, 0]], "no pixel with data"],
  ])("is asked for where it may be %s", (_, bands, message) => {
    expect(() => scene(...bands)).toThrow(message);
  });
});

describe("the scaling", () => {
  it("rounds as NumPy does, in single precision", () => {
    expect([...toBytes(Uint16Array.from([0, 1000, 1005, 2375, 3750, 65535]), 1000, 3750)]).toEqual([0, 0, 0, 128, 255, 255]);
    expect([...toBytes(Float32Array.from([Number.NaN, 0.5, 2.5, 3.5]), 0, 255)]).toEqual([0, 0, 2, 4]);
  });

  it("adds the atmosphere that the scene lacks beside the training tiles, and takes none away", () => {
    const bands = [ramp(100, 4000), ramp(100, 4000), ramp(100, 4000)];
    const plain = chooseScaling(scene(...bands), settings);
    const brighter = matchAtmosphere(plain, bands, { ...settings, dark: [30, 50, 80] });
    expect(brighter.source).toContain("of a clear atmosphere added");
    expect(brighter.low.every((each, band) => each < plain.low[band]!)).toBe(true);
    expect(matchAtmosphere(plain, bands, { ...settings, dark: [1, 1, 1] })).toBe(plain);
    expect(matchAtmosphere(plain, bands, settings)).toBe(plain);
  });

  it("takes percentiles between values, as NumPy does", () => {
    expect(percentiles([4, 1, 3, 2], [0, 50, 100])).toEqual([1, 2.5, 4]);
    expect(percentiles([1, 2, 3, 4, 5], [1])[0]).toBeCloseTo(1.04);
  });
});

describe("bands and pixels", () => {
  const described = (...names: string[]) => names.map((description) => ({ description, atWavelength: null, colour: "" }));
  const stated = (xml: string, isRgb = false) => [0, 1, 2].map((band) => new GdalTags(xml).stated(band, isRgb));

  it("are found by descriptions, whatever their order", () => {
    expect(chooseBands(described("T32_B02_10m", "B03", "B04 (665 nm)", "B08")).chosen).toEqual([2, 1, 0]);
    expect(chooseBands(described("blue", "green", "red")).chosen).toEqual([2, 1, 0]);
    expect(chooseBands(described("Blue", "Green", "Red", "Red Edge", "NIR")).chosen).toEqual([2, 1, 0]);
    expect(chooseBands(described("", "", "", ""))).toMatchObject({ chosen: [0, 1, 2], stated: false });
    expect(new GdalTags('<Item name="DESCRIPTION" sample="1" role="description">a &amp; b</Item>').description(1)).toBe("a & b");
  });

  it("are found by colours and wavelengths that GDAL states", () => {
    const colours = ["Blue", "Green", "Red"].map((name, band) => `<Item name="COLORINTERP" sample="${band}" role="colorinterp">${name}</Item>`);
    const bands = stated(colours.join(""));
    expect(chooseBands(bands)).toMatchObject({ chosen: [2, 1, 0], source: "by the colours that the file states" });
    expect(namesOf(bands)).toEqual(["B02", "B03", "B04"]);
    const lengths = [0.49, 0.56, 0.665].map((each, band) => `<Item name="CENTRAL_WAVELENGTH_UM" sample="${band}" domain="IMAGERY">${each}</Item>`);
    expect(chooseBands(stated(lengths.join("")))).toMatchObject({ chosen: [2, 1, 0], source: "by their wavelengths" });
    expect(chooseBands(stated("", true))).toMatchObject({ chosen: [0, 1, 2], source: "by the colours that the file states" });
  });

  it("have the names that Python gives them", () => {
    expect(namesOf(described("Red Edge", "B8A", "665 nm", "0.49 um", "a red and a blue one", "Band 1"))).toEqual(["B05", "B8A", "B04", "B02", null, null]);
  });

  it("are no data where all are 0 or saturated, one has the nodata value, or alpha is 0", () => {
    const bands = (...values: number[][]) => [0, 1, 2].map((band) => Uint16Array.from(values, (each) => each[band]!)) as never;
    expect([...validity(bands([0, 0, 0], [0, 5, 5], [65535, 65535, 65535], [9, 5, 5]), null)]).toEqual([0, 1, 0, 1]);
    expect([...validity(bands([9, 5, 5], [5, 5, 5]), 9)]).toEqual([0, 1]);
    expect([...validity(bands([0, 5, 5], [0, 0, 0]), 0)]).toEqual([1, 0]);
    expect([...validity(bands([5, 5, 5], [5, 5, 5]), null, Uint16Array.from([0, 1]))]).toEqual([0, 1]);
  });
});

describe("the parts of a window that are read at a time", () => {
  /** How often each pixel of a window is read. */
  const coverage = ([left, top, right, bottom]: Box, found: Box[]) => {
    const counts = Array.from({ length: bottom - top }, () => Array.from({ length: right - left }, () => 0));
    for (const [x, y, end, below] of found) {
      for (let row = y; row < below; row++) for (let column = x; column < end; column++) counts[row - top]![column - left]!++;
    }
    return counts.flat();
  };

  it.each([
    ["tiles, of which some fit", { width: 4, height: 4, bytes: 10 }, 25, 6],
    ["tiles, of which two rows fit", { width: 4, height: 4, bytes: 10 }, 80, 2],
    ["tiles of which none fits", { width: 4, height: 4, bytes: 100 }, 25, 12],
    ["strips of a row", { width: 13, height: 1, bytes: 10 }, 30, 3],
    ["all at once", { width: 4, height: 4, bytes: 10 }, 1000, 1],
  ])("cover it once: %s", (_, blocks, most, count) => {
    const window: Box = [3, 2, 13, 11];
    const found = parts(window, blocks, most);
    expect(coverage(window, found).every((each) => each === 1)).toBe(true);
    expect(found).toHaveLength(count);
  });

  it("of a scene of 12 bands and 100,000 columns hold 16 MB", () => {
    const blocks = { width: 512, height: 512, bytes: 512 * 512 * 12 * 2 };
    const held = parts([0, 0, 100_000, 512], blocks).map(([left, , right]) => Math.ceil((right - left) / 512) * blocks.bytes);
    expect(Math.max(...held)).toBeLessThan(16e6);
  });
});

describe("the sides of a pixel", () => {
  const turned = (degrees: number, side: number): [number, number] => [side * Math.cos((degrees * Math.PI) / 180), side * Math.sin((degrees * Math.PI) / 180)];

  it("are measured where the scene is turned", () => {
    measured(turned(30, 10), turned(-60, 20), 10).forEach((each, place) => expect(each).toBeCloseTo([10, 20][place]!));
  });

  it("are refused where they are sheared", () => {
    expect(() => measured(turned(0, 10), turned(-60, 10), 10)).toThrow(
      "has sheared pixels, with 60 degrees between their sides: resample it first, such as with gdalwarp -tr 10 10 IN.tif OUT.tif",
    );
  });
});

describe("the command that projects a scene", () => {
  const geographic = { GTModelTypeGeoKey: 2 };
  const projected = (code: number) => ({ GTModelTypeGeoKey: 1, ProjectedCSTypeGeoKey: code });

  it.each([
    [geographic, [7, 47], 32632],
    [geographic, [-58.4, -34.6], 32721],
    [geographic, [355, 10], 32630], // of 0 to 360 degrees
    [geographic, [180, 10], 32601],
    [geographic, [5.3, 60.4], 32632], // Bergen: zone 32 reaches 3 degrees further west
    [geographic, [5.3, 55.9], 32631],
    [geographic, [2.9, 60.4], 32631],
    [geographic, [8.9, 78], 32631], // Svalbard has four wide zones of seven
    [geographic, [15.6, 78.2], 32633],
    [geographic, [21, 78], 32635],
    [geographic, [41.9, 84], 32637],
    [geographic, [42, 78], 32638],
    [geographic, [15.6, 71.9], 32633],
    [geographic, [8.9, 71.9], 32632],
    [geographic, [20, 86], 32661],
    [projected(3857), [-6_501_058, -4_111_496], 32721],
    [projected(3395), [779_236, 5_910_000], 32632],
    [projected(4087), [779_236, 5_231_967], 32632],
  ] as const)("names the UTM zone of %j at %j", (keys, centre, code) => {
    expect(projecting(keys, [...centre], 10)).toBe(
      `project it first, such as with gdalwarp -t_srs EPSG:${code} -tr 10 10 IN.tif OUT.tif, in the UTM zone of its centre`,
    );
  });

  it.each([
    [geographic, null],
    [geographic, [5000, 47]],
    [{ ...geographic, GeogAngularUnitsGeoKey: 9105 }, [7, 47]], // grads
    [projected(6933), [0, 0]],
  ] as const)("says how to find the zone of %j at %j", (keys, centre) => {
    expect(projecting(keys, centre && [...centre], 20)).toMatch(/-t_srs EPSG:326ZZ -tr 20 20 IN.tif OUT.tif, where ZZ is its UTM zone: /);
  });
});

describe("grid cells", () => {
  const patch = (side: number, gaps: number): Patch => ({
    width: side,
    height: side,
    pixels: new Uint8Array(3 * side * side).fill(100),
    valid: Uint8Array.from({ length: side * side }, (_, place) => Number(place >= gaps)),
  });

  it("have strides that divide the tile, and lie in its centre", () => {
    expect(strides(64)).toEqual([64, 32, 16]);
    expect(strides(45)).toEqual([45]);
  });

  it("are mirrored beyond the scene", () => {
    expect([-2, -1, 0, 3, 4, 5].map((place) => mirrored(place, 4))).toEqual([1, 0, 0, 3, 3, 2]);
  });

  it("have no class without enough data, and their gaps are filled with the mean", () => {
    expect(cutCell(patch(10, 60), 0, 10, 10, true)).toBe("nodata");
    expect(cutCell(patch(10, 20), 0, 10, 10, true)).toBe("not sure");
    expect(typeof cutCell(patch(10, 20), 0, 10, 10, false)).toBe("object");
    const gap = patch(10, 5);
    gap.pixels.fill(0, 0, 15);
    expect([...(cutCell(gap, 0, 10, 10, true) as Uint8Array)].every((each) => each === 100)).toBe(true);
  });

  it("of a window are asked for row by row, on the grid of the scene", () => {
    const map = new MapState({ left: 1, top: 2, side: 2 }, { width: 170, height: 230 }, 64, 32);
    expect([map.rows, map.columns, map.span]).toEqual([4, 4, [2, 6]]);
    const edge = new MapState({ left: 2, top: 3, side: 2 }, { width: 170, height: 230 }, 64, 32);
    expect([edge.rows, edge.columns, edge.steps()[0]]).toEqual([2, 2, { row: 6, column: 4, count: 2 }]);
    edge.add(edge.steps()[1]!, ["nodata", { probabilities: [1, 0], score: null, features: new Float32Array() }]);
    const labels = edge.labels(() => 0);
    expect(labels).toEqual([null, null, "nodata", 0]);
    expect(shares([...labels, "not sure", 0, 0])).toEqual([[0, 0.75], ["not sure", 0.25]]);
  });
});
