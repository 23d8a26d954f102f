/** Calls of the service's functions through Gradio's queue, for what takes long. */

import { ask, ServiceError } from "./service";

export interface UploadedFile {
  path: string;
  meta: { _type: "gradio.FileData" };
}

export interface Progress {
  done: number;
  parts: number;
}

interface Message {
  msg: string;
  rank?: number;
  success?: boolean;
  message?: string;
  output?: { data?: unknown[]; error?: string };
  progress_data?: { index: number | null; length: number | null }[];
}

/** Upload a file for a function. */
export async function upload(file: File): Promise<UploadedFile> {
  const form = new FormData();
  form.append("files", file, file.name);
  const [path] = (await (await ask("gradio_api/upload", { method: "POST", body: form })).json()) as string[];
  return { path: path!, meta: { _type: "gradio.FileData" } };
}

/** Call a function, and return what it returns. @throws ServiceError with a sentence for the user. */
export async function call(name: string, data: unknown[], onProgress: (progress: Progress | null) => void): Promise<unknown[]> {
  const config = (await (await ask("config")).json()) as { dependencies: { id: number; api_name: string }[] };
  const fn_index = config.dependencies.find((each) => each.api_name === name)!.id;
  const session_hash = crypto.getRandomValues(new Uint32Array(2)).join("");
  const body = JSON.stringify({ data, fn_index, session_hash });
  await ask("gradio_api/queue/join", { method: "POST", body, headers: { "content-type": "application/json" } });
  const events = new EventSource(`gradio_api/queue/data?session_hash=${session_hash}`);
  return new Promise<unknown[]>((resolve, reject) => {
    events.onmessage = ({ data }) => {
      const message = JSON.parse(data as string) as Message;
      const progress = message.progress_data?.[0];
      if (progress) onProgress({ done: progress.index ?? 0, parts: progress.length ?? 1 });
      if (message.msg === "process_starts") onProgress(null);
      if (message.msg === "unexpected_error") reject(new ServiceError(message.message ?? "The server could not answer this.", 500));
      if (message.msg !== "process_completed") return;
      if (message.success) resolve(message.output?.data ?? []);
      else reject(new ServiceError(plain(message.output?.error ?? "The server could not answer this."), 422));
    };
    events.onerror = () => reject(new ServiceError("The server does not answer; it may have been stopped.", 0));
  }).finally(() => events.close());
}

/** Return the text of a message that Gradio would show as HTML. */
function plain(message: string): string {
  return new DOMParser().parseFromString(message, "text/html").body.textContent ?? "";
}
