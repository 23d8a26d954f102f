/** From probabilities to what is said of a picture. */

import type { ModelDescription } from "./description";

/** OOD score of a picture, and the class whose taught pictures are the nearest; null where training tiles are. */
export interface Distance {
  score: number | null;
  taught: string | null;
}

export interface Ranked {
  label: string;
  probability: number;
  /** Whether the picture is said to have this label. */
  chosen: boolean;
}

export interface Verdict extends Distance {
  /** The most probable labels first. */
  ranked: Ranked[];
  /** Whether it is like the training tiles; null where the model cannot tell. */
  sure: boolean | null;
}

type Stated = Pick<ModelDescription, "classes" | "thresholds" | "not_sure">;

/**
 * Return the verdict on a picture.
 *
 * @param probabilities calibrated, one for each class.
 * @param distance OOD score of the picture, and what it is the distance to.
 * @param most number of labels of a model with one label a picture; of others, all that reach their thresholds are
 *   returned, and as many as `most` at least.
 */
export function judge(probabilities: ArrayLike<number>, distance: Distance, model: Stated, most = 3): Verdict {
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
  const { score, taught } = distance;
  const sure = model.not_sure && score !== null ? score <= model.not_sure.threshold : null;
  return { ranked, sure, score, taught };
}

/** Return the labels of a verdict in one line. */
export function labelsOf(verdict: Verdict): string {
  const labels = verdict.ranked.filter((each) => each.chosen).map((each) => each.label);
  return labels.length ? labels.join(", ") : "None of the classes";
}
