/** The part of the page in which a model is taught. */

import { byId, counted, make } from "../view/elements";
import { FEWEST_OF_A_MEAN, type Learned, type Lesson } from "./learned";

export interface Actions {
  /** Classify pictures whose class the user has stated. */
  add: (files: File[], label: string) => void;
  learn: () => void;
  save: () => void;
  forget: () => void;
}

export class TeachPanel {
  constructor(
    private readonly known: string[],
    actions: Actions,
  ) {
    byId("teach").hidden = false;
    const name = byId<HTMLInputElement>("class-name");
    const files = byId<HTMLInputElement>("lesson-files");
    byId("add-lessons").addEventListener("click", () => {
      name.setCustomValidity(name.value.trim() ? "" : "Name the class of the pictures first.");
      if (name.reportValidity()) files.click();
    });
    name.addEventListener("input", () => name.setCustomValidity(""));
    files.addEventListener("change", () => {
      actions.add([...(files.files ?? [])], name.value.trim());
      files.value = "";
    });
    byId("learn").addEventListener("click", actions.learn);
    byId("save-head").addEventListener("click", actions.save);
    byId("forget").addEventListener("click", actions.forget);
  }

  /** Say what was taught, and what was learned. */
  show(lessons: Lesson[], learned: Learned | null, names: string[]): void {
    byId("class-names").replaceChildren(...names.map((name) => make("option", { value: name })));
    const counts = new Map<string, number>();
    for (const { label } of lessons) counts.set(label, (counts.get(label) ?? 0) + 1);
    const few = [...counts].find(([name, count]) => !this.known.includes(name) && count < FEWEST_OF_A_MEAN);
    const listed = [...counts].map(([name, count]) => `${name}: ${counted(count, "picture")}`).join(", ");
    const parts = [listed && `${listed}.`];
    if (few) parts.push(`A new class needs ${FEWEST_OF_A_MEAN} pictures, and a dozen teach more.`);
    if (learned) parts.push(describe(learned));
    byId("lessons").textContent = parts.filter(Boolean).join(" ");
    byId<HTMLButtonElement>("learn").disabled = !counts.size || few !== undefined;
    byId("save-head").hidden = !learned;
    byId("forget").hidden = !learned;
  }
}

function describe({ heldOut, pictures }: Learned): string {
  const { pictures: count, right_after: after, right_before: before } = heldOut;
  return (
    `Learned ${Object.keys(pictures).join(", ")}. Of ${counted(count, "picture")}, each left out of what it was ` +
    `learned from, ${after} got the right class, and ${before} before.`
  );
}
