import { describe, expect, it } from "vitest";

import type { LearningData } from "../src/learn/data";
import { gather, Learned, type Lesson } from "../src/learn/learned";
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
    const file = learned.toKept(model);
    const opened = Learned.fromKept(file, data, model);
    const features = [0.3, 0.2, 0.9];
    [...opened.probabilities(features, 2)].forEach((each, place) =>
      expect(each).toBeCloseTo(learned.probabilities(features, 2)[place]!, 5),
    );
    expect(opened.pictures).toEqual({ C: 10 });
    expect(() => Learned.fromKept(file, data, { ...model, hashes: { recipe: "2" } })).toThrow("of another model");
    const again = { ...data, start: { ...start, bias: Float64Array.from([0, 0.125]) } }; // of the same recipe
    expect(() => Learned.fromKept(file, again, model)).toThrow("of another model");
  });

  it("is not lost when further pictures are taught after it was kept", () => {
    const kept = Learned.fromKept(learned.toKept(model), data, model);
    const answer = (features: number[]) => ({ features: Float32Array.from(features), probabilities: [], score: null, milliseconds: 0 });
    const further = [
      { answer: answer([1, 0.2, 0.3]), truth: "B" },
      { answer: answer([0.4, 0.2, 0.3]) }, // nothing was stated
      { answer: answer(Array.from(lessons[0]!.features)), truth: "" }, // taken back
    ];
    const all = gather(kept.lessons, further);
    expect(all.map((lesson) => lesson.label)).toEqual([...Array<string>(9).fill("C"), "B"]);
    expect(Learned.teach(data, all).head.classes).toEqual(["A", "B", "C"]);
  });
});
