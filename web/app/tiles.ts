/** The view of tiles: one canvas, its verdict, examples, and the session. */

import { type Arrived, listen } from "../src/inputs";
import { type Entry, toCsv } from "../src/session";
import { byId, make, save } from "../src/view/elements";
import { type Shown, showVerdict } from "../src/view/verdict_card";
import { Attribution } from "./attribution";
import { Comparison } from "./comparison";
import { type Example, Examples } from "./examples";
import { Previews } from "./previews";
import { ask, classify, type ServedModel, type Service, ServiceError, tooLarge } from "./service";
import { SessionTable } from "./session_table";
import { unzip } from "./zip";

/** Of one request, with room below the service's limits. */
const MOST_FILES = 16;
const MOST_BYTES = 16 * 2 ** 20;

export class TilesView {
  private entries: Entry[] = [];
  private selected: Entry | null = null;
  private work: AbortController | null = null;
  private added = 0;
  /** Ends with the session: what arrives later belongs to none. */
  private session = new AbortController();
  private readonly taken = new Map<string, Entry>(); // examples by address
  /** Those that may still be classified: it was stopped, or the server did not answer. */
  private readonly left = new Set<Entry>();
  private readonly previews: Previews;
  private readonly table: SessionTable;
  private readonly attribution = new Attribution();
  private readonly comparison: Comparison;
  private readonly examples = new Examples((example) => this.addExample(example));

  constructor(private model: ServedModel, private readonly service: Service, private readonly report: (problem: string) => void) {
    this.comparison = new Comparison(service.models);
    this.previews = new Previews(service, model);
    this.table = new SessionTable((entry) => this.select(entry), (entry) => this.previews.of(entry));
    listen((files) => void this.add(files));
    const picture = byId<HTMLImageElement>("picture");
    picture.addEventListener("load", () => {
      byId("canvas").style.setProperty("--ratio", String(picture.naturalWidth / picture.naturalHeight));
    });
    byId("clear").addEventListener("click", () => this.clear());
    byId("stop").addEventListener("click", () => this.work?.abort());
    byId("rest").addEventListener("click", () => this.begin([...this.left]));
    byId("save").addEventListener("click", () => save(toCsv(this.entries, this.model), "text/csv", "predictions.csv"));
    this.use(model);
  }

  /** Classify the session with another model. */
  use(model: ServedModel): void {
    this.work?.abort();
    this.work = null;
    this.model = model;
    this.previews.use(model);
    this.table.use(model);
    void this.examples.use(model);
    this.begin(this.entries);
  }

  private async add(files: Arrived[]): Promise<void> {
    this.report("");
    const { signal } = this.session;
    const isZip = ({ name }: Arrived) => name.toLowerCase().endsWith(".zip");
    let found: Arrived[];
    try {
      found = (await Promise.all(files.map((each) => (isZip(each) ? unzip(each.file) : [each])))).flat();
    } catch (error) {
      return signal.aborted ? undefined : this.report((error as Error).message);
    }
    if (signal.aborted) return;
    if (!found.length) return this.report("There is no picture in it.");
    this.insert(found);
  }

  /** Add to the session, classify, and return the first. */
  private insert(files: Arrived[]): Entry {
    const added = files.map(({ name, file }): Entry => ({ id: this.added++, name, file, url: "", state: "waiting" }));
    this.entries.push(...added);
    const first = (this.selected = added[0]!);
    this.begin(added);
    return first;
  }

  private async addExample({ name, address }: Example): Promise<void> {
    if (!this.taken.has(address)) {
      const { model, session } = this;
      const content = await (await ask(address)).blob();
      if (session.signal.aborted || model !== this.model) return;
      if (!this.taken.has(address)) this.taken.set(address, this.insert([{ name, file: new File([content], name) }]));
    }
    this.select(this.taken.get(address)!);
  }

  /** Have entries wait for their verdicts, but those that the server would not take, and classify what waits. */
  private begin(entries: Entry[]): void {
    for (const entry of entries) {
      Object.assign(entry, { state: "waiting", verdict: undefined, message: undefined });
      this.left.delete(entry);
      const why = tooLarge(entry.file, this.service);
      if (why) settle(entry, why);
    }
    this.show();
    this.select(this.selected);
    void this.classifyAll();
  }

