/** What every model with the same classes says of the tile that is shown. */

import { labelsOf, type Verdict } from "../src/model/verdict";
import type { Entry } from "../src/session";
import { byId, make, percent } from "../src/view/elements";
import { classify, Latest, type ServedModel } from "./service";

export class Comparison {
  private entry: Entry | null = null;
  private verdict: Verdict | undefined;
  private models: ServedModel[] = [];
  private readonly asking = new Latest();
  private readonly box = byId<HTMLDetailsElement>("compare");

  constructor(private readonly all: ServedModel[]) {
    this.box.addEventListener("toggle", () => void this.refresh());
  }

  use(entry: Entry | null, model: ServedModel): void {
    const classes = (each: ServedModel) => [...each.classes].sort().join("\n");
    this.models = this.all.filter((each) => classes(each) === classes(model));
    const changed = this.entry !== entry || this.verdict !== entry?.verdict;
    this.entry = entry;
    this.verdict = entry?.verdict;
    this.box.hidden = entry?.state !== "done" || this.models.length < 2;
    if (changed) void this.refresh();
  }

  private async refresh(): Promise<void> {
    const { entry, models } = this;
    const signal = this.asking.next();
    const table = this.box.querySelector("table")!;
    for (const body of [...table.tBodies]) body.remove();
    if (!this.box.open || this.box.hidden || !entry) return;
    for (const model of models) {
      const [answer] = await classify([entry], model, signal).catch((error: Error) => [error.message]);
      if (signal.aborted) return;
      table.append(rows(model, answer!));
    }
  }
}

/** Return what a model says, and below it what it costs and scores: in one row it would be too wide for a phone. */
function rows(model: ServedModel, answer: Awaited<ReturnType<typeof classify>>[number]): HTMLElement {
  const name = make("th", { scope: "rowgroup" }, model.name);
  if (typeof answer === "string") return make("tbody", {}, make("tr", {}, name, make("td", { colSpan: 2 }, answer)));
  const { verdict, seconds } = answer;
  const chosen = verdict.ranked.filter((each) => each.chosen);
  const label = labelsOf(verdict) + (verdict.sure === false ? " (not sure)" : "");
  const probability = chosen.map((each) => percent(each.probability)).join(", ");
  const facts = [`${(1000 * seconds).toFixed(0)} ms`, `${(model.bytes / 1e6).toFixed(2)} MB`, model.score && `test ${model.score}`];
  return make(
    "tbody",
    {},
    make("tr", {}, name, make("td", {}, label), make("td", {}, probability)),
    make("tr", {}, make("td", { colSpan: 3, className: "faint" }, facts.filter(Boolean).join(" \u00b7 "))),
  );
}
