/** What `orbitune export` states of the model in model.json. */

export interface ModelDescription {
  format: number;
  name: string;
  made_by: string;
  task: "single-label" | "multi-label";
  classes: string[];
  /** Probability from which a picture has a class; null for one class a picture. */
  thresholds: number[] | null;
  tile: { width: number; height: number };
  /** OOD score above which a picture is *not sure*, and the fraction of pictures like the training tiles above it. */
  not_sure: { threshold: number; rate: number } | null;
  synthetic: boolean;
  about: Record<string, string>;
  graph: { file: string; bytes: number };
  hashes: Record<string, string>;
  temperature: number;
  /** What learning on the device needs; null where a picture has several labels. */
  learning: { file: string; width: number; labels: number[] } | null;
}

const FORMAT = 1;

/** Fetch model.json. @throws Error with a sentence for the user. */
export async function fetchDescription(): Promise<ModelDescription> {
  const answer = await fetch("model.json", { cache: "no-cache" }).catch(() => null);
  if (!answer?.ok) throw new Error("model.json cannot be read. Is the folder of the page complete?");
  const found = (await answer.json().catch(() => null)) as ModelDescription | null;
  if (!found || found.format !== FORMAT || !Array.isArray(found.classes)) {
    throw new Error("model.json is damaged, or of another version than this page. Export the model again.");
  }
  return found;
}