  /** Classify what waits, a few files a request. */
  private async classifyAll(): Promise<void> {
    if (this.work) return;
    const work = (this.work = new AbortController());
    const model = this.model;
    for (let batch = this.nextBatch(); batch.length && this.work === work; batch = this.nextBatch()) {
      byId("stop").hidden = this.entries.length <= MOST_FILES;
      try {
        const answers = await classify(batch, model, work.signal);
        if (this.work !== work) return; // another model was chosen
        batch.forEach((entry, place) => settle(entry, answers[place]!));
      } catch (error) {
        if (this.work !== work) return;
        this.giveUp(work.signal.aborted ? "stopped" : error, batch);
      }
      this.table.update(batch);
      if (batch.includes(this.selected!)) this.select(this.selected);
    }
    this.work = null;
    byId("stop").hidden = true;
    this.show();
  }

  /** Refuse what waits: all of it, unless the files of the batch are to blame. */
  private giveUp(error: unknown, batch: Entry[]): void {
    const alone = error instanceof ServiceError && error.status === 413;
    const why = error instanceof Error ? error.message.replace(/\.$/, "") : String(error);
    for (const entry of alone ? batch : this.waiting()) {
      settle(entry, `was not classified: ${why}`);
      if (!alone) this.left.add(entry);
    }
  }

  private waiting(): Entry[] {
    return this.entries.filter((entry) => entry.state === "waiting");
  }

  /** Return the files of the next request: the chosen one alone, as its answer is awaited. */
  private nextBatch(): Entry[] {
    if (this.selected?.state === "waiting") return [this.selected];
    const batch: Entry[] = [];
    let bytes = 0;
    for (const entry of this.waiting()) {
      bytes += entry.file.size;
      if (batch.length && (batch.length === MOST_FILES || bytes > MOST_BYTES)) break;
      batch.push(entry);
    }
    return batch;
  }

  private show(): void {
    this.table.show(this.entries);
    byId("rest").hidden = !this.left.size;
  }

  private select(entry: Entry | null): void {
    this.selected = entry;
    this.table.select(entry);
    showVerdict(entry, shown(this.model), () => {});
    if (entry?.verdict && this.model.ood_threshold === null) byId("verdict").append(noDetector());
    this.attribution.use(entry, this.model);
    this.comparison.use(entry, this.model);
    void this.showPicture(entry);
  }

  private async showPicture(entry: Entry | null): Promise<void> {
    const { model } = this;
    const address = entry && (await this.previews.of(entry).catch(() => null));
    if (entry !== this.selected || model !== this.model) return;
    byId("canvas").hidden = !address;
    byId("invite").hidden = Boolean(address);
    const picture = byId<HTMLImageElement>("picture");
    if (address) picture.src = address;
    picture.alt = entry?.name ?? "";
  }

  private clear(): void {
    this.work?.abort();
    this.work = null;
    this.session.abort();
    this.session = new AbortController();
    this.taken.clear();
    this.entries = [];
    this.left.clear();
    this.previews.use(this.model);
    this.show();
    this.select(null);
    byId("open").focus();
  }
}

/** Return why there is no distance, and no *not sure*. */
function noDetector(): HTMLElement {
  return make(
    "p",
    { className: "faint note" },
    "No distance, and never not sure: this model has no detector of unlike tiles, which ",
    make("code", {}, "orbitune bundle"),
    " fits to a run.",
  );
}

function settle(entry: Entry, answer: Awaited<ReturnType<typeof classify>>[number]): void {
  if (typeof answer === "string") {
    // The service's sentences begin with "The image", the card's with "It".
    Object.assign(entry, { state: "refused", message: answer.replace(/^The image /, "").replace(/\.$/, "") });
  } else Object.assign(entry, { state: "done", verdict: answer.verdict });
}

function shown(model: ServedModel): Shown {
  const threshold = model.ood_threshold;
  return { classes: model.classes, not_sure: threshold === null ? null : { threshold, rate: 0 }, names: [], taught: false };
}
