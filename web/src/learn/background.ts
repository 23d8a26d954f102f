/** Teaching in a worker of its own. */

import type { LearningData } from "./data";
import type { Report, Task } from "./fit_worker";
import type { Taught } from "./head_file";
import type { Lesson } from "./lessons";

/**
 * Fit a head to lessons, see `teaching.teach`.
 *
 * @throws Error with a sentence for the user.
 */
export function teachInBackground(
  data: LearningData,
  lessons: Lesson[],
  earlier: Lesson[],
  progress: (fraction: number) => void,
): Promise<Taught> {
  const worker = new Worker(new URL("./fit_worker.ts", import.meta.url), { type: "module", name: "fit" });
  const done = new Promise<Taught>((resolve, reject) => {
    worker.onerror = () => reject(new Error("The fit stopped: the browser may lack the memory. Nothing was learned."));
    worker.onmessage = ({ data: report }: MessageEvent<Report>) => {
      if ("taught" in report) resolve(report.taught);
      else progress(report.fraction);
    };
    worker.postMessage({ data, lessons, earlier } satisfies Task);
  });
  return done.finally(() => worker.terminate());
}
