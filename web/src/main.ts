/** The page: loads the model, takes pictures, shows verdicts. */

import { type Arrived, listen } from "./inputs";
import { fetchLearningData, type LearningData } from "./learn/data";
import { forgetHead, keepHead, keptHead } from "./learn/kept";
import { gather, Learned, type Lesson } from "./learn/learned";
import { TeachPanel } from "./learn/panel";
import { Model, type PageFiles } from "./model/client";
import { fetchDescription, type ModelDescription } from "./model/description";
import { judge } from "./model/verdict";
import { startOffline } from "./offline";
import { Refusal } from "./refusal";
import { type Entry, toCsv } from "./session";
import { byId, make } from "./view/elements";
import { SessionList } from "./view/session_list";
import { type Shown, showVerdict } from "./view/verdict_card";

declare global {
  interface Window {
    ORBITUNE_FILES?: PageFiles;
  }
}

/** What the page cannot do without, and what to say where it is missing. */
const NEEDED: [string, () => boolean][] = [
  ["WebAssembly, with which the model is computed", () => typeof WebAssembly === "object"],
  ["DecompressionStream, with which the model is unpacked", () => typeof DecompressionStream === "function"],
  ["OffscreenCanvas, with which pictures are read", () => typeof OffscreenCanvas === "function"],
];

async function start(): Promise<void> {
  byId("serve").hidden = true;
  const missing = NEEDED.find(([, there]) => !there());
  if (missing) {
    throw new Error(`This browser has no ${missing[0]}. Open the page in a newer one, or allow it in its settings.`);
  }
  const files = window.ORBITUNE_FILES;
  if (!files) throw new Error("files.js cannot be read. Is the folder of the page complete?");
  const model = await fetchDescription();
  describe(model);
  const page = new Page(model);
  byId("app").hidden = false;
  byId("loading-line").hidden = false;
  const loading = byId<HTMLProgressElement>("loading");
  const computed = await Model.load(model, files, (fraction) => (loading.value = fraction));
  byId("loading-line").hidden = true;
  document.body.dataset.ready = "yes";
  await page.use(computed);
  await startOffline();
}

function describe(model: ModelDescription): void {
  document.title = `${model.name} - Orbitune`;
  byId("title").textContent = model.name;
  const facts = { ...model.about, "Exported by": model.made_by };
  byId("facts").replaceChildren(
    ...Object.entries(facts).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
  );
  if (model.synthetic) {
    byId("subtitle").textContent = "Trained on tiles that a program drew: it says nothing about satellite images";
  }
}

class Page {
  private entries: Entry[] = [];
  private selected: Entry | null = null;
  private model: Model | null = null;
  private working = false;
  private added = 0; // since the page was opened
  private learned: Learned | null = null;
  private data: Promise<LearningData> | null = null;
  private readonly panel: TeachPanel | null;
  private readonly list = new SessionList((entry) => this.select(entry));

  constructor(private readonly description: ModelDescription) {
    this.panel = description.learning && new TeachPanel(description.classes, {
      add: (files, label) => this.add(files.map((file) => ({ name: file.name, file })), label),
      learn: () => void this.teach(),
      save: () => this.saveHead(),
      forget: () => this.forget(),
    });
    this.select(null);
    listen((files) => this.add(files));
    byId("clear").addEventListener("click", () => this.clear());
    byId("save").addEventListener("click", () => this.save());
  }

  /** Classify what waits, and what comes, with a model that has been loaded. */
  async use(model: Model): Promise<void> {
    this.model = model;
    // Now: a service worker that is registered later may hand out that of a newer model.
    const data = this.description.learning && (await this.learningData().catch(() => null));
    const kept = data && keptHead(this.description);
    if (kept) {
      try {
        this.learned = Learned.fromKept(kept, data, this.description);
      } catch {
        forgetHead(this.description); // damaged
      }
      this.select(this.selected);
    }
    void this.work();
  }

  private add(files: Arrived[], truth?: string): void {
    const problem = byId("problem");
    problem.textContent = "There is no picture in it.";
    problem.hidden = files.length > 0;
    if (!files.length) return;
    const added = files.map(({ name, file }): Entry => {
      return { id: this.added++, name, file, url: URL.createObjectURL(file), state: "waiting", truth };
    });
    this.entries.push(...added);
    this.list.add(added);
    this.select(added[0]!);
    void this.work();
  }

