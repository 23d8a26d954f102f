import { describe, expect, it } from "vitest";

import { judge, labelsOf } from "../src/model/verdict";
import { toCsv, type Entry } from "../src/session";

const model = { classes: ["Forest", "River", "Pasture", "Lake"], thresholds: null, not_sure: { threshold: 20, rate: 0.01 } };
const at = (score: number | null) => ({ score, taught: null });
const several = { ...model, thresholds: [0.5, 0.2, 0.5, 0.5] };

describe("a verdict", () => {
  it("ranks the three most probable classes, and chooses the first", () => {
    const { ranked } = judge([0.1, 0.6, 0.25, 0.05], at(3), model);
    expect(ranked.map((each) => each.label)).toEqual(["River", "Pasture", "Forest"]);
    expect(ranked.map((each) => each.chosen)).toEqual([true, false, false]);
  });

  it("is not sure above the threshold alone", () => {
    expect(judge([1, 0, 0, 0], at(20), model).sure).toBe(true);
    expect(judge([1, 0, 0, 0], at(20.01), model).sure).toBe(false);
    expect(judge([1, 0, 0, 0], at(null), { ...model, not_sure: null }).sure).toBeNull();
  });

  it("has every label that reaches its threshold, before those that do not", () => {
    const verdict = judge([0.4, 0.3, 0.1, 0.1], at(null), several);
    expect(verdict.ranked.map((each) => each.label)).toEqual(["River", "Forest", "Pasture"]);
    expect(labelsOf(verdict)).toBe("River");
    expect(labelsOf(judge([0.1, 0.1, 0.1, 0.1], at(null), several))).toBe("None of the classes");
  });
});

describe("the CSV file", () => {
  const entry = (name: string, more: Partial<Entry>): Entry => ({ id: 0, name, file: new Blob(), url: "", state: "done", ...more });

  it("has the columns of orbitune predict, and no formulas", () => {
    const rows = toCsv(
      [
        entry("=a,b.png", { verdict: judge([0.5, 0.25, 0.125, 0.125], at(3), model) }),
        entry("notes.txt", { state: "refused", message: "is empty" }),
        entry("late.png", { state: "waiting" }),
      ],
      model,
    );
    expect(rows.split("\r\n")).toEqual([
      "input,label_1,probability_1,label_2,probability_2,label_3,probability_3,sure,distance,error",
      `"'=a,b.png",Forest,0.5,River,0.25,Pasture,0.125,true,3,`,
      "notes.txt,,,,,,,,,is empty",
      "",
    ]);
  });

  it("has several labels in one cell", () => {
    const rows = toCsv([entry("a.png", { verdict: judge([0.75, 0.25, 0, 0], at(null), { ...several, not_sure: null }) })], several);
    expect(rows.split("\r\n")[1]).toBe("a.png,Forest|River,0.75|0.25,,,");
  });
});
