/** Teaching: the fit of a head to lessons, and the count of what it gets right. */

import type { LearningData } from "./data";
import { extend, fitHead, type Head, isRight, type Sample } from "./fit";
import { type HeldOut, type Taught, withMean } from "./head_file";
import { unit } from "./learned";
import type { Lesson } from "./lessons";

const FOLDS = 5;

/**
 * Fit a head to lessons, and to the training tiles that the page remembers.
 *
 * @param progress called with the fraction of the fits that are done.
 */
export function teach(data: LearningData, lessons: Lesson[], progress: (fraction: number) => void = () => {}): Taught {
  const known = data.start.classes;
  const added = [...new Set(lessons.map((lesson) => lesson.label))].filter((label) => !known.includes(label)).sort();
  const start = extend(data.start, [...known, ...added]);
  const samples = lessons.map(({ features, label }) => ({ features, label: start.classes.indexOf(label) }));
  const counts = start.classes.map((_, index) => samples.filter((sample) => sample.label === index).length);
  const pictures = Object.fromEntries(start.classes.map((name, index) => [name, counts[index]!]).filter(([, count]) => count));
  const means = withMean(start.classes, pictures).map((name) => meanOf(lessons.filter((lesson) => lesson.label === name)));
  let fits = 0;
  const fitted = () => progress(++fits / (1 + Math.min(FOLDS, samples.length)));
  const head = fitHead(start, [...data.memory, ...samples]);
  fitted();
  return { head, means, pictures, heldOut: validate(start, data.memory, samples, fitted), lessons };
}

/** Count the pictures that a head labels rightly which was fitted without them, and that of the model. */
function validate(start: Head, memory: Sample[], samples: Sample[], fitted: () => void): HeldOut {
  // A class that the model does not know has no logit of its own before.
  const before = { ...start, bias: start.bias.map((bias, row) => (isNew(start, row) ? -Infinity : bias)) };
  const folds = Math.min(FOLDS, samples.length);
  let after = 0;
  for (let fold = 0; fold < folds; fold++) {
    const held = samples.filter((_, place) => place % folds === fold);
    const head = fitHead(start, [...memory, ...samples.filter((_, place) => place % folds !== fold)]);
    fitted();
    after += held.filter((sample) => isRight(head, sample)).length;
  }
  return {
    pictures: samples.length,
    right_before: samples.filter((sample) => isRight(before, sample)).length,
    right_after: after,
  };
}

function isNew(head: Head, row: number): boolean {
  return head.weight.subarray(row * head.width, (row + 1) * head.width).every((each) => each === 0);
}

function meanOf(lessons: Lesson[]): Float64Array {
  const units = lessons.map((lesson) => unit(lesson.features));
  return units[0]!.map((_, column) => units.reduce((sum, each) => sum + each[column]!, 0) / units.length);
}
