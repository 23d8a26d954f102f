/** What the model is taught on this device: gathered, fitted, kept and forgotten. */

import type { Answer } from "../model/messages";
import type { ModelDescription } from "../model/description";
import type { Entry } from "../session";
import { teachInBackground } from "./background";
import { fetchLearningData, type LearningData } from "./data";
import { alone, forgetHead, isKept, keepHead, keptHead, watchHead } from "./kept";
import { Learned } from "./learned";
import { countLabels, gather, hasTooFew, labelOf, type Lesson } from "./lessons";

export class Learner {
  learned: Learned | null = null;
  /** Whether the browser has no room to keep it. */
  isUnkept = false;
  private data: Promise<LearningData> | null = null;

  /** @param changed called when a page in another window has taught the model, or made it forget. */
  constructor(
    private readonly model: ModelDescription,
    changed: () => void,
  ) {
    watchHead(model, () => void this.follow().then(changed));
  }

  /** Restore what is kept. @throws Error with a sentence for the user, where it cannot be used. */
  async open(): Promise<void> {
    // Now: a service worker that is registered later may hand out that of a newer model.
    const data = await this.fetch().catch((error: Error) => error);
    if (data instanceof Error) {
      if (isKept(this.model)) throw new Error(`${data.message} What was taught on this device is not used.`);
      return; // the next try may succeed
    }
    try {
      this.restore(data);
    } catch {
      forgetHead(this.model);
      throw new Error("What was taught on this device before is damaged, or of another training of this model: it was forgotten.");
    }
  }

  /** Return what was learned, and what was stated since. */
  lessons(entries: Entry[]): Lesson[] {
    return gather(this.learned?.lessons ?? [], entries);
  }

  /** Return the class that a picture was taught as; undefined for none. */
  labelOf({ features }: Answer): string | undefined {
    return this.learned ? labelOf(features, this.learned.lessons) : undefined;
  }

  /** Fit the head to all lessons. @throws Error with a sentence for the user. */
  async teach(entries: Entry[], progress: (fraction: number) => void): Promise<void> {
    const data = await this.fetch();
    await alone(this.model, async () => {
      this.refresh(data); // a page in another window may have taught it
      const lessons = this.lessons(entries);
      if (!lessons.length || hasTooFew(countLabels(lessons), this.model.classes)) {
        throw new Error("Too few pictures are left: another window made it forget some.");
      }
      this.learned = new Learned(data, await teachInBackground(data, lessons, this.learned?.lessons ?? [], progress));
      this.isUnkept = !keepHead(this.model, this.learned.toKept(this.model));
    });
  }

  forget(): void {
    forgetHead(this.model);
    [this.learned, this.isUnkept] = [null, false];
  }

  /** Take over what another window has done. */
  private async follow(): Promise<void> {
    const data = await this.fetch().catch(() => null);
    if (data) this.refresh(data);
  }

  /** Restore what is kept now; what had no room, and what is damaged, changes nothing. */
  private refresh(data: LearningData): void {
    if (this.isUnkept) return;
    try {
      this.restore(data);
    } catch {
      // The next fit replaces it.
    }
  }

  private restore(data: LearningData): void {
    const kept = keptHead(this.model);
    this.learned = kept === null ? null : Learned.fromKept(kept, data, this.model);
  }

  private fetch(): Promise<LearningData> {
    this.data ??= fetchLearningData(this.model).catch((error: unknown) => {
      this.data = null; // the next try may succeed
      throw error;
    });
    return this.data;
  }
}
