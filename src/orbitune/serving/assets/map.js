// The viewer of a finished map: the scene and what was predicted, as layers of one Leaflet map.
"use strict";

const TILE = 256; // pixels along the side of a tile
const DEEPER = 3; // zoom levels beyond one screen pixel per pixel of the scene
const NODATA = 0, NOT_SURE = 255;

fetch("map.json").then((answer) => answer.json()).then(show);

// Tiles overlap by a pixel: at fractional zooms, rounding would leave gaps between them.
const initTile = L.GridLayer.prototype._initTile;
L.GridLayer.include({
  _initTile(tile) {
    initTile.call(this, tile);
    const size = this.getTileSize();
    tile.style.width = `${size.x + 1}px`;
    tile.style.height = `${size.y + 1}px`;
  },
});

function show(facts) {
  const { width, height, zoom } = facts;
  const [across, down] = facts.metres; // along a row and a column of the scene
  const unit = 2 ** zoom; // pixels of a row in one unit of the plane
  const unitDown = unit * across / down; // pixels of a column: in degrees, pixels are no squares on the ground
  const crs = L.extend({}, L.CRS.Simple, {
    distance: (a, b) => Math.hypot(a.lat - b.lat, a.lng - b.lng) * unit * across,
  });
  const bounds = L.latLngBounds([-height / unitDown, 0], [0, width / unit]);
  const map = L.map("map", {
    crs, minZoom: Math.min(0, zoom - 4), maxZoom: zoom + DEEPER, zoomSnap: 0.1, attributionControl: false,
    maxBounds: bounds.pad(0.5),
  });
  map.fitBounds(bounds);
  L.control.scale({ imperial: false }).addTo(map);
  const common = { bounds, noWrap: true, minNativeZoom: 0, maxNativeZoom: zoom, maxZoom: zoom + DEEPER,
    minZoom: map.getMinZoom(), tileSize: L.point(TILE, TILE * down / across), className: "pixelated" };
  const scene = L.tileLayer("scene/{z}/{x}/{y}.webp", common);
  const labels = new LabelTiles();
  const layers = [
    ["Scene", scene, 100, true],
    ["Classes", labels.layer(common, classColours(facts)), 60, true],
    ["Probability", labels.layer(common, probabilityColour), 80, false],
    ["Not sure", labels.layer(common, notSureColour), 90, false],
  ];
  layers.forEach((layer) => addControl(map, ...layer));
  addLegend(facts);
  const readout = new Readout(facts, labels, [unit, unitDown]);
  map.on("mousemove click", (event) => readout.show(event.latlng));
  document.body.dataset.ready = "true";
}

// Tiles of class codes and probabilities in percent, each loaded once for all layers drawn from them.
class LabelTiles {
  constructor() { this.tiles = new Map(); }

  get(z, x, y) {
    const key = `${z}/${x}/${y}`;
    if (!this.tiles.has(key)) {
      if (this.tiles.size > 400) this.tiles.clear();
      this.tiles.set(key, fetch(`labels/${key}.bin`).then((answer) => {
        if (!answer.ok) throw new Error(answer.statusText);
        return answer.arrayBuffer();
      }).then((bytes) => new Uint8Array(bytes)));
    }
    return this.tiles.get(key);
  }

  // `paint` turns a code and a percentage into [red, green, blue, alpha].
  layer(options, paint) {
    const source = this;
    const Layer = L.GridLayer.extend({
      createTile(place, done) {
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = TILE;
        source.get(place.z, place.x, place.y).then((values) => {
          const context = canvas.getContext("2d");
          const image = context.createImageData(TILE, TILE);
          for (let n = 0; n < TILE * TILE; n++) image.data.set(paint(values[n], values[TILE * TILE + n]), 4 * n);
          context.putImageData(image, 0, 0);
          done(null, canvas);
        }, (error) => done(error, canvas));
        return canvas;
      },
    });
    return new Layer(options);
  }
}

const CLEAR = [0, 0, 0, 0];

function classColours(facts) {
  const table = Array(256).fill(CLEAR);
  facts.codes.forEach(({ code, colour }) => { table[code] = [...colour, 255]; });
  return (code) => table[code];
}

