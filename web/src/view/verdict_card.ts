/** The card with the verdict on the picture that is shown. */

import type { ModelDescription } from "../model/description";
import { labelsOf, type Verdict } from "../model/verdict";
import type { Entry } from "../session";
import { byId, make, percent } from "./elements";

/** What the card needs of a model, which may have learned further classes. */
export type Shown = Pick<ModelDescription, "classes" | "not_sure"> & {
  /** Names that a user may state; empty where the model cannot learn. */
  names: string[];
  /** Whether the model was taught on this device. */
  taught: boolean;
};

/** @param state called with the class that the user states. */
export function showVerdict(entry: Entry | null, model: Shown, state: (label: string) => void): void {
  const card = byId("verdict");
  card.dataset.state = entry?.state ?? "empty";
  card.classList.toggle("unsure", entry?.verdict?.sure === false);
  card.replaceChildren(...(entry ? content(entry, model) : introduction(model)));
  if (entry?.verdict && model.names.length) card.append(truthChoice(entry, model.names, state));
}

function introduction(model: Shown): Node[] {
  return [
    make("p", { className: "headline" }, "What is on this tile?"),
    make("p", { className: "faint" }, `${model.classes.length} classes: ${model.classes.join(", ")}.`),
  ];
}

function content(entry: Entry, model: Shown): Node[] {
  const name = make("p", { className: "file" }, entry.name);
  if (entry.state === "waiting") return [name, make("p", { className: "headline faint" }, "Classifying ...")];
  if (entry.state === "refused" || !entry.verdict) {
    return [name, make("p", { className: "headline" }, "Cannot be classified"), make("p", {}, `It ${entry.message}.`)];
  }
  const { verdict } = entry;
  const unsure = verdict.sure === false;
  const shown: Node[] = [name, make("p", { className: "headline" }, unsure ? "Not sure" : labelsOf(verdict))];
  if (unsure) shown.push(explanation(verdict, model));
  shown.push(bars(verdict));
  if (verdict.sure) {
    const what = verdict.taught === null ? "the tiles that the model was trained on" : `the pictures of ${verdict.taught} that it was taught`;
    const distances = `distance ${verdict.score!.toFixed(1)}, limit ${model.not_sure!.threshold.toFixed(1)}`;
    shown.push(make("p", { className: "faint note" }, `Like ${what}: ${distances}.`));
  }
  return shown;
}

function truthChoice(entry: Entry, names: string[], state: (label: string) => void): Node {
  const choice = make("select", { id: "truth" }, new Option("not stated", ""), ...names.map((name) => new Option(name)));
  choice.value = entry.truth ?? "";
  choice.addEventListener("change", () => state(choice.value));
  return make("p", { className: "truth faint" }, make("label", { htmlFor: "truth" }, "Right class"), choice);
}

function explanation(verdict: Verdict, model: Shown): Node {
  const limit = model.not_sure!.threshold;
  return make(
    "p",
    {},
    `This picture is unlike the tiles that the model was trained on${model.taught ? ", and the pictures that it was taught" : ""}: `,
    `its distance is ${verdict.score!.toFixed(1)}, and the limit ${limit.toFixed(1)}. `,
    "The classes below are the nearest, not an answer.",
  );
}

function bars(verdict: Verdict): Node {
  const rows = verdict.ranked.map((each) => {
    const bar = make("span", { className: "bar", ariaHidden: "true" }, make("span", { className: "fill" }));
    (bar.firstElementChild as HTMLElement).style.inlineSize = `${100 * each.probability}%`;
    const row = make("li", { className: each.chosen ? "chosen" : "" });
    row.append(
      make("span", { className: "label" }, each.label),
      make("span", { className: "value" }, percent(each.probability)),
      bar,
    );
    return row;
  });
  return make("ol", { className: "bars" }, ...rows);
}
