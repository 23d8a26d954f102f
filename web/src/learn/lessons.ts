/** Lessons: pictures whose class the user has stated. */

import type { Entry } from "../session";
import { counted } from "../view/elements";
import { pack } from "./packing";

export interface Lesson {
  features: ArrayLike<number>;
  label: string;
}

/** A new class needs so many pictures, with which pictures like them are no longer unlike the training tiles. */
export const FEWEST_OF_A_CLASS = 5;

const CONTROL = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u;

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

/** Return the class that a picture was taught as; undefined for none. */
export function labelOf(features: Float32Array, lessons: Lesson[]): string | undefined {
  return lessons.find((lesson) => features.every((each, place) => each === lesson.features[place]))?.label;
}

/** Return the number of pictures of each class. */
export function countLabels(lessons: Lesson[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { label } of lessons) counts.set(label, (counts.get(label) ?? 0) + 1);
  return counts;
}

/** Return whether a class that the model does not know has too few pictures. */
export function hasTooFew(counts: Map<string, number>, known: string[]): boolean {
  return [...counts].some(([name, count]) => !known.includes(name) && count < FEWEST_OF_A_CLASS);
}

/**
 * Return what is said of the lessons.
 *
 * @param known classes of the model.
 * @param canBeUnsure whether the model has an OOD detector.
 */
export function describeLessons(counts: Map<string, number>, known: string[], canBeUnsure: boolean): string {
  const listed = [...counts].map(([name, count]) => `${name}: ${counted(count, "picture")}`).join(", ");
  const parts = [listed && `${listed}.`];
  if (hasTooFew(counts, known)) parts.push(`A new class needs ${FEWEST_OF_A_CLASS} pictures, and a dozen teach more.`);
  const few = [...counts].flatMap(([name, count]) => (known.includes(name) && count < FEWEST_OF_A_CLASS ? [name] : []));
  if (canBeUnsure && few.length) {
    const names = new Intl.ListFormat("en").format(few);
    parts.push(`Pictures like those of ${names} that are not sure stay so: only ${FEWEST_OF_A_CLASS} pictures of a class or more change that.`);
  }
  return parts.filter(Boolean).join(" ");
}

/**
 * Return the name of a class that a user has typed, and why it cannot be one; empty for nothing. Names that
 * `orbitune import-head` would refuse are refused here, before anything is taught.
 *
 * @param names of classes that there are: one that differs in the form of its accents alone is the same.
 */
export function readName(typed: string, names: string[]): { name: string; fault: string } {
  const name = typed.trim();
  const plain = (text: string) => text.normalize("NFC");
  if (!name) return { name, fault: "Name the class of the pictures first." };
  if (CONTROL.test(name)) return { name, fault: "The name holds a character that cannot be shown." };
  return { name: names.find((each) => plain(each) === plain(name)) ?? name, fault: "" };
}
