import { describe, expect, it } from "vitest";

import type { LearningData } from "../src/learn/data";
import { Learned, type Lesson } from "../src/learn/learned";
import type { ModelDescription } from "../src/model/description";

const width = 3;
const start = {
  classes: ["A", "B"],
  weight: Float64Array.from([6, -6, 0, -6, 6, 0]),
  bias: Float64Array.from([0, 0]),
  width,
};
const memory = Array.from({ length: 20 }, (_, n) => ({
  features: n % 2 ? [0.1, 1, n / 200] : [1, 0.1, n / 200],
  label: n % 2,
}));
const whitening = Float32Array.from([10, 0, 0, 0, 10, 0, 0, 0, 10]);
const data: LearningData = { start, whitening, memory };
const lessons: Lesson[] = Array.from({ length: 10 }, (_, n) => ({ features: [0.2, 0.2, 1 + n / 100], label: "C" }));
const model = { name: "m", hashes: { recipe: "1" } } as unknown as ModelDescription;

describe("what was learned", () => {
  const learned = Learned.teach(data, lessons);

  it("has the new class after the old ones, and finds all", () => {
    expect(learned.head.classes).toEqual(["A", "B", "C"]);
    const best = (features: number[]) => {
      const found = learned.probabilities(features, 1);
      return learned.head.classes[found.indexOf(Math.max(...found))];
    };
    expect([best([0.2, 0.2, 1.05]), best([1, 0.1, 0.05]), best([0.1, 1, 0.05])]).toEqual(["C", "A", "B"]);
  });

  it("is judged by pictures that were left out", () => {
    expect(learned.heldOut).toEqual({ pictures: 10, right_before: 0, right_after: 10 });
  });

  it("takes pictures like the taught ones as known, and others as before", () => {
    expect(learned.score([0.2, 0.2, 1.05], 40)).toBeLessThan(1);
    expect(learned.score([1, 0.1, 0], 3)).toBe(3);
    expect(learned.score([1, 0.1, 0], null)).toBeNull();
  });

  it("is the same after it was saved, and is refused by another model", () => {
    const file = learned.toFile(model);
    const opened = Learned.fromFile(file, data, model);
    const features = [0.3, 0.2, 0.9];
    [...opened.probabilities(features, 2)].forEach((each, place) =>
      expect(each).toBeCloseTo(learned.probabilities(features, 2)[place]!, 5),
    );
    expect(opened.pictures).toEqual({ C: 10 });
    expect(() => Learned.fromFile(file, data, { ...model, hashes: { recipe: "2" } })).toThrow("of another model");
  });
});