  /** Classify one picture after the other. */
  private async work(): Promise<void> {
    if (this.working || !this.model) return;
    this.working = true;
    for (let entry = this.next(); entry; entry = this.next()) {
      await this.classify(entry, this.model);
      this.list.update(entry);
      if (entry === this.selected) this.select(entry);
      else this.count();
    }
    this.working = false;
  }

  private next(): Entry | undefined {
    const chosen = this.selected?.state === "waiting" ? this.selected : undefined;
    return chosen ?? this.entries.find((entry) => entry.state === "waiting");
  }

  private async classify(entry: Entry, model: Model): Promise<void> {
    try {
      entry.answer = await model.classify(entry.file);
      this.judge(entry);
      entry.state = "done";
    } catch (error) {
      entry.message = error instanceof Refusal ? error.message : "cannot be read";
      entry.state = "refused";
    }
  }

  private select(entry: Entry | null): void {
    this.selected = entry;
    const picture = byId<HTMLImageElement>("picture");
    const shows = entry !== null && entry.state !== "refused";
    picture.hidden = !shows;
    byId("invite").hidden = shows;
    if (shows && picture.src !== entry.url) picture.src = entry.url;
    picture.alt = entry?.name ?? "";
    showVerdict(entry, this.shown(), (label) => this.state(entry!, label));
    this.list.select(entry);
    this.count();
  }

  private count(): void {
    this.list.count(this.entries);
    this.showLessons();
  }

  private showLessons(): void {
    this.panel?.show(this.lessons(), this.learned, this.names());
  }

  /** Return what was learned, and what was stated since. */
  private lessons(): Lesson[] {
    return gather(this.learned?.lessons ?? [], this.entries);
  }

  private judge(entry: Entry): void {
    const { learned, description } = this;
    const { probabilities, score, features } = entry.answer!;
    entry.verdict = learned
      ? judge(learned.probabilities(features, description.temperature), learned.score(features, score), this.shown())
      : judge(probabilities, score, description);
  }

  /** Return the model with what it has learned. */
  private shown(): Shown & Pick<ModelDescription, "thresholds"> {
    const { description } = this;
    return { ...description, classes: this.learned?.head.classes ?? description.classes, names: this.names() };
  }

  /** Return the classes that a picture may be said to have. */
  private names(): string[] {
    if (!this.description.learning) return [];
    const stated = this.entries.flatMap((entry) => entry.truth || []);
    return [...new Set([...(this.learned?.head.classes ?? this.description.classes), ...stated])];
  }

  private state(entry: Entry, label: string): void {
    entry.truth = label;
    this.showLessons();
  }

  private learningData(): Promise<LearningData> {
    this.data ??= fetchLearningData(this.description);
    return this.data;
  }

  private async teach(): Promise<void> {
    byId("lessons").textContent = "Learning ...";
    try {
      const data = await this.learningData();
      await new Promise((painted) => setTimeout(painted, 50)); // the fit blocks the page
      this.learned = Learned.teach(data, this.lessons());
    } catch (error) {
      byId("lessons").textContent = error instanceof Error ? error.message : String(error);
      return;
    }
    keepHead(this.description, this.learned.toKept(this.description));
    this.judgeAll();
  }

  private forget(): void {
    forgetHead(this.description);
    this.learned = null;
    this.judgeAll();
  }

  private judgeAll(): void {
    for (const entry of this.entries.filter((each) => each.answer)) {
      this.judge(entry);
      this.list.update(entry);
    }
    this.select(this.selected);
  }

  private saveHead(): void {
    if (!this.learned) return;
    save(JSON.stringify(this.learned.toFile(this.description)), "application/json", `${this.description.name}-head.json`);
  }

  private clear(): void {
    for (const entry of this.entries) URL.revokeObjectURL(entry.url);
    this.entries = [];
    this.list.clear();
    this.select(null);
  }

  private save(): void {
    save(toCsv(this.entries, this.shown()), "text/csv", "predictions.csv");
  }
}

/** Hand a file to the user. */
function save(text: string, type: string, name: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

start().catch((error: unknown) => {
  byId("serve").hidden = true;
  byId("app").hidden = true;
  byId("loading-line").hidden = true;
  const problem = byId("problem");
  problem.textContent = error instanceof Error ? error.message : String(error);
  problem.hidden = false;
});
