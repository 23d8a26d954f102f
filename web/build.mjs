/**
 * Build the page of exports, and that of the service, into the Python package: node build.mjs [FOLDER]
 *
 * The same source gives the same bytes, so that a test can compare the committed page with a new build.
 */
import { createHash } from "node:crypto";
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, defaultClientConditions } from "vite";

const root = dirname(fileURLToPath(import.meta.url));
const folder = process.argv[2];
const out = folder ? join(folder, "page") : join(root, "../src/orbitune/exporting/web/page");
const app = folder ? join(folder, "app") : join(root, "../src/orbitune/serving/assets/page");
const runtime = join(root, "node_modules/onnxruntime-web");
const names = { entryFileNames: "[name].js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" };

/** Parts of geotiff.js that the page never runs: decoders of compressions that it refuses, and workers of its own. */
const UNUSED = /\/(jpeg|lerc|webimage|zstd|create|remote)\.js$/;
const leaveOut = {
  name: "leave-out",
  enforce: "pre",
  resolveId: (source, importer) => (importer?.includes("/geotiff/") && UNUSED.test(source) ? "\0unused" : null),
  load: (id) => (id === "\0unused" ? "export default null; export const makeRemoteSource = null, makeCustomSource = null;" : null),
};
// The reader of TIFFs is one file, which the worker loads when the first one arrives.
const codeSplitting = { groups: [{ name: "geotiff", test: /node_modules\/(?!onnxruntime)/ }] };

await build({
  root,
  base: "./",
  logLevel: "error",
  // The runtime is not bundled: it is decompressed by the worker.
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  build: {
    outDir: out,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0,
    rollupOptions: { input: { index: join(root, "index.html"), sw: join(root, "src/sw.ts") }, output: names },
  },
  worker: { format: "es", plugins: () => [leaveOut], rollupOptions: { output: { ...names, codeSplitting } } },
});

// The page of `orbitune serve` stands at / of the service, and its files below app/.
const below = Object.fromEntries(Object.entries(names).map(([kind, name]) => [kind, `app/${name}`]));
await build({
  root: join(root, "app"),
  base: "./",
  logLevel: "error",
  build: {
    outDir: app,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0,
    rollupOptions: { output: below },
  },
});

// The plain build for the CPU: those with WebGPU are twice as large.
const module = "ort-wasm-simd-threaded";
// Servers know .js; many send .mjs as a type that browsers do not run.
cpSync(join(runtime, "dist", `${module}.mjs`), join(out, `${module}.js`));
writeFileSync(join(out, `${module}.wasm.gz`), gzipSync(readFileSync(join(runtime, "dist", `${module}.wasm`)), { level: 9 }));
writeFileSync(`${out}.sha256`, `${sourceHash()}\n`);

/** Return a hash of all that the page is built from; `tests/exporting/test_web_source.py` computes the same. */
function sourceHash() {
  const hash = createHash("sha256");
  const skipped = ["node_modules", "tests"];
  const files = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .filter((name) => !skipped.includes(name.split("/")[0]))
    .sort();
  for (const name of files) hash.update(name).update("\0").update(readFileSync(join(root, name))).update("\0");
  return hash.digest("hex");
}
