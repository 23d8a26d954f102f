/** What learning on the device starts from: the model's head, and features of some training tiles. */

import type { ModelDescription } from "../model/description";
import type { Head, Sample } from "./fit";

export interface LearningData {
  start: Head;
  /** (width, width), of the OOD detector; null where there is none. */
  whitening: Float32Array | null;
  /** Training tiles, so that the classes that the model knows are not forgotten. */
  memory: Sample[];
}

/** Fetch the numbers that `orbitune export` wrote. @throws Error with a sentence for the user. */
export async function fetchLearningData(model: ModelDescription): Promise<LearningData> {
  const { file, width, labels } = model.learning!;
  const answer = await fetch(file, { cache: "no-cache" }).catch(() => null);
  const bytes = answer?.ok ? await answer.arrayBuffer() : new ArrayBuffer(0);
  const sizes = [model.classes.length * width, model.classes.length, model.not_sure ? width * width : 0, labels.length * width];
  if (bytes.byteLength !== 4 * sizes.reduce((sum, each) => sum + each, 0)) {
    throw new Error(`${file} cannot be read. Is the folder of the page complete?`);
  }
  if (!new Float32Array(bytes).every(Number.isFinite)) throw new Error(`${file} is damaged. Copy the folder of the page again.`);
  let place = 0;
  const [weight, bias, whitening, memory] = sizes.map((size) => {
    const part = new Float32Array(bytes, 4 * place, size);
    place += size;
    return part;
  }) as [Float32Array, Float32Array, Float32Array, Float32Array];
  return {
    start: { classes: model.classes, weight: Float64Array.from(weight), bias: Float64Array.from(bias), width },
    whitening: whitening.length ? whitening : null,
    memory: labels.map((label, row) => ({ label, features: memory.subarray(row * width, (row + 1) * width) })),
  };
}
