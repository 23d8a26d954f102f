/** A head that was taught on the device, with what it knows of pictures unlike the training tiles. */

import type { ModelDescription } from "../model/description";
import type { Distance } from "../model/verdict";
import type { LearningData } from "./data";
import { type Head, isRight, logitsOf, softmax } from "./fit";
import { type HeadFile, type HeldOut, type KeptHead, openKept, type Taught, toFile, toKept, withMean } from "./head_file";
import type { Lesson } from "./lessons";

export class Learned {
  private readonly whitened: [string, Float64Array][];

  constructor(
    private readonly data: LearningData,
    private readonly taught: Taught,
  ) {
    const names = withMean(this.head.classes, this.pictures);
    const { whitening } = data;
    this.whitened = whitening ? taught.means.map((mean, row) => [names[row]!, whiten(mean, whitening)]) : [];
  }

  get head(): Head {
    return this.taught.head;
  }

  get pictures(): Record<string, number> {
    return this.taught.pictures;
  }

  /** Counts of the taught pictures, each left out of what it was learned from; before is before the last lesson. */
  get heldOut(): HeldOut {
    return { ...this.taught.heldOut, right_before: this.taught.beforeLesson };
  }

  get lessons(): Lesson[] {
    return this.taught.lessons;
  }

  /** Open a file that `toKept` made. @throws Error if it is damaged, or of another model. */
  static fromKept(file: unknown, data: LearningData, model: ModelDescription): Learned {
    return new Learned(data, openKept(file, data.start, model));
  }

  toFile(model: ModelDescription): HeadFile {
    return toFile(this.taught, this.data.start, model);
  }

  toKept(model: ModelDescription): KeptHead {
    return toKept(this.taught, this.data.start, model);
  }

  /** Return calibrated probabilities. */
  probabilities(features: ArrayLike<number>, temperature: number): Float64Array {
    return softmax(logitsOf(this.head, features).map((each) => each / temperature));
  }

  /** Return the distance to the nearest class of the training tiles, or of the taught pictures. */
  distance(features: ArrayLike<number>, trained: number | null): Distance {
    const nearest: Distance = { score: trained, taught: null };
    if (trained === null || !this.data.whitening || !this.whitened.length) return nearest;
    const found = whiten(unit(features), this.data.whitening);
    for (const [taught, mean] of this.whitened) {
      const score = Math.hypot(...mean.map((each, place) => each - found[place]!));
      if (score < nearest.score!) Object.assign(nearest, { score, taught });
    }
    return nearest;
  }

  /** Count the training tiles that the page remembers, and those that get the right class now and did before. */
  get remembered(): HeldOut {
    const { memory, start } = this.data;
    const right = (head: Head) => memory.filter((sample) => isRight(head, sample)).length;
    return { pictures: memory.length, right_before: right(start), right_after: right(this.head) };
  }
}

export function unit(features: ArrayLike<number>): Float64Array {
  const values = Float64Array.from(features);
  const length = Math.max(Math.hypot(...values), 1e-12);
  return values.map((each) => each / length);
}

function whiten(values: Float64Array, whitening: Float32Array): Float64Array {
  const width = values.length;
  return values.map((_, row) => {
    let sum = 0;
    for (let column = 0; column <= row; column++) sum += whitening[row * width + column]! * values[column]!;
    return sum;
  });
}
