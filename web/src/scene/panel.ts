/** The part of the page that maps a window of a scene. */

import type { Model } from "../model/client";
import type { Colour, ModelDescription, SceneSettings } from "../model/description";
import { Refusal } from "../refusal";
import { byId, counted, make, percent } from "../view/elements";
import { strides } from "./cells";
import { drawLabels, drawOverview, drawPart } from "./drawing";
import { type Label, MapState, shares, type TileWindow } from "./map_state";
import type { Classified, PreparedScene, Rgb, SceneInfo } from "./messages";

/** What the page tells of its model, which may have been taught. */
export interface MapModel {
  classes: () => string[];
  judge: (cell: Classified) => number | "not sure";
}

const USUAL_SIDE = 16; // of a window, in tiles
const MOST_TILES = 32; // along a side
const PAINT_MILLISECONDS = 200;
const DEVIATION = 0.02; // of the size of a pixel that changes nothing
const BANDS = ["scene-red", "scene-green", "scene-blue"] as const;
const input = (id: string) => byId<HTMLInputElement>(id);

export class ScenePanel {
  private info: SceneInfo | null = null;
  private prepared: PreparedScene | null = null;
  private choice = ""; // what `prepared` was made with
  private map: MapState | null = null;
  private stopped = true;
  private turn = 0; // counts what was asked, so that an answer to an earlier question is dropped
  private readonly tile: number;
  private readonly settings: SceneSettings;

  constructor(
    private readonly description: ModelDescription,
    private readonly model: Promise<Model>,
    private readonly shown: MapModel,
  ) {
    this.tile = description.tile.width;
    this.settings = description.scene!;
    const stride = byId<HTMLSelectElement>("scene-stride");
    stride.replaceChildren(...strides(this.tile).map((each) => new Option(`${each} px${each === this.tile ? " (a tile)" : ""}`, String(each))));
    input("scene-resolution").value = String(this.settings.resolution);
    byId("scene-map").addEventListener("click", () => void this.run());
    byId("scene-stop").addEventListener("click", () => this.stop());
    byId("scene-close").addEventListener("click", () => this.close());
    input("scene-opacity").addEventListener("input", () => this.fade());
    byId("overview").addEventListener("click", (event) => this.moveTo(event));
    for (const id of ["scene-left", "scene-top", "scene-side"]) input(id).addEventListener("change", () => this.choose());
    input("scene-resolution").addEventListener("change", () => this.checkSize());
    for (const id of [...BANDS, "scene-low", "scene-high"]) byId(id).addEventListener("change", () => void this.prepare());
  }

  /** Open a file. */
  async open(name: string, file: Blob): Promise<void> {
    this.close();
    const turn = ++this.turn;
    byId("scene").hidden = false;
    byId("scene-title").textContent = name;
    byId("scene").scrollIntoView();
    this.tell("Reading ...");
    await this.trying(turn, async () => {
      const info = await (await this.model).ask("openScene", { file, settings: this.settings });
      if (turn !== this.turn) return;
      this.info = info;
      this.fill(info);
      await this.prepare();
    });
    if (byId("scene-title").textContent === name) byId("scene").scrollIntoView(); // now there is enough of it to be the whole screen
  }

  /** Put a refused scene away. */
  dismiss(): void {
    if (!this.info && !byId("scene-problem").hidden) this.close();
  }

  /** Paint the map again, with a model that has learned or forgotten. */
  repaint(): void {
    if (!this.map) return;
    const labels = this.map.labels(this.shown.judge);
    drawLabels(byId<HTMLCanvasElement>("labels"), this.map, labels, (label) => this.colour(label));
    this.showLegend(labels);
  }

  /** Put the scene away. */
  close(): void {
    this.stop();
    this.turn++;
    [this.info, this.prepared, this.map] = [null, null, null];
    for (const id of ["scene", "scene-problem", "scene-result", "scene-choice", "overview"]) byId(id).hidden = true;
    for (const id of ["scene-title", "scene-facts", "scene-status", "scene-done"]) byId(id).textContent = "";
    for (const id of ["scene-low", "scene-high"]) input(id).value = "";
    input("scene-high").setCustomValidity("");
    byId<HTMLButtonElement>("scene-map").disabled = true;
  }

