/** Teaching: the fit of a head to lessons, and the count of what it gets right. */

import type { LearningData } from "./data";
import { extend, fitHead, type Head, isRight } from "./fit";
import { type Taught, withMean } from "./head_file";
import { unit } from "./learned";
import { countLabels, type Lesson } from "./lessons";
import { pack } from "./packing";

const FOLDS = 5;

/**
 * Fit a head to lessons, and to the training tiles that the page remembers.
 *
 * @param earlier lessons of the head that there was, to tell what these add.
 * @param progress called with the fraction of the fits that are done.
 */
export function teach(data: LearningData, lessons: Lesson[], earlier: Lesson[] = [], progress: (fraction: number) => void = () => {}): Taught {
  let fits = 0;
  const folds = Math.min(FOLDS, lessons.length);
  const fitted = () => progress(++fits / (1 + folds * (earlier.length ? 2 : 1)));
  const head = fit(data, lessons, lessons);
  fitted();
  const { classes } = head;
  const counts = countLabels(lessons);
  const pictures = Object.fromEntries(classes.filter((name) => counts.has(name)).map((name) => [name, counts.get(name)!]));
  const means = withMean(classes, pictures).map((name) => meanOf(lessons.filter((lesson) => lesson.label === name)));
  const after = countRight(data, lessons, lessons, fitted);
  const model = lessons.filter((lesson) => isTaughtRight(data.start, lesson)).length;
  const before = earlier.length ? countRight(data, earlier, lessons, fitted) : model;
  const heldOut = { pictures: lessons.length, right_before: model, right_after: after };
  return { head, means, pictures, heldOut, beforeLesson: before, lessons };
}

/** Fit a head to some of the lessons, with a class for each label of all. */
function fit({ start, memory }: LearningData, lessons: Lesson[], all: Lesson[]): Head {
  const added = [...new Set(all.map((lesson) => lesson.label))].filter((label) => !start.classes.includes(label)).sort();
  const classes = [...start.classes, ...added];
  const samples = lessons.map(({ features, label }) => ({ features, label: classes.indexOf(label) }));
  return fitHead(extend(start, classes), [...memory, ...samples]);
}

/** Count the pictures that heads label rightly which were fitted to lessons without them. */
function countRight(data: LearningData, lessons: Lesson[], pictures: Lesson[], fitted: () => void): number {
  const folds = Math.min(FOLDS, pictures.length);
  let right = 0;
  for (let fold = 0; fold < folds; fold++) {
    const held = pictures.filter((_, place) => place % folds === fold);
    const left = new Set(held.map((lesson) => pack(lesson.features)));
    const head = fit(data, lessons.filter((lesson) => !left.has(pack(lesson.features))), lessons);
    fitted();
    right += held.filter((lesson) => isTaughtRight(head, lesson)).length;
  }
  return right;
}

function isTaughtRight(head: Head, { features, label }: Lesson): boolean {
  return isRight(head, { features, label: head.classes.indexOf(label) }); // one of a class that it lacks is wrong
}

function meanOf(lessons: Lesson[]): Float64Array {
  const units = lessons.map((lesson) => unit(lesson.features));
  return units[0]!.map((_, column) => units.reduce((sum, each) => sum + each[column]!, 0) / units.length);
}
