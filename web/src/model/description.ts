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
  /** Of the model as it was exported, by split; what is taught changes them. */
  scores: Record<string, string>;
  graph: { file: string; bytes: number };
  hashes: Record<string, string>;
  temperature: number;
  /** What learning on the device needs; null where a picture has several labels. */
  learning: { file: string; width: number; labels: number[] } | null;
  /** What maps of scenes need; null for models whose maps the page does not make. */
  scene: SceneSettings | null;
}

/** See `orbitune.exporting.web.scene_settings`. */
export interface SceneSettings {
  /** Metres of a pixel of the training tiles. */
  resolution: number;
  /** Reflectance that is 255 in the training tiles. */
  white: number;
  /** 16-bit value that became 255 in them; null for tiles of 8 bits. */
  scale_max: number | null;
  /** First percentile of each band of the training tiles. */
  dark: number[] | null;
  /** What a clear atmosphere adds to the reflectance of each band, and what it lets through. */
  path: number[];
  transmittance: number[];
  /** OOD score above which a cell is *not sure*; null for that of pictures. */
  threshold: number | null;
  min_confidence: number;
  colours: Colour[];
  /** For classes that are taught. */
  spare: Colour[];
  not_sure: Colour;
  nodata: Colour;
}

export type Colour = [number, number, number];

const FORMAT = 2;

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