// From purple (10 %) over green to yellow (100 %).
function probabilityColour(code, percent) {
  if (code === NODATA || code === NOT_SURE) return CLEAR;
  const stops = [[68, 1, 84], [33, 145, 140], [253, 231, 37]];
  const place = 2 * Math.min(Math.max((percent - 10) / 90, 0), 1);
  const [low, high] = place < 1 ? [stops[0], stops[1]] : [stops[1], stops[2]];
  const part = place < 1 ? place : place - 1;
  return [...low.map((value, n) => Math.round(value + part * (high[n] - value))), 255];
}

function notSureColour(code) { return code === NOT_SURE ? [214, 39, 120, 255] : CLEAR; }

function addControl(map, name, layer, percent, visible) {
  const row = document.createElement("div");
  row.className = "layer";
  const label = document.createElement("label");
  const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: visible });
  const slider = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 100, value: percent });
  slider.setAttribute("aria-label", `Opacity of ${name}, %`);
  label.append(box, name);
  row.append(label, slider);
  document.getElementById("layers").append(row);
  const index = document.querySelectorAll(".layer").length;
  layer.setOpacity(percent / 100);
  layer.setZIndex(index);
  const update = () => (box.checked ? layer.addTo(map) : layer.remove());
  box.addEventListener("change", update);
  slider.addEventListener("input", () => layer.setOpacity(slider.value / 100));
  update();
}

function addLegend(facts) {
  const list = document.getElementById("legend");
  facts.codes.filter((entry) => entry.hectares > 0).forEach(({ name, colour, hectares }) => {
    const item = document.createElement("li");
    const swatch = L.SVG.create("svg");
    swatch.setAttribute("width", 14);
    swatch.setAttribute("height", 14);
    const square = L.SVG.create("rect");
    square.setAttribute("width", 14);
    square.setAttribute("height", 14);
    square.setAttribute("fill", `rgb(${colour.join()})`);
    swatch.append(square);
    item.append(swatch, `${name}, ${Math.round(hectares).toLocaleString("en")} ha`);
    list.append(item);
  });
  document.getElementById("legend-box").open = window.innerWidth > 560;
}

// The line below the map: class, probability and coordinates of the pixel under the pointer.
class Readout {
  // `units` are pixels of a row and of a column in one unit of the plane.
  constructor(facts, labels, units) {
    Object.assign(this, { facts, labels, units, last: 0 });
    this.names = new Map(facts.codes.map(({ code, name }) => [code, name]));
  }

  async show(latlng) {
    const turn = ++this.last;
    const x = Math.floor(latlng.lng * this.units[0]), y = Math.floor(-latlng.lat * this.units[1]);
    const { width, height, zoom } = this.facts;
    if (x < 0 || y < 0 || x >= width || y >= height) return this.write("", "outside the scene");
    const values = await this.labels.get(zoom, Math.floor(x / TILE), Math.floor(y / TILE)).catch(() => null);
    if (turn !== this.last || !values) return;
    const place = (y % TILE) * TILE + (x % TILE);
    const code = values[place], percent = values[TILE * TILE + place];
    const known = code !== NODATA && code !== NOT_SURE && percent > 0;
    this.write(this.names.get(code) ?? "no data", known ? `${percent} %` : "", this.coordinates(x, y));
  }

  // Longitude and latitude, interpolated between the points of a lattice over the scene.
  coordinates(x, y) {
    const { width, height, lattice } = this.facts;
    const side = lattice.length - 1;
    const u = ((x + 0.5) / width) * side, v = ((y + 0.5) / height) * side;
    const column = Math.min(Math.floor(u), side - 1), row = Math.min(Math.floor(v), side - 1);
    const mix = (n) => {
      const line = (r) => lattice[r][column][n] + (u - column) * (lattice[r][column + 1][n] - lattice[r][column][n]);
      return line(row) + (v - row) * (line(row + 1) - line(row));
    };
    const [longitude, latitude] = [mix(0), mix(1)];
    const format = (value, signs) => `${Math.abs(value).toFixed(5)}° ${signs[value < 0 ? 1 : 0]}`;
    return `${format(latitude, "NS")}, ${format(longitude, "EW")}`;
  }

  write(name, ...details) {
    const line = document.getElementById("readout");
    line.textContent = "";
    if (name) line.append(Object.assign(document.createElement("b"), { textContent: name }));
    details.filter(Boolean).forEach((text) => {
      line.append(Object.assign(document.createElement("span"), { textContent: text }));
    });
  }
}
