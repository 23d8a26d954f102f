/** The start of the page: loads the model, and says what stands against it. */

import { Model, type PageFiles } from "./model/client";
import { fetchDescription } from "./model/description";
import { startOffline } from "./offline";
import { Page } from "./page";
import { byId } from "./view/elements";

declare global {
  interface Window {
    ORBITUNE_FILES?: PageFiles;
  }
}

/** What the page cannot do without, and what to say where it is missing. */
const NEEDED: [string, () => boolean][] = [
  ["WebAssembly, with which the model is computed", () => typeof WebAssembly === "object"],
  ["DecompressionStream, with which the model is unpacked", () => typeof DecompressionStream === "function"],
  ["OffscreenCanvas, with which pictures are read", () => typeof OffscreenCanvas === "function"],
];

async function start(): Promise<void> {
  byId("serve").hidden = true;
  const missing = NEEDED.find(([, there]) => !there());
  if (missing) {
    throw new Error(`This browser has no ${missing[0]}. Open the page in a newer one, or allow it in its settings.`);
  }
  const files = window.ORBITUNE_FILES;
  if (!files) throw new Error("files.js cannot be read. Is the folder of the page complete?");
  const model = await fetchDescription();
  const page = new Page(model);
  byId("app").hidden = false;
  byId("loading-line").hidden = false;
  const loading = byId<HTMLProgressElement>("loading");
  const computed = await Model.load(model, files, (fraction) => (loading.value = fraction));
  byId("loading-line").hidden = true;
  document.body.dataset.ready = "yes";
  await page.use(computed);
  await startOffline();
}

start().catch((error: unknown) => {
  byId("serve").hidden = true;
  byId("app").hidden = true;
  byId("loading-line").hidden = true;
  const problem = byId("problem");
  problem.textContent = error instanceof Error ? error.message : String(error);
  problem.hidden = false;
});
