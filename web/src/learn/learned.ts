/** A head that was taught on the device, with what it knows of pictures unlike the training tiles. */

import type { ModelDescription } from "../model/description";
import type { Entry } from "../session";
import type { LearningData } from "./data";
import { extend, fitHead, type Head, logitsOf, type Sample, softmax } from "./fit";

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
const FOLDS = 5;

export class Learned {
  private readonly whitened: Float64Array[];

  private constructor(
    readonly head: Head,
    private readonly data: LearningData,
    private readonly means: Float64Array[],
    readonly pictures: Record<string, number>,
    readonly heldOut: HeldOut,
    readonly lessons: Lesson[],
  ) {
    this.whitened = data.whitening ? means.map((mean) => whiten(mean, data.whitening!)) : [];
  }

  /** Fit a head to lessons, and to the training tiles that the page remembers. */
  static teach(data: LearningData, lessons: Lesson[]): Learned {
    const known = data.start.classes;
    const taught = [...new Set(lessons.map((lesson) => lesson.label))].filter((label) => !known.includes(label)).sort();
    const start = extend(data.start, [...known, ...taught]);
    const samples = lessons.map(({ features, label }) => ({ features, label: start.classes.indexOf(label) }));
    const counts = start.classes.map((_, index) => samples.filter((sample) => sample.label === index).length);
    const means = counts.flatMap((count, index) =>
      count < FEWEST_OF_A_MEAN ? [] : [meanOf(samples.filter((sample) => sample.label === index))],
    );
    const pictures = Object.fromEntries(start.classes.map((name, index) => [name, counts[index]!]).filter(([, count]) => count));
    const head = fitHead(start, [...data.memory, ...samples]);
    return new Learned(head, data, means, pictures, validate(start, data.memory, samples), lessons);
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
    return new Learned(head, data, rows, file.pictures, file.held_out, lessons);
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
      means: pack(Float64Array.from(this.means.flatMap((mean) => [...mean]))),
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

  /** Return the OOD score: the distance to the nearest class of the training tiles, or of the taught pictures. */
  score(features: ArrayLike<number>, trained: number | null): number | null {
    if (trained === null || !this.data.whitening || !this.whitened.length) return trained;
    const found = whiten(unit(features), this.data.whitening);
    const distances = this.whitened.map((mean) => Math.hypot(...mean.map((each, place) => each - found[place]!)));
    return Math.min(trained, ...distances);
  }
}

/** Count the pictures that a head labels rightly which was fitted without them, and that of the model. */
function validate(start: Head, memory: Sample[], samples: Sample[]): HeldOut {
  const right = (head: Head, { features, label }: Sample) => {
    const logits = logitsOf(head, features);
    return logits.indexOf(Math.max(...logits)) === label;
  };
  // A class that the model does not know has no logit of its own before.
  const before = { ...start, bias: start.bias.map((bias, row) => (isNew(start, row) ? -Infinity : bias)) };
  const folds = Math.min(FOLDS, samples.length);
  let after = 0;
  for (let fold = 0; fold < folds; fold++) {
    const held = samples.filter((_, place) => place % folds === fold);
    const head = fitHead(start, [...memory, ...samples.filter((_, place) => place % folds !== fold)]);
    after += held.filter((sample) => right(head, sample)).length;
  }
  return {
    pictures: samples.length,
    right_before: samples.filter((sample) => right(before, sample)).length,
    right_after: after,
  };
}

function isNew(head: Head, row: number): boolean {
  return head.weight.subarray(row * head.width, (row + 1) * head.width).every((each) => each === 0);
}

function unit(features: ArrayLike<number>): Float64Array {
  const values = Float64Array.from(features);
  const length = Math.max(Math.hypot(...values), 1e-12);
  return values.map((each) => each / length);
}

function meanOf(samples: Sample[]): Float64Array {
  const units = samples.map((sample) => unit(sample.features));
  return units[0]!.map((_, column) => units.reduce((sum, each) => sum + each[column]!, 0) / units.length);
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
