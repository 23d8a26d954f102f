/** The view of maps: a scene in, its map to look at and to download. */

import { byId, make } from "../src/view/elements";
import { call, type UploadedFile, upload } from "./gradio";
import { megabytes, type ServedModel, type Service } from "./service";

type Result = [viewer: string, notes: string, areas: string, archive: UploadedFile | { value: UploadedFile }];

export class MapView {
  constructor(private model: ServedModel, private readonly service: Service) {
    byId<HTMLFormElement>("map").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.run();
    });
    this.use(model);
  }

  use(model: ServedModel): void {
    this.model = model;
    byId<HTMLInputElement>("bands").placeholder = `from tags: ${model.bands.join(", ")}`;
    byId("stride").replaceChildren(...model.map_strides.map((stride) => new Option(String(stride))));
  }

  private async run(): Promise<void> {
    const button = byId<HTMLButtonElement>("make-map");
    const problem = byId("map-problem");
    const bar = byId<HTMLProgressElement>("map-progress");
    problem.hidden = true;
    button.disabled = true;
    try {
      const [scene, points] = [chosen("scene-file"), chosen("points")];
      if (!scene) throw new Error("Choose a GeoTIFF first.");
      for (const file of [scene, points]) this.check(file);
      say(`Sending ${scene.name} ...`);
      const files = [await upload(scene), points && (await upload(points))] as const;
      const value = (id: string) => byId<HTMLInputElement | HTMLSelectElement>(id).value;
      const inputs = [files[0], value("bands"), value("scale"), Number(value("stride")), this.model.name, files[1]];
      say("Waiting for other maps ...");
      bar.removeAttribute("value");
      bar.hidden = false;
      const result = await call("map", inputs, (progress) => {
        say(progress ? `Mapping: ${progress.done} of ${progress.parts} parts` : "Opening the model and the scene ...");
        if (progress) bar.value = progress.done / progress.parts;
      });
      show(result as Result);
      say("");
    } catch (error) {
      say("");
      problem.textContent = (error as Error).message;
      problem.hidden = false;
    }
    bar.hidden = true;
    button.disabled = false;
  }

  /** @throws Error if a file is larger than the server takes. */
  private check(file: File | undefined): void {
    const most = this.service.max_scene_bytes;
    if (file && file.size > most) throw new Error(`${file.name} is larger than ${megabytes(most)}: crop it, or use orbitune map.`);
  }
}

/** Show a finished map. Its HTML was written and escaped by this server. */
function show([viewer, notes, areas, archive]: Result): void {
  byId("viewer").innerHTML = viewer;
  byId("areas").innerHTML = areas;
  const lines = notes.split("\n").map((line) => line.replace(/^- /, ""));
  byId("notes").replaceChildren(
    ...lines.map((line) => {
      const warning = line.match(/^\*\*Warning:\*\* (.*)/);
      return warning ? make("li", {}, make("strong", {}, "Warning: "), warning[1]!) : make("li", {}, line);
    }),
  );
  const { path } = "value" in archive ? archive.value : archive;
  byId<HTMLAnchorElement>("map-files").href = `gradio_api/file=${path}`;
  byId("map-result").hidden = false;
}

function chosen(id: string): File | undefined {
  return byId<HTMLInputElement>(id).files?.[0];
}

function say(text: string): void {
  byId("map-state").textContent = text;
}
