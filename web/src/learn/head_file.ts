/** The file of a head that was taught: as the page saves it, and as it keeps it. */

import type { ModelDescription } from "../model/description";
import type { Head } from "./fit";
import { FEWEST_OF_A_CLASS, type Lesson } from "./lessons";
import { pack, unpack } from "./packing";

/** Of pictures that were left out of the fit. */
export interface HeldOut {
  pictures: number;
  right_before: number;
  right_after: number;
}

/** What a fit gives, see `teaching.teach`. */
export interface Taught {
  head: Head;
  /** Of the features, of length 1, of each class with enough pictures, in the order of the classes. */
  means: Float64Array[];
  pictures: Record<string, number>;
  /** Before is the model as it was exported. */
  heldOut: HeldOut;
  /** Number of the held-out pictures that got the right class before the last lesson. */
  beforeLesson: number;
  lessons: Lesson[];
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
  /** See `Taught.beforeLesson`; a head of an earlier page lacks it. */
  right_before_lesson?: number;
}

/** Return what the page saves. @param start the head that was taught. */
export function toFile({ head, means, pictures, heldOut }: Taught, start: Head, model: ModelDescription): HeadFile {
  return {
    kind: "orbitune head",
    format: 1,
    name: model.name,
    hashes: model.hashes,
    classes: head.classes,
    width: head.width,
    weight: pack(head.weight),
    bias: pack(head.bias),
    means: pack(means.flatMap((mean) => [...mean])),
    pictures,
    held_out: heldOut,
    start_bias: pack(start.bias),
  };
}

/** Return what the page keeps. */
export function toKept(taught: Taught, start: Head, model: ModelDescription): KeptHead {
  const lessons = taught.lessons.map(({ features, label }): [string, string] => [pack(features), label]);
  return { ...toFile(taught, start, model), lessons, right_before_lesson: taught.beforeLesson };
}

/** Return the classes of which there are enough pictures for a mean of their features, in the order of the classes. */
export function withMean(classes: string[], pictures: Record<string, number>): string[] {
  return classes.filter((name) => Object.hasOwn(pictures, name) && pictures[name]! >= FEWEST_OF_A_CLASS);
}

/**
 * Read what `toKept` returned. Whatever else the browser gives back would spoil all answers, or the next fit.
 *
 * @throws Error if it is damaged, or of another model.
 */
export function openKept(file: unknown, start: Head, model: ModelDescription): Taught {
  try {
    return read(file as KeptHead, start, model);
  } catch {
    throw new Error("It is damaged, or of another model.");
  }
}

function read(file: KeptHead, start: Head, model: ModelDescription): Taught {
  const { classes, width, pictures, held_out: heldOut } = file;
  const beforeLesson = file.right_before_lesson ?? heldOut.right_before;
  demand(file.kind === "orbitune head" && file.format === 1 && file.start_bias === pack(start.bias));
  demand(Object.keys(model.hashes).every((name) => file.hashes[name] === model.hashes[name]));
  demand(width === start.width && start.classes.every((name, place) => classes[place] === name));
  demand(new Set(classes).size === classes.length && classes.every((name) => typeof name === "string"));
  const names = withMean(classes, pictures);
  const means = unpack(file.means, names.length * width);
  const counts = [...Object.values(pictures), heldOut.pictures, heldOut.right_before, heldOut.right_after, beforeLesson];
  demand(counts.every(Number.isInteger) && file.lessons.every(([, label]) => classes.includes(label)));
  return {
    head: { classes, width, weight: unpack(file.weight, classes.length * width), bias: unpack(file.bias, classes.length) },
    means: names.map((_, row) => means.slice(row * width, (row + 1) * width)),
    pictures,
    heldOut,
    beforeLesson,
    lessons: file.lessons.map(([features, label]) => ({ features: unpack(features, width), label })),
  };
}

function demand(holds: boolean): void {
  if (!holds) throw new Error();
}
