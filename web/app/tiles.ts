/** The view of tiles: one canvas, its verdict, examples, and the session. */

import { type Arrived, listen } from "../src/inputs";
import { type Entry, toCsv } from "../src/session";
import { byId, make, save } from "../src/view/elements";
import { type Shown, showVerdict } from "../src/view/verdict_card";
import { Attribution } from "./attribution";
import { Comparison } from "./comparison";
import { ask, classify, fetchPicture, type ServedModel, ServiceError } from "./service";
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
  private readonly previews = new Map<number, Promise<string>>();
  private readonly table = new SessionTable((entry) => this.select(entry), (entry) => this.preview(entry));
  private readonly attribution = new Attribution();
  private readonly comparison: Comparison;

  constructor(private model: ServedModel, models: ServedModel[], private readonly report: (problem: string) => void) {
    this.comparison = new Comparison(models);
    listen((files) => void this.add(files));
    const picture = byId<HTMLImageElement>("picture");
    picture.addEventListener("load", () => {
      byId("canvas").style.setProperty("--ratio", String(picture.naturalWidth / picture.naturalHeight));
    });
    byId("clear").addEventListener("click", () => this.clear());
    byId("stop").addEventListener("click", () => this.work?.abort());
    byId("save").addEventListener("click", () => save(toCsv(this.entries, this.model), "text/csv", "predictions.csv"));
    this.use(model);
    void this.offerExamples();
  }

  /** Classify the session with another model. */
  use(model: ServedModel): void {
    this.work?.abort();
    this.work = null;
    this.model = model;
    this.forgetPreviews(); // models may read other bands
    for (const entry of this.entries) Object.assign(entry, { state: "waiting", verdict: undefined, message: undefined });
    this.table.show(this.entries);
    this.select(this.selected);
    void this.classifyAll();
  }

  private async add(files: Arrived[]): Promise<void> {
    this.report("");
    const isZip = ({ name }: Arrived) => name.toLowerCase().endsWith(".zip");
    let found: Arrived[];
    try {
      found = (await Promise.all(files.map((each) => (isZip(each) ? unzip(each.file) : [each])))).flat();
    } catch (error) {
      return this.report((error as Error).message);
    }
    if (!found.length) return this.report("There is no picture in it.");
    const added = found.map(({ name, file }): Entry => ({ id: this.added++, name, file, url: "", state: "waiting" }));
    this.entries.push(...added);
    this.table.show(this.entries);
    this.select(added[0]!);
    await this.classifyAll();
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
        const why = work.signal.aborted ? "was not classified: stopped" : `was not classified: ${sentence(error)}`;
        const left = work.signal.aborted || !(error instanceof ServiceError) || error.status !== 413 ? this.waiting() : batch;
        for (const entry of left) settle(entry, why);
      }
      this.table.update(batch);
      if (batch.includes(this.selected!)) this.select(this.selected);
    }
    this.work = null;
    byId("stop").hidden = true;
    this.table.show(this.entries);
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

  private select(entry: Entry | null): void {
    this.selected = entry;
    this.table.select(entry);
    showVerdict(entry, shown(this.model), () => {});
    this.attribution.use(entry, this.model);
    this.comparison.use(entry, this.model);
    void this.showPicture(entry);
  }

  private async showPicture(entry: Entry | null): Promise<void> {
    const address = entry && (await this.preview(entry).catch(() => null));
    if (entry !== this.selected) return;
    byId("canvas").hidden = !address;
    byId("invite").hidden = Boolean(address);
    const picture = byId<HTMLImageElement>("picture");
    if (address) picture.src = address;
    picture.alt = entry?.name ?? "";
  }

  /** Return the address of an entry's picture, as the server's decoder reads the file. */
  private preview(entry: Entry): Promise<string> {
    const known = this.previews.get(entry.id) ?? fetchPicture("preview", entry.file, { model: this.model.name });
    this.previews.set(entry.id, known);
    return known;
  }

  private forgetPreviews(): void {
    for (const each of this.previews.values()) void each.then(URL.revokeObjectURL, () => {});
    this.previews.clear();
  }

  private clear(): void {
    this.work?.abort();
    this.work = null;
    this.entries = [];
    this.forgetPreviews();
    this.table.show([]);
    this.select(null);
    byId("open").focus();
  }

  private async offerExamples(): Promise<void> {
    const examples = (await (await ask("app/examples")).json()) as { file: string; label: string }[];
    byId("examples").hidden = !examples.length;
    byId("examples").querySelector("ul")!.replaceChildren(
      ...examples.map(({ file, label }) => {
        const address = `app/examples/${encodeURIComponent(file)}`;
        const button = make("button", { type: "button" }, make("img", { src: address, alt: "", loading: "lazy" }), label);
        button.addEventListener("click", async () => {
          const known = this.entries.find((entry) => entry.name === file);
          if (known) return this.select(known);
          const content = await (await ask(address)).blob();
          await this.add([{ name: file, file: new File([content], file) }]);
        });
        return make("li", {}, button);
      }),
    );
  }
}

function settle(entry: Entry, answer: Awaited<ReturnType<typeof classify>>[number]): void {
  if (typeof answer === "string") {
    // The service's sentences begin with "The image", the card's with "It".
    Object.assign(entry, { state: "refused", message: answer.replace(/^The image /, "").replace(/\.$/, "") });
  } else Object.assign(entry, { state: "done", verdict: answer.verdict });
}

function sentence(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\.$/, "");
}

function shown(model: ServedModel): Shown {
  const threshold = model.ood_threshold;
  return { classes: model.classes, not_sure: threshold === null ? null : { threshold, rate: 0 }, names: [], taught: false };
}
