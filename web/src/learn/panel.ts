/** The part of the page in which a model is taught. */

import { byId, make } from "../view/elements";
import type { Learner } from "./learner";
import { countLabels, describeLessons, hasTooFew, type Lesson, readName } from "./lessons";
import { judgeFit, type Outcome } from "./outcome";

export interface Actions {
  /** Classify pictures whose class the user has stated. */
  add: (files: File[], label: string) => void;
  learn: () => void;
  save: () => void;
  forget: () => void;
}

const NO_ROOM = "The browser has no room to keep it: save it before you close the page.";

export class TeachPanel {
  private busy = false;
  private failure: string | null = null;
  private names: string[] = []; // of all classes, as last shown

  constructor(
    private readonly known: string[],
    private readonly canBeUnsure: boolean,
    actions: Actions,
  ) {
    byId("teach").hidden = false;
    const name = byId<HTMLInputElement>("class-name");
    const files = byId<HTMLInputElement>("lesson-files");
    byId("add-lessons").addEventListener("click", () => {
      name.setCustomValidity(readName(name.value, this.names).fault);
      if (name.reportValidity()) files.click();
    });
    name.addEventListener("input", () => name.setCustomValidity(""));
    files.addEventListener("change", () => {
      actions.add([...(files.files ?? [])], readName(name.value, this.names).name);
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

  /** Show why what was kept cannot be used. */
  warn(reason: string): void {
    byId<HTMLDetailsElement>("teach").open = true;
    this.ended(reason);
  }

  /**
   * Say what was taught, and what was learned.
   *
   * @param names of all classes.
   * @param waiting whether pictures of a stated class are still to be classified.
   */
  show(lessons: Lesson[], { learned, isUnkept }: Learner, names: string[], waiting: boolean): void {
    this.names = names;
    byId("class-names").replaceChildren(...names.map((name) => make("option", { value: name })));
    const counts = countLabels(lessons);
    const few = hasTooFew(counts, this.known);
    byId("lessons").textContent = describeLessons(counts, this.known, this.canBeUnsure);
    if (this.busy) return;
    byId<HTMLButtonElement>("learn").disabled = !counts.size || few || waiting;
    for (const id of ["save-head", "forget"]) {
      byId(id).hidden = !learned;
      byId<HTMLButtonElement>(id).disabled = false;
    }
    if (this.failure) return this.say({ state: "bad", text: this.failure });
    const outcome = learned && judgeFit(learned.heldOut, learned.remembered);
    this.say(outcome && isUnkept ? { ...outcome, text: `${outcome.text} ${NO_ROOM}` } : outcome);
  }

  private say(outcome: Outcome | null): void {
    const line = byId("outcome");
    line.hidden = !outcome;
    if (line.textContent !== (outcome?.text ?? "")) line.textContent = outcome?.text ?? ""; // else it is read out again
    line.dataset.state = outcome?.state ?? "";
  }
}
