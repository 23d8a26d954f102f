/** The pictures of the session, as a list of buttons. */

import { labelsOf } from "../model/verdict";
import type { Entry } from "../session";
import { byId, counted, make, percent } from "./elements";

export class SessionList {
  private readonly buttons = new Map<number, HTMLButtonElement>();

  /** @param choose called with the entry that the user selects. */
  constructor(private readonly choose: (entry: Entry) => void) {}

  add(entries: Entry[]): void {
    byId("session").hidden = false;
    const items = entries.map((entry) => {
      const button = make("button", { type: "button" });
      button.addEventListener("click", () => this.choose(entry));
      this.buttons.set(entry.id, button);
      this.update(entry);
      return make("li", {}, button);
    });
    byId("entries").append(...items);
  }

  update(entry: Entry): void {
    const button = this.buttons.get(entry.id);
    if (!button) return;
    const { verdict } = entry;
    const unsure = verdict?.sure === false;
    const label = entry.state === "waiting" ? "..." : !verdict ? "Not read" : unsure ? "Not sure" : labelsOf(verdict);
    const detail = verdict && !unsure && verdict.ranked[0]!.chosen ? percent(verdict.ranked[0]!.probability) : "";
    const readable = entry.state !== "refused";
    button.dataset.state = unsure ? "unsure" : entry.state;
    button.title = entry.message ? `${entry.name} ${entry.message}` : entry.name;
    button.replaceChildren(
      readable ? make("img", { src: entry.url, alt: "", loading: "lazy" }) : make("span", { className: "blank" }, "!"),
      make("span", { className: "label" }, label),
      make("span", { className: "faint" }, detail || entry.name.split("/").at(-1)!),
      ...(entry.message ? [make("span", { className: "reason" }, `It ${entry.message}.`)] : []),
    );
  }

  select(entry: Entry | null): void {
    for (const [id, button] of this.buttons) button.ariaPressed = String(id === entry?.id);
  }

  count(entries: Entry[]): void {
    const waiting = entries.filter((entry) => entry.state === "waiting").length;
    const unsure = entries.filter((entry) => entry.verdict?.sure === false).length;
    const refused = entries.filter((entry) => entry.state === "refused").length;
    const parts = [counted(entries.length, "picture")];
    if (waiting) parts.push(`${waiting.toLocaleString("en")} waiting`);
    if (unsure) parts.push(`${unsure.toLocaleString("en")} not sure`);
    if (refused) parts.push(`${refused.toLocaleString("en")} not read`);
    byId("counts").textContent = parts.join(", ");
    const bar = byId<HTMLProgressElement>("batch");
    bar.hidden = waiting === 0;
    byId<HTMLButtonElement>("save").disabled = waiting > 0; // a table of a part looks whole
    bar.max = entries.length;
    bar.value = entries.length - waiting;
  }

  clear(): void {
    this.buttons.clear();
    byId("entries").replaceChildren();
    byId("session").hidden = true;
  }
}