  private fill(info: SceneInfo): void {
    const metres = Number(info.metres.toPrecision(3));
    byId("scene-facts").textContent =
      `${info.width.toLocaleString("en")} x ${info.height.toLocaleString("en")} pixels of ${metres} m, ${counted(info.bands.length, "band")}, ${info.dtype}`;
    BANDS.forEach((id, place) => {
      const options = info.bands.map((name, band) => new Option(name ? `${band + 1}: ${name}` : String(band + 1), String(band)));
      byId(id).replaceChildren(...options);
      byId<HTMLSelectElement>(id).value = String(info.chosen[place]);
    });
    byId<HTMLDetailsElement>("scene-reading").open = !info.stated;
    const [across, down] = this.tiles(info);
    const side = Math.min(USUAL_SIDE, Math.max(across, down));
    const field = (id: string, value: number, most: number) => Object.assign(input(id), { value: String(value), max: String(most) });
    field("scene-side", side, Math.min(MOST_TILES, Math.max(across, down)));
    field("scene-left", Math.max(0, Math.round((across - side) / 2)), across - 1);
    field("scene-top", Math.max(0, Math.round((down - side) / 2)), down - 1);
    byId("scene-choice").hidden = false;
  }

  private tiles(info: SceneInfo): [number, number] {
    return [Math.ceil(info.width / this.tile), Math.ceil(info.height / this.tile)];
  }

  /** Choose how the scene is read, and show it. */
  private async prepare(): Promise<void> {
    const { info } = this;
    if (!info) return;
    const bands = BANDS.map((id) => Number(byId<HTMLSelectElement>(id).value)) as Rgb;
    const given = bands.some((band, place) => band !== info.chosen[place]);
    const choice = { bands, given, range: range() };
    if (this.prepared && JSON.stringify(choice) === this.choice) return;
    this.choice = JSON.stringify(choice);
    this.stop();
    const turn = ++this.turn;
    [this.prepared, this.map] = [null, null];
    byId("scene-result").hidden = true;
    byId<HTMLButtonElement>("scene-map").disabled = true;
    const isEmpty = choice.range !== null && choice.range[0] >= choice.range[1];
    input("scene-high").setCustomValidity(isEmpty ? "It has to be more than the value that becomes 0." : "");
    this.tell(isEmpty ? "" : "Reading ...");
    if (!input("scene-high").reportValidity()) return this.choose();
    await this.trying(turn, async () => {
      const prepared = await (await this.model).ask("prepareScene", choice, (fraction) => {
        if (turn === this.turn) this.progress(fraction);
        return turn === this.turn;
      });
      if (turn !== this.turn) return;
      this.prepared = prepared;
      this.tell(`Bands ${bands.map((band) => band + 1).join(", ")} (${given ? "as given" : info.source}). ${sentence(prepared.scaling)}`);
      this.checkSize();
    });
    if (turn !== this.turn) return;
    this.progress(null);
    this.choose();
  }

  /** Say whether pixels have the size of those of the training tiles. */
  private checkSize(): void {
    const { info } = this;
    if (!info || !this.prepared) return;
    const wanted = Number(input("scene-resolution").value);
    const same = Math.abs(info.metres / wanted - 1) <= DEVIATION;
    byId<HTMLButtonElement>("scene-map").disabled = !same || !this.stopped;
    this.problem(
      same
        ? null
        : `Its pixels have ${Number(info.metres.toPrecision(3))} m, and those of the training tiles ${wanted} m: resample it first, such as ` +
            `with gdalwarp -tr ${wanted} ${wanted} IN.tif OUT.tif, map it with orbitune map, or state another size below.`,
    );
  }

  private window(): TileWindow {
    const [across, down] = this.tiles(this.info!);
    const whole = (id: string, least: number, most: number) => {
      const value = Math.min(most, Math.max(least, Math.round(Number(input(id).value) || 0)));
      input(id).value = String(value);
      return value;
    };
    const side = whole("scene-side", 1, Math.min(MOST_TILES, Math.max(across, down)));
    const left = whole("scene-left", 0, Math.max(0, across - side));
    return { side, left, top: whole("scene-top", 0, Math.max(0, down - side)) };
  }

  /** Show the window on the scene; without what was prepared the picture would be of an earlier choice, or scene. */
  private choose(): void {
    byId("overview").hidden = !this.prepared;
    if (this.prepared && this.info) drawOverview(byId<HTMLCanvasElement>("overview"), this.prepared.preview, this.info, this.window(), this.tile);
  }

  private moveTo(event: MouseEvent): void {
    if (!this.info || !this.prepared) return;
    const box = byId("overview").getBoundingClientRect();
    const half = Number(input("scene-side").value) / 2;
    const to = (place: number, side: number) => String(Math.round((place * side) / this.tile - half));
    input("scene-left").value = to((event.clientX - box.left) / box.width, this.info.width);
    input("scene-top").value = to((event.clientY - box.top) / box.height, this.info.height);
    this.choose();
  }

