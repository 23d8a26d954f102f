/** The tiles of the session as a table that sorts and filters. */

import { labelsOf } from "../src/model/verdict";
import type { Entry } from "../src/session";
import { byId, counted, make, percent } from "../src/view/elements";
import type { ServedModel } from "./service";

const PAGE = 200; // rows at a time

type Key = "name" | "label" | "probability" | "distance";

export class SessionTable {
  private entries: Entry[] = [];
  private selected: Entry | null = null;
  private order: { key: Key; down: boolean } | null = null;
  private most = PAGE;
  private readonly rows = new Map<number, HTMLTableRowElement>();
  private readonly seen = new IntersectionObserver(
    (found) => {
      for (const { isIntersecting, target } of found) if (isIntersecting) this.loadThumb(target as HTMLElement);
    },
    { rootMargin: "600px" },
  );

  constructor(private readonly choose: (entry: Entry) => void, private readonly preview: (entry: Entry) => Promise<string>) {
    for (const button of document.querySelectorAll<HTMLButtonElement>("[data-sort]")) {
      button.addEventListener("click", () => this.sort(button.dataset.sort as Key));
    }
    byId("search").addEventListener("input", () => this.arrange());
    byId("filter").addEventListener("change", () => this.arrange());
    byId("more").addEventListener("click", () => this.arrange(this.most + PAGE));
  }

  /** Ask for the pictures anew, and show distances if a model has them. */
  use(model: ServedModel): void {
    byId("session").classList.toggle("no-distance", model.ood_threshold === null);
    for (const row of this.rows.values()) thumbOf(row).removeAttribute("src");
  }

  /** Show these entries, and the choice of labels to filter by. */
  show(entries: Entry[]): void {
    if (!entries.length) this.rows.clear();
    this.entries = [...entries];
    byId("session").hidden = !entries.length;
    this.offerFilters();
    for (const entry of entries) if (this.rows.has(entry.id)) this.fill(entry);
    for (const row of this.rows.values()) this.askPicture(row);
    this.arrange();
  }

  /** Show what has become of entries, where they stand. */
  update(entries: Entry[]): void {
    for (const entry of entries) if (this.rows.has(entry.id)) this.fill(entry);
    this.count();
  }

  select(entry: Entry | null): void {
    this.rows.get(this.selected?.id ?? -1)?.removeAttribute("aria-current");
    this.selected = entry;
    const row = this.rows.get(entry?.id ?? -1);
    row?.setAttribute("aria-current", "true");
    if (row) this.askPicture(row);
  }

  private sort(key: Key): void {
    const first = key === "probability" || key === "distance"; // the highest first
    this.order = { key, down: this.order?.key === key ? !this.order.down : first };
    for (const button of document.querySelectorAll<HTMLButtonElement>("[data-sort]")) {
      const sorted = button.dataset.sort === key;
      button.parentElement!.ariaSort = sorted ? (this.order.down ? "descending" : "ascending") : null;
    }
    this.arrange();
  }

  private arrange(most = PAGE): void {
    this.most = most;
    const words = byId<HTMLInputElement>("search").value.trim().toLowerCase();
    const filter = byId<HTMLSelectElement>("filter").value;
    const fits = this.entries.filter(
      (entry) =>
        (!filter || kindsOf(entry).includes(filter)) &&
        (!words || `${entry.name} ${labelOf(entry)}`.toLowerCase().includes(words)),
    );
    if (this.order) {
      const { key, down } = this.order;
      fits.sort((a, b) => (down ? -1 : 1) * compare(valueOf(a, key), valueOf(b, key)));
    }
    byId("rows").replaceChildren(...fits.slice(0, most).map((entry) => this.rows.get(entry.id) ?? this.add(entry)));
    byId("more").hidden = fits.length <= most;
    byId("none").hidden = fits.length > 0;
    this.count();
  }

