/** The attribution map over the tile: which pixels support a class. */

import type { Entry } from "../src/session";
import { byId, make } from "../src/view/elements";
import { fetchPicture, Latest, type ServedModel } from "./service";

export class Attribution {
  private entry: Entry | null = null;
  private model: ServedModel | null = null;
  private address = "";
  private wanted = false;
  private readonly asking = new Latest();
  private readonly opened = new Set<ServedModel>(); // their attributions come at once

  constructor() {
    byId("show-layer").addEventListener("click", () => {
      this.wanted = !this.wanted;
      void this.refresh();
    });
    byId("explained").addEventListener("change", () => void this.refresh());
    byId("opacity").addEventListener("input", () => this.setOpacity());
    this.setOpacity();
  }

  /** Explain another tile; its layer is fetched only while layers are shown. */
  use(entry: Entry | null, model: ServedModel): void {
    this.entry = entry;
    this.model = model;
    byId("attribution").hidden = entry?.state !== "done";
    const labels = entry?.verdict?.ranked.map((each) => each.label) ?? [];
    byId("explained").replaceChildren(...labels.map((label) => make("option", {}, label)));
    void this.refresh();
  }

  private async refresh(): Promise<void> {
    const { entry, model, wanted } = this;
    const signal = this.asking.next();
    const label = byId<HTMLSelectElement>("explained").value;
    byId("show-layer").ariaPressed = String(wanted);
    byId("layer-settings").hidden = !wanted;
    byId("layer").hidden = true;
    if (!wanted || entry?.state !== "done") return this.note("");
    const seconds = make("span", { ariaHidden: "true" }); // not read out every second
    const why = this.opened.has(model!) ? "" : " The first one of a model takes longer: the server loads its backbone for it.";
    this.note("Computing the attribution ...", seconds, why);
    const start = Date.now();
    const clock = setInterval(() => (seconds.textContent = ` ${Math.round((Date.now() - start) / 1000)} s.`), 1000);
    const [address, problem] = await fetchPicture("attribution", entry.file, { model: model!.name, label }, signal)
      .then((found) => [found, ""], (error: Error) => ["", error.message])
      .finally(() => clearInterval(clock));
    if (signal.aborted) return URL.revokeObjectURL(address!);
    if (address) this.opened.add(model!);
    this.note(problem || `Yellow parts support ${label} most, violet ones least.`);
    URL.revokeObjectURL(this.address);
    this.address = address!;
    const layer = byId<HTMLImageElement>("layer");
    layer.src = this.address;
    layer.hidden = !address;
  }

  private setOpacity(): void {
    byId("layer").style.opacity = `${byId<HTMLInputElement>("opacity").value}%`;
  }

  private note(...parts: (string | Node)[]): void {
    byId("layer-note").replaceChildren(...parts.filter(Boolean)); // :empty where there is nothing to say
  }
}
