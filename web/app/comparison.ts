/** What every model with the same classes says of the tile that is shown. */

import { labelsOf } from "../src/model/verdict";
import type { Entry } from "../src/session";
import { byId, make, percent } from "../src/view/elements";
import { classify, type ServedModel } from "./service";

export class Comparison {
  private entry: Entry | null = null;
  private models: ServedModel[] = [];
  private readonly box = byId<HTMLDetailsElement>("compare");

  constructor(private readonly all: ServedModel[]) {
    this.box.addEventListener("toggle", () => void this.refresh());
  }

  use(entry: Entry | null, model: ServedModel): void {
    const classes = (each: ServedModel) => [...each.classes].sort().join("\n");
    this.models = this.all.filter((each) => classes(each) === classes(model));
    const changed = this.entry !== entry || entry?.state !== "done";
    this.entry = entry;
    this.box.hidden = entry?.state !== "done" || this.models.length < 2;
    if (changed || !this.box.querySelector("tbody")!.childElementCount) void this.refresh();
  }

  private async refresh(): Promise<void> {
    const { entry, models } = this;
    const body = this.box.querySelector("tbody")!;
    body.replaceChildren();
    if (!this.box.open || this.box.hidden || !entry) return;
    for (const model of models) {
      const [answer] = await classify([entry], model).catch((error: Error) => [error.message]);
      if (entry !== this.entry || models !== this.models) return;
      body.append(row(model, answer!));
    }
  }
}

function row(model: ServedModel, answer: Awaited<ReturnType<typeof classify>>[number]): HTMLElement {
  const name = make("th", { scope: "row" }, model.name);
  if (typeof answer === "string") return make("tr", {}, name, make("td", { colSpan: 5 }, answer));
  const { verdict, seconds } = answer;
  const chosen = verdict.ranked.filter((each) => each.chosen);
  const label = labelsOf(verdict) + (verdict.sure === false ? " (not sure)" : "");
  const cells = [label, chosen.map((each) => percent(each.probability)).join(", "), (1000 * seconds).toFixed(0), (model.bytes / 1e6).toFixed(2), model.score ?? ""];
  return make("tr", {}, name, ...cells.map((text) => make("td", {}, text)));
}
