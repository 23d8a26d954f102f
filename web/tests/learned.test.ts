import { describe, expect, it } from "vitest";

import type { LearningData } from "../src/learn/data";
import { Learned } from "../src/learn/learned";
import { countLabels, describeLessons, gather, hasTooFew, labelOf, type Lesson, readName } from "../src/learn/lessons";
import { type KeptHead } from "../src/learn/head_file";
import { judgeFit } from "../src/learn/outcome";
import { pack } from "../src/learn/packing";
import { teach } from "../src/learn/teaching";
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
  const learned = new Learned(data, teach(data, lessons));

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

  it("is compared with what there was before the last lesson, after it was kept too, and the saved file with the model", () => {
    const later = [...lessons, { features: [0.2, 0.3, 1], label: "C" }];
    const again = new Learned(data, teach(data, later, lessons));
    const counts = { pictures: 11, right_before: 11, right_after: 11 };
    expect(again.heldOut).toEqual(counts);
    expect(judgeFit(again.heldOut, again.remembered).text).toContain("All were right already.");
    expect(Learned.fromKept(again.toKept(model), data, model).heldOut).toEqual(counts);
    expect(again.toFile(model).held_out).toEqual({ ...counts, right_before: 0 });
  });

  it("has learned what was taught as another class before", () => {
    const corrected = lessons.map(({ features }) => ({ features, label: "D" }));
    expect(new Learned(data, teach(data, corrected, lessons)).heldOut).toEqual({ pictures: 10, right_before: 0, right_after: 10 });
  });

  it("takes pictures like the taught ones as known, and others as before", () => {
    const near = learned.distance([0.2, 0.2, 1.05], 40);
    expect([near.taught, near.score! < 1]).toEqual(["C", true]);
    expect(learned.distance([1, 0.1, 0], 3)).toEqual({ score: 3, taught: null });
    expect(learned.distance([1, 0.1, 0], null)).toEqual({ score: null, taught: null });
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

  it.each([
    ["nothing", () => null],
    ["another object", () => ({ kind: "orbitune head" })],
    ["a class less", (file: KeptHead) => ({ ...file, classes: ["A", "B"] })],
    ["a known class renamed", (file: KeptHead) => ({ ...file, classes: ["A", "X", "C"] })],
    ["two equal classes", (file: KeptHead) => ({ ...file, classes: ["A", "B", "B"] })],
    ["another width", (file: KeptHead) => ({ ...file, width: 9 })],
    ["no mean", (file: KeptHead) => ({ ...file, means: "" })],
    ["a weight that is no number", (file: KeptHead) => ({ ...file, bias: pack([0, 0, Number.NaN]) })],
    ["features that are no numbers", (file: KeptHead) => ({ ...file, lessons: [[pack([0, Number.NaN, 0]), "C"]] })],
    ["a lesson of no class", (file: KeptHead) => ({ ...file, lessons: [[pack([0, 0, 0]), "D"]] })],
    ["counts that are none", (file: KeptHead) => ({ ...file, pictures: { C: "many" } })],
  ])("is not opened from a file with %s", (_, change) => {
    const file = JSON.parse(JSON.stringify(learned.toKept(model))) as KeptHead;
    expect(() => Learned.fromKept(change(file), data, model)).toThrow("It is damaged, or of another model.");
    expect(Learned.fromKept(file, data, model).lessons).toHaveLength(10);
  });

  it("is without a class again when all its pictures are taken back", () => {
    const kept = Learned.fromKept(learned.toKept(model), data, model);
    const shown = lessons.map(({ features }) => Float32Array.from(features));
    expect(labelOf(shown[0]!, kept.lessons)).toBe("C");
    expect(labelOf(Float32Array.from([1, 0.2, 0.3]), kept.lessons)).toBeUndefined();
    const answer = (features: Float32Array) => ({ features, probabilities: [], score: null, milliseconds: 0 });
    const known = { answer: answer(Float32Array.from([1, 0.2, 0.3])), truth: "B" };
    const left = gather(kept.lessons, [...shown.map((features) => ({ answer: answer(features), truth: "" })), known]);
    expect(left).toHaveLength(1);
    const again = new Learned(data, teach(data, left));
    expect([again.head.classes, again.pictures, again.heldOut.pictures]).toEqual([["A", "B"], { B: 1 }, 1]);
    expect([...again.probabilities([1, 0.2, 0.3], 1)].every(Number.isFinite)).toBe(true);
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
    expect(teach(data, all).head.classes).toEqual(["A", "B", "C"]);
  });
});

describe("a class", () => {
  it("that is new needs five pictures, and one that the model knows does not", () => {
    const of = (...labels: string[]) => countLabels(labels.map((label) => ({ features: [], label })));
    expect(hasTooFew(of("A"), start.classes)).toBe(false);
    expect(hasTooFew(of("C", "C", "C", "C"), start.classes)).toBe(true);
    expect(hasTooFew(of("C", "C", "C", "C", "C"), start.classes)).toBe(false);
  });

  it("that the model knows keeps its pictures not sure with fewer than five", () => {
    const counts = new Map([["A", 4], ["B", 5]]);
    expect(describeLessons(counts, start.classes, true)).toBe(
      "A: 4 pictures, B: 5 pictures. Pictures like those of A that are not sure stay so: only 5 pictures of a class or more change that.",
    );
    expect(describeLessons(counts, start.classes, false)).toBe("A: 4 pictures, B: 5 pictures.");
  });

  it.each([
    [" Quarry ", "Quarry", ""],
    ["  ", "", "Name the class of the pictures first."],
    ["a\tb", "a\tb", "The name holds a character that cannot be shown."],
    ["E\u0301tang", "\u00c9tang", ""], // the same letters in another form
  ])("named %j is %j: %j", (typed, name, fault) => {
    expect(readName(typed, ["A", "\u00c9tang"])).toEqual({ name, fault });
  });
});

describe("what is said of a fit", () => {
  const counts = (pictures: number, right_before: number, right_after: number) => ({ pictures, right_before, right_after });
  const kept = counts(200, 199, 198);

  it.each([
    [counts(12, 0, 12), kept, "good", "It learned."],
    [counts(12, 5, 3), kept, "bad", "It became worse."],
    [counts(12, 0, 4), kept, "bad", "It did not learn this."],
    [counts(12, 9, 9), kept, "open", "It made no difference."],
    [counts(12, 12, 12), kept, "open", "All were right already."],
    [counts(2, 0, 2), kept, "open", "Learned, but 2 pictures cannot tell"],
    [counts(12, 0, 12), counts(200, 199, 150), "bad", "It forgets: 49 of 200 training tiles"],
  ])("%o is a success only where it is one", (heldOut, remembered, state, start) => {
    const outcome = judgeFit(heldOut, remembered);
    expect(outcome.state).toBe(state);
    expect(outcome.text).toContain(start);
    expect(outcome.text).toContain(`${heldOut.right_after} got the right class, and ${heldOut.right_before} before this lesson`);
  });
});
