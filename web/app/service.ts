/** The service that this page belongs to. */

import { judge, type Verdict } from "../src/model/verdict";

/** A model as /api/models describes it. */
export interface ServedModel {
  name: string;
  classes: string[];
  /** Probability from which a tile has each class; null for one class a tile. */
  thresholds: number[] | null;
  ood_threshold: number | null;
  bands: string[];
  bytes: number;
  score: string | null;
  map_strides: number[];
}

export interface Timed {
  verdict: Verdict;
  seconds: number;
}

/** A refusal of the service: its sentence for people. */
export class ServiceError extends Error {
  constructor(message: string, readonly status: number, readonly retryAfter: number | null = null) {
    super(message);
  }
}

interface Probability {
  label: string;
  probability: number;
}

interface PredictionBody {
  labels: Probability[];
  classes?: Probability[];
  sure: boolean | null;
  distance: number | null;
  seconds: number;
  error?: string;
}

/** Send a request. The header has the service leave signing in to this page. */
export async function ask(path: string, settings: RequestInit = {}): Promise<Response> {
  const headers = { "x-requested-with": "fetch", ...settings.headers };
  const answer = await fetch(path, { ...settings, headers }).catch(() => {
    if (settings.signal?.aborted) throw new DOMException("stopped", "AbortError");
    throw new ServiceError("The server does not answer; it may have been stopped.", 0);
  });
  if (answer.ok) return answer;
  const body = (await answer.json().catch(() => null)) as { detail?: string } | null;
  const retry = answer.headers.get("retry-after");
  throw new ServiceError(body?.detail ?? "The server could not answer this.", answer.status, retry ? Number(retry) : null);
}

export async function fetchModels(): Promise<ServedModel[]> {
  return ((await (await ask("api/models")).json()) as { models: ServedModel[] }).models;
}

/** Return what is said of each file, in order: a verdict, or why there is none. */
export async function classify(files: { name: string; file: Blob }[], model: ServedModel, signal?: AbortSignal): Promise<(Timed | string)[]> {
  const form = new FormData();
  for (const { name, file } of files) form.append("files", file, name.split("/").at(-1));
  const query = new URLSearchParams({ model: model.name, top_k: String(model.classes.length) });
  for (;;) {
    try {
      const answer = await ask(`api/predict?${query}`, { method: "POST", body: form, signal });
      const { predictions } = (await answer.json()) as { predictions: PredictionBody[] };
      return predictions.map((each) => each.error ?? { verdict: toVerdict(each, model), seconds: each.seconds });
    } catch (error) {
      if (!(error instanceof ServiceError) || error.status !== 503 || error.retryAfter === null) throw error;
      await new Promise((resume) => setTimeout(resume, 1000 * error.retryAfter!)); // others are waiting too
    }
  }
}

function toVerdict(body: PredictionBody, model: ServedModel): Verdict {
  const found = new Map((body.classes ?? body.labels).map((each) => [each.label, each.probability]));
  const probabilities = model.classes.map((name) => found.get(name) ?? 0);
  const stated = { classes: model.classes, thresholds: model.thresholds, not_sure: null };
  return { ...judge(probabilities, { score: body.distance, taught: null }, stated), sure: body.sure };
}

/** Return the address of the picture that the server answers with for an image. */
export async function fetchPicture(kind: "preview" | "attribution", file: Blob, settings: Record<string, string>): Promise<string> {
  const headers = { "content-type": "application/octet-stream" };
  const answer = await ask(`api/${kind}?${new URLSearchParams(settings)}`, { method: "POST", body: file, headers });
  return URL.createObjectURL(await answer.blob());
}
