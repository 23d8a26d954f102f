import { describe, expect, it } from "vitest";

import { extend, fitHead, type Head, logitsOf, minimise, softmax } from "../src/learn/fit";
import cases from "./linear_head.json";

const head = (weight: number[][], bias: number[]): Head => ({
  classes: bias.map(String),
  weight: Float64Array.from(weight.flat()),
  bias: Float64Array.from(bias),
  width: weight[0]!.length,
});

describe("a head", () => {
  it("fitted in the browser is that of Python", () => {
    const { start, samples, fitted } = cases;
    const found = fitHead(head(start.weight, start.bias), samples);
    [...found.weight].forEach((each, place) => expect(each).toBeCloseTo(fitted.weight.flat()[place]!, 3));
    [...found.bias].forEach((each, place) => expect(each).toBeCloseTo(fitted.bias[place]!, 3));
  });

  it("learns a class that it did not have, and keeps the others", () => {
    const start = head([[4, -4, 0], [-4, 4, 0]], [0, 0]);
    const samples = [
      ...Array.from({ length: 8 }, (_, n) => ({ features: [1, 0, n / 80], label: 0 })),
      ...Array.from({ length: 8 }, (_, n) => ({ features: [0, 1, n / 80], label: 1 })),
      ...Array.from({ length: 8 }, (_, n) => ({ features: [0.5, 0.5, 1 + n / 80], label: 2 })),
    ];
    const fitted = fitHead(extend(start, ["0", "1", "2"]), samples);
    for (const { features, label } of samples) {
      const found = softmax(logitsOf(fitted, features));
      expect(found.indexOf(Math.max(...found))).toBe(label);
    }
  });
});

describe("the minimiser", () => {
  it("finds the minimum of a stretched bowl", () => {
    const found = minimise(new Float64Array([5, -3]), (values, gradient) => {
      gradient[0] = 2 * (values[0]! - 1);
      gradient[1] = 200 * (values[1]! - 2);
      return (values[0]! - 1) ** 2 + 100 * (values[1]! - 2) ** 2;
    });
    expect(found[0]).toBeCloseTo(1, 4);
    expect(found[1]).toBeCloseTo(2, 4);
  });
});