  /** Label the window, cell by cell, until the end or until the user stops it. */
  private async run(): Promise<void> {
    if (!this.info || !this.stopped) return;
    const turn = ++this.turn;
    const map = new MapState(this.window(), this.info, this.tile, Number(byId<HTMLSelectElement>("scene-stride").value));
    [this.map, this.stopped] = [map, false];
    this.start(map);
    const began = performance.now();
    let [done, painted] = [0, began];
    const worked = await this.trying(turn, async () => {
      const model = await this.model;
      for (const step of map.steps()) {
        const block = { ...step, stride: map.stride, span: map.span };
        const part = await model.ask("labelCells", { block, canBeUnsure: this.description.not_sure !== null });
        if (turn !== this.turn || this.stopped) break;
        map.add(step, part.cells);
        drawPart(byId<HTMLCanvasElement>("ground"), map, step, part.rgba);
        this.progress((done += step.count) / map.count);
        if (performance.now() - painted < PAINT_MILLISECONDS) continue;
        this.repaint();
        painted = performance.now();
      }
    });
    if (turn !== this.turn) return;
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    const whole = done === map.count;
    if (worked) this.stop(); // else a problem is shown
    this.repaint();
    byId("scene-done").textContent = whole
      ? `${counted(done, "label")} in ${seconds} s.`
      : `Stopped after ${done.toLocaleString("en")} of ${counted(map.count, "label")}.`;
  }

  private start(map: MapState): void {
    byId("scene-result").hidden = false;
    byId("scene-done").textContent = "";
    byId("scene-stop").hidden = false;
    byId<HTMLButtonElement>("scene-map").disabled = true;
    const ground = byId<HTMLCanvasElement>("ground");
    [ground.width, ground.height] = [map.columns * map.stride, map.rows * map.stride];
    this.progress(0);
    this.repaint();
    this.fade();
  }

  private stop(): void {
    this.stopped = true;
    byId("scene-stop").hidden = true;
    this.progress(null);
    this.checkSize();
  }

  private fade(): void {
    byId("labels").style.opacity = String(Number(input("scene-opacity").value) / 100);
  }

  private showLegend(labels: (Label | null)[]): void {
    const found = shares(labels).map(([label, share]): [string, Colour, string] => [this.nameOf(label), this.colour(label), percent(share)]);
    byId("legend").replaceChildren(
      ...found.map(([name, colour, share]) => {
        const swatch = make("span", { className: "swatch", ariaHidden: "true" });
        swatch.style.background = `rgb(${colour.join()})`;
        return make("li", {}, swatch, make("span", { className: "label" }, name), make("span", { className: "value" }, share));
      }),
    );
    byId("layers").ariaLabel = `Map of the window: ${found.map(([name, , share]) => `${name} ${share}`).join(", ")}`;
  }

  private nameOf(label: Exclude<Label, "nodata">): string {
    return label === "not sure" ? "Not sure" : this.shown.classes()[label]!;
  }

  private colour(label: Label): Colour {
    const { colours, spare, not_sure, nodata } = this.settings;
    if (typeof label === "string") return label === "nodata" ? nodata : not_sure;
    return colours[label] ?? spare[(label - colours.length) % spare.length]!;
  }

  /** Do something, and return whether it worked; a refusal is shown, unless something else was asked meanwhile. */
  private async trying(turn: number, work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      if (turn !== this.turn) return false;
      const reason = error instanceof Refusal ? error.message : "cannot be read";
      this.stop();
      this.tell("");
      this.problem(`${byId("scene-title").textContent} ${reason}.`);
      if (this.info) byId<HTMLDetailsElement>("scene-reading").open = true;
      return false;
    }
  }

  private progress(fraction: number | null): void {
    const bar = byId<HTMLProgressElement>("scene-progress");
    bar.hidden = fraction === null;
    bar.value = fraction ?? 0;
  }

  private tell(text: string): void {
    byId("scene-status").textContent = text;
    if (text) this.problem(null);
  }

  private problem(text: string | null): void {
    byId("scene-problem").hidden = text === null;
    byId("scene-problem").textContent = text ?? "";
  }
}

/** Return the values that become 0 and 255, if the user gave both. */
function range(): [number, number] | null {
  const [low, high] = ["scene-low", "scene-high"].map((id) => input(id).value.trim());
  return low && high ? [Number(low), Number(high)] : null;
}

function sentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`;
}
