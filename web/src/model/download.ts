/** Download of large files, with progress, and the cache that the service worker hands out. */

import { Refusal } from "../refusal";

export const cacheName = (version: string) => `orbitune-${version}`;

export interface Download {
  url: string;
  /** As they arrived. */
  bytes: Uint8Array<ArrayBuffer>;
  content: Uint8Array<ArrayBuffer>;
}

/**
 * Fetch a file and decompress it.
 *
 * @param url of a file that is compressed with gzip; a server may have decompressed it on the way.
 * @param arrived called with the number of bytes of each part that arrives.
 * @throws Refusal if it is missing or damaged.
 */
export async function download(
  url: string,
  arrived: (bytes: number) => void,
): Promise<Download> {
  // Not an older one that the browser still has, which may be of another model than model.json.
  const answer = await fetch(url, { cache: "no-cache" }).catch(() => null);
  if (!answer?.ok || !answer.body) throw new Refusal("cannot be loaded. Is the folder of the page complete?");
  const counted = answer.body.pipeThrough(
    new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform(part, controller) {
        arrived(part.byteLength);
        controller.enqueue(part);
      },
    }),
  );
  try {
    const bytes = await collect(counted);
    const packed = bytes[0] === 0x1f && bytes[1] === 0x8b;
    return { url, bytes, content: packed ? await collect(unpacked(bytes)) : bytes };
  } catch {
    throw new Refusal("is damaged. Export the model again, or copy the folder again.");
  }
}

function unpacked(bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
}

async function collect(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * Keep files for a visit without a network, where the browser allows it: with https, and on localhost.
 *
 * @param files that have proved to be whole: what a server sent in place of one would be handed out ever after.
 * @param version of the files of the page.
 */
export async function keep(files: Download[], version: string): Promise<void> {
  if (typeof caches === "undefined") return;
  try {
    const cache = await caches.open(cacheName(version));
    for (const { url, bytes } of files) {
      if (!(await cache.match(url))) await cache.put(url, new Response(bytes));
    }
  } catch {
    // No room: the page works all the same, but needs the network next time.
  }
}
