/** A head that was taught on the device, with what it knows of pictures unlike the training tiles. */

import type { ModelDescription } from "../model/description";
import type { Distance } from "../model/verdict";
import type { Entry } from "../session";
import type { LearningData } from "./data";
import { type Head, isRight, logitsOf, softmax } from "./fit";

/** A picture whose class the user has stated. */
export interface Lesson {
  features: ArrayLike<number>;
  label: string;
}

/** Of pictures that were left out of the fit. */
export interface HeldOut {
  pictures: number;
  right_before: number;
  right_after: number;
}

/** The file that the page saves, and `orbitune import-head` reads. */
export interface HeadFile {
  kind: "orbitune head";
  format: 1;
  name: string;
  hashes: Record<string, string>;
  classes: string[];
  width: number;
  /** float32 in base64, little-endian: (classes, width), (classes) and (taught, width). */
  weight: string;
  bias: string;
  /** Means of the features, of length 1, of each class with enough taught pictures. */
  means: string;
  pictures: Record<string, number>;
  held_out: HeldOut;
  /** The bias of the head that was taught, float32 in base64: another training of the same recipe has another one. */
  start_bias: string;
}

/** The file that the page keeps, with features and class of each taught picture, so that it can learn further ones. */
export interface KeptHead extends HeadFile {
  lessons: [string, string][];
}

/** So many pictures of a class make pictures like them no longer unlike the training tiles. */
export const FEWEST_OF_A_MEAN = 5;

/** What a fit gives, see `teaching.teach`. */
export interface Taught {
  head: Head;
  /** Of the features, of length 1, of each class with enough pictures, in the order of the classes. */
  means: Float64Array[];
  pictures: Record<string, number>;
  heldOut: HeldOut;
  lessons: Lesson[];
}

export class Learned {
  private readonly whitened: [string, Float64Array][];

  constructor(
    private readonly data: LearningData,
    private readonly taught: Taught,
  ) {
    const names = this.head.classes.filter((name) => (this.pictures[name] ?? 0) >= FEWEST_OF_A_MEAN);
    const { whitening } = data;
    this.whitened = whitening ? taught.means.map((mean, row) => [names[row]!, whiten(mean, whitening)]) : [];
  }

  get head(): Head {
    return this.taught.head;
  }

  get pictures(): Record<string, number> {
    return this.taught.pictures;
  }

  get heldOut(): HeldOut {
    return this.taught.heldOut;
  }

  get lessons(): Lesson[] {
    return this.taught.lessons;
  }

  /** Open a file that `toKept` made. @throws Error if it is not of this model. */
  static fromKept(file: KeptHead, data: LearningData, model: ModelDescription): Learned {
    const same = file.kind === "orbitune head" && file.format === 1 && sameHashes(file.hashes, model.hashes) &&
      file.start_bias === pack(data.start.bias);
    const [weight, bias, means] = [unpack(file.weight), unpack(file.bias), unpack(file.means)];
    if (!same || bias.length !== file.classes.length || weight.length !== bias.length * file.width) {
      throw new Error("The head is damaged, or of another model.");
    }
    const rows = Array.from({ length: means.length / file.width }, (_, row) =>
      means.slice(row * file.width, (row + 1) * file.width),
    );
    const lessons = file.lessons.map(([features, label]) => ({ features: unpack(features), label }));
    const head = { classes: file.classes, weight, bias, width: file.width };
    return new Learned(data, { head, means: rows, pictures: file.pictures, heldOut: file.held_out, lessons });
  }

  toFile(model: ModelDescription): HeadFile {
    return {
      kind: "orbitune head",
      format: 1,
      name: model.name,
      hashes: model.hashes,
      classes: this.head.classes,
      width: this.head.width,
      weight: pack(this.head.weight),
      bias: pack(this.head.bias),
      means: pack(Float64Array.from(this.taught.means.flatMap((mean) => [...mean]))),
      pictures: this.pictures,
      held_out: this.heldOut,
      start_bias: pack(this.data.start.bias),
    };
  }

  toKept(model: ModelDescription): KeptHead {
    const lessons = this.lessons.map(({ features, label }): [string, string] => [pack(features), label]);
    return { ...this.toFile(model), lessons };
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

function sameHashes(a: Record<string, string>, b: Record<string, string>): boolean {
  return Object.keys(b).every((name) => a[name] === b[name]);
}

/**
 * Return the lessons of an earlier head with those of the session.
 *
 * @param entries of the session; one whose class was taken back is a lesson no more. The same picture counts once.
 */
export function gather(earlier: Lesson[], entries: Pick<Entry, "answer" | "truth">[]): Lesson[] {
  const lessons = new Map(earlier.map((lesson) => [pack(lesson.features), lesson]));
  for (const { answer, truth } of entries) {
    if (!answer || truth === undefined) continue;
    const features = pack(answer.features);
    if (truth) lessons.set(features, { features: answer.features, label: truth });
    else lessons.delete(features);
  }
  return [...lessons.values()];
}

function pack(values: ArrayLike<number>): string {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function unpack(text: string): Float64Array {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return Float64Array.from(new Float32Array(bytes.buffer));
}
