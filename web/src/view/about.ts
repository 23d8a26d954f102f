/** What the page says of its model: name, origin, scores, and what it was taught. */

import type { Learned } from "../learn/learned";
import type { ModelDescription } from "../model/description";
import { byId, counted, make } from "./elements";

/** @param learned what the model was taught on this device; null for nothing. */
export function describe(model: ModelDescription, learned: Learned | null): void {
  document.title = `${model.name} - Orbitune`;
  byId("title").textContent = model.name;
  if (model.synthetic) {
    byId("subtitle").textContent = "Trained on tiles that a program drew: it says nothing about satellite images";
  }
  const lessons = learned && Object.entries(learned.pictures).map(([name, count]) => `${name} (${counted(count, "picture")})`);
  byId("taught").hidden = !lessons;
  byId("taught").textContent = lessons ? `Taught on this device: ${lessons.join(", ")}` : "";
  const scores = Object.entries(model.scores).map(([split, value]) => [lessons ? `${split}, before it was taught` : split, value]);
  const facts = [
    ...Object.entries(model.about),
    ...(lessons ? [["Taught here", lessons.join(", ")]] : []),
    ...scores,
    ["Exported by", model.made_by],
  ] as [string, string][];
  byId("facts").replaceChildren(
    ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
  );
}
