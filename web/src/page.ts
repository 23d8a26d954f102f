/** The page: takes pictures, shows verdicts, learns. */

import { attribution } from "./attribution/occlusion";
import { Overlay } from "./attribution/overlay";
import { type Arrived, listen } from "./inputs";
import { Learner } from "./learn/learner";
import { TeachPanel } from "./learn/panel";
import type { Model, Step } from "./model/client";
import type { ModelDescription } from "./model/description";
import { type Distance, judge } from "./model/verdict";
import { Refusal } from "./refusal";
import type { Classified } from "./scene/messages";
import { ScenePanel } from "./scene/panel";
import { type Entry, toCsv } from "./session";
import { describe } from "./view/about";
import { byId, save } from "./view/elements";
import { SessionList } from "./view/session_list";
import { type Shown, showVerdict } from "./view/verdict_card";

export class Page {
  private entries: Entry[] = [];
  private selected: Entry | null = null;
  private model: Model | null = null;
  private working = false;
  private added = 0; // since the page was opened
  private readonly learner: Learner | null;
  private readonly panel: TeachPanel | null;
  private readonly scene: ScenePanel | null;
  private loaded: (model: Model) => void = () => {};
  private readonly overlay = new Overlay({ explain: (step) => this.explain(step) });
  private readonly list = new SessionList((entry) => this.select(entry));

  constructor(private readonly description: ModelDescription) {
    this.learner = description.learning && new Learner(description, () => this.judgeAll());
    this.panel = description.learning && new TeachPanel(description.classes, description.not_sure !== null, {
      add: (files, label) => this.add(files.map((file) => ({ name: file.name, file })), label),
      learn: () => void this.teach(),
      save: () => this.saveHead(),
      forget: () => this.forget(),
    });
    const model = new Promise<Model>((resolve) => (this.loaded = resolve));
    this.scene = description.scene && new ScenePanel(description, model, {
      classes: () => this.shown().classes,
      judge: (cell) => this.judgeCell(cell),
    });
    describe(description, null);
    this.select(null);
    listen((files) => this.add(files));
    byId("clear").addEventListener("click", () => this.clear());
    byId("save").addEventListener("click", () => this.save());
  }

  /** Classify what waits, and what comes, with a model that has been loaded. */
  async use(model: Model): Promise<void> {
    this.model = model;
    await this.learner?.open().catch((error: Error) => this.panel!.warn(error.message));
    this.judgeAll();
    this.loaded(model);
    void this.work();
  }

  private add(files: Arrived[], truth?: string): void {
    const problem = byId("problem");
    problem.textContent = "There is no picture in it.";
    problem.hidden = files.length > 0;
    if (!files.length) return;
    if (this.scene && truth === undefined && files.length === 1 && isTiff(files[0]!)) {
      this.select(null); // an earlier answer would stand above the scene
      void this.scene.open(files[0]!.name, files[0]!.file);
      return;
    }
    const added = files.map(({ name, file }): Entry => {
      return { id: this.added++, name, file, url: URL.createObjectURL(file), state: "waiting", truth };
    });
    this.entries.push(...added);
    this.scene?.dismiss();
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
      entry.truth ??= this.learner?.labelOf(entry.answer);
      this.judge(entry);
      entry.state = "done";
    } catch (error) {
      entry.message = error instanceof Refusal ? error.message : "cannot be read";
      entry.state = "refused";
    }
  }

  private select(entry: Entry | null): void {
    this.selected = entry;
    this.overlay.reset(entry?.state === "done");
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
    const { learner } = this;
    if (!learner) return;
    const waiting = this.entries.some((entry) => entry.truth && entry.state === "waiting");
    this.panel!.show(learner.lessons(this.entries), learner, this.names(), waiting);
  }

  private judge(entry: Entry): void {
    const { probabilities, distance } = this.read(entry.answer!);
    entry.verdict = judge(probabilities, distance, this.shown());
  }

  /** Return what the model, and what it has learned, makes of a picture. */
  private read({ probabilities, score, features }: Classified): { probabilities: ArrayLike<number>; distance: Distance } {
    const { description } = this;
    const learned = this.learner?.learned;
    if (!learned) return { probabilities, distance: { score, taught: null } };
    return {
      probabilities: learned.probabilities(features, description.temperature),
      distance: learned.distance(features, score),
    };
  }

  /** Return the class of a cell of a map: limits are those of another sensor than the training tiles. */
  private judgeCell(cell: Classified): number | "not sure" {
    const { probabilities, distance } = this.read(cell);
    const { not_sure, scene } = this.description;
    const best = Array.from(probabilities).reduce((found, each, index, all) => (each > all[found]! ? index : found), 0);
    if (!not_sure || distance.score === null) return best;
    const outside = distance.score > (scene!.threshold ?? not_sure.threshold) || probabilities[best]! < scene!.min_confidence;
    return outside ? "not sure" : best;
  }

  /** Return the model with what it has learned. */
  private shown(): Shown & Pick<ModelDescription, "thresholds"> {
    const { description } = this;
    const learned = this.learner?.learned;
    return { ...description, classes: learned?.head.classes ?? description.classes, names: this.names(), taught: !!learned };
  }

  /** Return the classes that a picture may be said to have. */
  private names(): string[] {
    if (!this.learner) return [];
    const stated = this.entries.flatMap((entry) => (entry.state !== "refused" && entry.truth) || []);
    return [...new Set([...(this.learner.learned?.head.classes ?? this.description.classes), ...stated])];
  }

  private state(entry: Entry, label: string): void {
    entry.truth = label;
    this.showLessons();
  }

  /** Compute what the most probable class of the picture that is shown rests on. */
  private async explain(step: Step): Promise<{ label: string; values: number[] | null } | null> {
    const { selected, model } = this;
    if (!selected?.verdict || !model) return null;
    const { label, probability } = selected.verdict.ranked[0]!;
    const index = this.shown().classes.indexOf(label);
    const covered = await model.ask("occlude", selected.file, step);
    return { label, values: attribution(probability, covered.map((each) => this.read(each).probabilities[index]!)) };
  }

  private async teach(): Promise<void> {
    this.panel!.progress(0);
    try {
      await this.learner!.teach(this.entries, (fraction) => this.panel!.progress(fraction));
      this.panel!.ended(null);
    } catch (error) {
      this.panel!.ended(error instanceof Error ? error.message : String(error));
    }
    this.judgeAll(); // after a failure too: another window may have taught it meanwhile
  }

  private forget(): void {
    this.learner!.forget();
    this.panel!.ended(null);
    this.judgeAll();
  }

  private judgeAll(): void {
    describe(this.description, this.learner?.learned ?? null);
    for (const entry of this.entries.filter((each) => each.answer)) {
      this.judge(entry);
      this.list.update(entry);
    }
    this.select(this.selected);
    this.scene?.repaint();
  }

  private saveHead(): void {
    const learned = this.learner?.learned;
    if (learned) save(JSON.stringify(learned.toFile(this.description)), "application/json", `${this.description.name}-head.json`);
  }

  private clear(): void {
    for (const entry of this.entries) URL.revokeObjectURL(entry.url);
    this.entries = [];
    this.list.clear();
    this.scene?.close();
    this.select(null);
  }

  private save(): void {
    save(toCsv(this.entries, this.shown()), "text/csv", "predictions.csv");
  }
}

function isTiff({ name, file }: Arrived): boolean {
  return file.type === "image/tiff" || /\.tiff?$/i.test(name);
}
