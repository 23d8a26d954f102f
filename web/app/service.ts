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

/** The models, the first of which is the default, and the largest files that the server takes. */
export interface Service {
  models: ServedModel[];
  max_image_bytes: number;
  max_scene_bytes: number;
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

/** Return whether a request that failed so may be answered when it is sent again. */
export function isPassing(error: unknown): boolean {
  return error instanceof ServiceError && (error.status === 0 || error.status === 408 || error.status >= 500);
}

/** Requests of which the latest counts: it ends the one before. */
export class Latest {
  private running: AbortController | null = null;

  /** Return the signal of a new request, and abort that of the one before. */
  next(): AbortSignal {
    this.running?.abort();
    this.running = new AbortController();
    return this.running.signal;
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

/** Send images; while the server is busy with those of others, wait as long as it says and send them again. */
async function send(path: string, settings: RequestInit): Promise<Response> {
  for (;;) {
    try {
      return await ask(path, { ...settings, method: "POST" });
    } catch (error) {
      if (!(error instanceof ServiceError) || error.status !== 503 || error.retryAfter === null) throw error;
      await new Promise((resume) => setTimeout(resume, 1000 * error.retryAfter!));
    }
  }
}

export async function fetchService(): Promise<Service> {
  return (await (await ask("api/models")).json()) as Service;
}

/** Return why a file is not sent, to follow its name; null for one that the server may take. */
export function tooLarge(file: Blob, { max_image_bytes }: Service): string | null {
  return file.size > max_image_bytes ? `is larger than ${megabytes(max_image_bytes)}: cut it into tiles first` : null;
}

export function megabytes(bytes: number): string {
  return `${Math.floor(bytes / 2 ** 20)} MB`;
}

/** Return what is said of each file, in order: a verdict, or why there is none. */
export async function classify(files: { name: string; file: Blob }[], model: ServedModel, signal?: AbortSignal): Promise<(Timed | string)[]> {
  const form = new FormData();
  for (const { name, file } of files) form.append("files", file, name.split("/").at(-1));
  const query = new URLSearchParams({ model: model.name, top_k: String(model.classes.length) });
  const answer = await send(`api/predict?${query}`, { body: form, signal });
  const { predictions } = (await answer.json()) as { predictions: PredictionBody[] };
  return predictions.map((each) => each.error ?? { verdict: toVerdict(each, model), seconds: each.seconds });
}

function toVerdict(body: PredictionBody, model: ServedModel): Verdict {
  const found = new Map((body.classes ?? body.labels).map((each) => [each.label, each.probability]));
  const probabilities = model.classes.map((name) => found.get(name) ?? 0);
  const stated = { classes: model.classes, thresholds: model.thresholds, not_sure: null };
  return { ...judge(probabilities, { score: body.distance, taught: null }, stated), sure: body.sure };
}

/** Return the address of the picture that the server answers with for an image. */
export async function fetchPicture(kind: "preview" | "attribution", file: Blob, settings: Record<string, string>, signal: AbortSignal): Promise<string> {
  const headers = { "content-type": "application/octet-stream" };
  const answer = await send(`api/${kind}?${new URLSearchParams(settings)}`, { body: file, headers, signal });
  return URL.createObjectURL(await answer.blob());
}
