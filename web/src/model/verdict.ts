/** From probabilities to what is said of a picture. */

import type { ModelDescription } from "./description";

export interface Ranked {
  label: string;
  probability: number;
  /** Whether the picture is said to have this label. */
  chosen: boolean;
}

export interface Verdict {
  /** The most probable labels first. */
  ranked: Ranked[];
  /** Whether it is like the training tiles; null where the model cannot tell. */
  sure: boolean | null;
  score: number | null;
}

type Stated = Pick<ModelDescription, "classes" | "thresholds" | "not_sure">;

/**
 * Return the verdict on a picture.
 *
 * @param probabilities calibrated, one for each class.
 * @param score OOD score of the picture, or null.
 * @param most number of labels of a model with one label a picture; of others, all that reach their thresholds are
 *   returned, and as many as `most` at least.
 */
export function judge(probabilities: ArrayLike<number>, score: number | null, model: Stated, most = 3): Verdict {
  const { thresholds } = model;
  const order = model.classes.map((_, index) => index).sort((a, b) => probabilities[b]! - probabilities[a]!);
  const chosen = (index: number) =>
    thresholds ? probabilities[index]! >= thresholds[index]! : index === order[0];
  if (thresholds) order.sort((a, b) => Number(chosen(b)) - Number(chosen(a)));
  const count = Math.max(most, order.filter(chosen).length);
  const ranked = order.slice(0, count).map((index) => ({
    label: model.classes[index]!,
    probability: probabilities[index]!,
    chosen: chosen(index),
  }));
  const sure = model.not_sure && score !== null ? score <= model.not_sure.threshold : null;
  return { ranked, sure, score };
}

/** Return the labels of a verdict in one line. */
export function labelsOf(verdict: Verdict): string {
  const labels = verdict.ranked.filter((each) => each.chosen).map((each) => each.label);
  return labels.length ? labels.join(", ") : "None of the classes";
}
