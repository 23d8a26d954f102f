/** The worker that fits a head, so that the page stays responsive. */

import type { LearningData } from "./data";
import type { Taught } from "./head_file";
import type { Lesson } from "./lessons";
import { teach } from "./teaching";

export interface Task {
  data: LearningData;
  lessons: Lesson[];
  /** Those of the head that there was. */
  earlier: Lesson[];
}

export type Report = { fraction: number } | { taught: Taught };

self.onmessage = ({ data: { data, lessons, earlier } }: MessageEvent<Task>) => {
  const report = (message: Report) => self.postMessage(message);
  report({ taught: teach(data, lessons, earlier, (fraction) => report({ fraction })) });
};
