/**
 * The service worker: hands out the files of the page without a network.
 *
 * It is a classic script without imports, as not every browser runs modules here. It adds the headers that a plain
 * file server does not send: isolation, which threads need, and the policy of index.html for the workers.
 */

type Scope = ServiceWorkerGlobalScope & { ORBITUNE_FILES: { version: string; bytes: Record<string, number> } };

const scope = self as unknown as Scope;
scope.importScripts("files.js");

const { version, bytes } = scope.ORBITUNE_FILES;
const CACHE = `orbitune-${version}`;
const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; " +
  "img-src 'self' blob:; style-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'";
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Content-Security-Policy": POLICY,
};

scope.addEventListener("install", (event) => {
  event.waitUntil(fill().then(() => scope.skipWaiting()));
});

scope.addEventListener("activate", (event) => {
  event.waitUntil(removeOthers().then(() => scope.clients.claim()));
});

scope.addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});

/** Cache all files; the large ones that the page has loaded already are there. */
async function fill(): Promise<void> {
  const cache = await caches.open(CACHE);
  for (const name of ["./", "files.js", ...Object.keys(bytes)]) {
    if (await cache.match(name)) continue;
    const answer = await fetch(name, { cache: "no-cache" });
    const size = (await answer.clone().blob()).size;
    // A login page of a network, or a file of an export that is being copied. Servers may decompress gzip.
    const other = size !== (bytes[name] ?? size) && !name.endsWith(".gz");
    if (!answer.ok || other) throw new Error(`${name} is not the file that was exported`);
    await cache.put(name, answer);
  }
}

async function removeOthers(): Promise<void> {
  const names = (await caches.keys()).filter((name) => name.startsWith("orbitune-") && name !== CACHE);
  await Promise.all(names.map((name) => caches.delete(name)));
}

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  const found = (await cache.match(request, { ignoreSearch: true })) ?? (await fetch(request));
  if (found.type === "opaque" || found.status === 0) return found;
  const headers = new Headers(found.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
}