  private add(entry: Entry): HTMLTableRowElement {
    const row = make("tr");
    row.dataset.id = String(entry.id);
    this.rows.set(entry.id, row);
    const button = make("button", { type: "button" }, entry.name);
    button.addEventListener("click", () => this.choose(entry));
    const thumb = make("img", { className: "thumb", alt: "" });
    thumb.dataset.id = row.dataset.id;
    row.append(make("td", {}, thumb), make("td", {}, button), make("td"), make("td"), make("td"));
    if (entry === this.selected) row.setAttribute("aria-current", "true");
    this.askPicture(row);
    this.fill(entry);
    return row;
  }

  /** Have a picture that is missing loaded once it is near. */
  private askPicture(row: HTMLTableRowElement): void {
    const thumb = thumbOf(row);
    if (!thumb.hasAttribute("src")) this.seen.observe(thumb);
  }

  private fill(entry: Entry): void {
    const cells = this.rows.get(entry.id)!.cells;
    const { verdict } = entry;
    const chosen = verdict?.ranked.filter((each) => each.chosen) ?? [];
    cells[2]!.textContent = labelOf(entry);
    cells[2]!.className = entry.state === "refused" || verdict?.sure === false ? "warn" : "";
    cells[3]!.textContent = chosen.map((each) => percent(each.probability)).join(", ");
    cells[4]!.textContent = verdict?.score?.toFixed(1) ?? "";
  }

  private loadThumb(thumb: HTMLElement): void {
    this.seen.unobserve(thumb);
    const entry = this.entries.find((each) => String(each.id) === thumb.dataset.id);
    if (entry) void this.preview(entry).then((address) => ((thumb as HTMLImageElement).src = address), () => {});
  }

  private offerFilters(): void {
    const choice = byId<HTMLSelectElement>("filter");
    const before = choice.value;
    const counts = new Map<string, number>();
    for (const kind of this.entries.flatMap(kindsOf)) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    const options = [...counts].sort(([a], [b]) => compare(a, b));
    choice.replaceChildren(
      new Option(`All (${this.entries.length.toLocaleString("en")})`, ""),
      ...options.map(([kind, count]) => new Option(`${kind} (${count.toLocaleString("en")})`, kind)),
    );
    choice.value = counts.has(before) ? before : "";
  }

  private count(): void {
    const { entries } = this;
    const waiting = entries.filter((entry) => entry.state === "waiting").length;
    const unsure = entries.filter((entry) => entry.verdict?.sure === false).length;
    const refused = entries.filter((entry) => entry.state === "refused").length;
    const parts = [counted(entries.length, "tile")];
    for (const [number, what] of [[waiting, "waiting"], [unsure, "not sure"], [refused, "not classified"]] as const) {
      if (number) parts.push(`${number.toLocaleString("en")} ${what}`);
    }
    byId("counts").textContent = parts.join(", ");
    const bar = byId<HTMLProgressElement>("batch");
    bar.hidden = waiting === 0;
    bar.max = Math.max(1, entries.length);
    bar.value = entries.length - waiting;
    byId<HTMLButtonElement>("save").disabled = waiting > 0; // a table of a part looks whole
  }
}

function thumbOf(row: HTMLTableRowElement): HTMLImageElement {
  return row.querySelector("img")!;
}

/** Return what an entry can be filtered by: its labels, or that it has none. */
function kindsOf(entry: Entry): string[] {
  if (entry.state === "waiting") return [];
  if (!entry.verdict) return ["Not classified"];
  if (entry.verdict.sure === false) return ["Not sure"];
  const labels = entry.verdict.ranked.filter((each) => each.chosen).map((each) => each.label);
  return labels.length ? labels : [labelsOf(entry.verdict)];
}

function labelOf(entry: Entry): string {
  if (entry.state === "waiting") return "...";
  if (!entry.verdict) return `Not classified: ${entry.message}`;
  return entry.verdict.sure === false ? `Not sure (nearest: ${labelsOf(entry.verdict)})` : labelsOf(entry.verdict);
}

function valueOf(entry: Entry, key: Key): string | number {
  if (key === "name") return entry.name;
  if (key === "label") return labelOf(entry);
  if (key === "distance") return entry.verdict?.score ?? -1;
  return entry.verdict?.ranked[0]?.probability ?? -1;
}

function compare(a: string | number, b: string | number): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}
