/** The part of the page in which a model is taught. */

import { byId, counted, make } from "../view/elements";
import { FEWEST_OF_A_MEAN, type Learned, type Lesson } from "./learned";
import { judgeFit, type Outcome } from "./outcome";

export interface Actions {
  /** Classify pictures whose class the user has stated. */
  add: (files: File[], label: string) => void;
  learn: () => void;
  save: () => void;
  forget: () => void;
}

export class TeachPanel {
  private busy = false;
  private failure: string | null = null;

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

  /** Show that a fit runs. @param fraction of it that is done. */
  progress(fraction: number): void {
    const bar = byId<HTMLProgressElement>("learning");
    [bar.hidden, bar.value] = [false, fraction];
    [this.busy, this.failure] = [true, null];
    for (const id of ["learn", "save-head", "forget"]) byId<HTMLButtonElement>(id).disabled = true;
    this.say({ state: "open", text: "Learning ..." });
  }

  /** Show that a fit has ended. @param failure why it learned nothing; null where it did. */
  ended(failure: string | null): void {
    byId("learning").hidden = true;
    [this.busy, this.failure] = [false, failure];
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
    byId("lessons").textContent = parts.filter(Boolean).join(" ");
    if (this.busy) return;
    byId<HTMLButtonElement>("learn").disabled = !counts.size || few !== undefined;
    for (const id of ["save-head", "forget"]) {
      byId(id).hidden = !learned;
      byId<HTMLButtonElement>(id).disabled = false;
    }
    if (this.failure) this.say({ state: "bad", text: this.failure });
    else this.say(learned && judgeFit(learned.heldOut, learned.remembered));
  }

  private say(outcome: Outcome | null): void {
    const line = byId("outcome");
    line.hidden = !outcome;
    if (line.textContent !== (outcome?.text ?? "")) line.textContent = outcome?.text ?? ""; // else it is read out again
    line.dataset.state = outcome?.state ?? "";
  }
}
