/** The pictures of a session, and their verdicts. */

import type { Answer } from "./model/messages";
import type { ModelDescription } from "./model/description";
import type { Verdict } from "./model/verdict";

export interface Entry {
  id: number;
  name: string;
  file: Blob;
  /** Address of the picture for the page. */
  url: string;
  state: "waiting" | "done" | "refused";
  verdict?: Verdict;
  answer?: Answer;
  /** Why it cannot be classified, to follow its name. */
  message?: string;
  /** The class that the user has stated; empty where it was taken back. */
  truth?: string;
}

const MOST_RANKED = 3;

/** Return the verdicts as a CSV file, with the columns of `orbitune predict --format csv`. */
export function toCsv(entries: Entry[], model: Pick<ModelDescription, "classes" | "thresholds">): string {
  const ranks = Array.from({ length: Math.min(MOST_RANKED, model.classes.length) }, (_, rank) => rank);
  const several = model.thresholds !== null;
  const labelColumns = several
    ? ["labels", "probabilities"]
    : ranks.flatMap((rank) => [`label_${rank + 1}`, `probability_${rank + 1}`]);
  const labels = (verdict: Verdict): string[] => {
    const chosen = verdict.ranked.filter((each) => each.chosen);
    if (several) return [chosen.map((each) => each.label).join("|"), chosen.map((each) => each.probability).join("|")];
    return ranks.flatMap((rank) => [verdict.ranked[rank]!.label, String(verdict.ranked[rank]!.probability)]);
  };
  const rows = entries
    .filter((entry) => entry.state !== "waiting")
    .map(({ name, verdict, message }) =>
      verdict
        ? [name, ...labels(verdict), String(verdict.sure ?? ""), String(verdict.score ?? ""), ""]
        : [name, ...labelColumns.map(() => ""), "", "", message ?? ""],
    );
  const lines = [["input", ...labelColumns, "sure", "distance", "error"], ...rows];
  return lines.map((line) => line.map(cell).join(",") + "\r\n").join("");
}

/** Return a cell; what a spreadsheet would take for a formula is marked as text. */
function cell(value: string): string {
  const plain = /^ *[=+\-@\t\r\n]/.test(value) && Number.isNaN(Number(value)) ? `'${value}` : value;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}
