/** Drawing of scenes and maps on canvases. */

import type { Colour } from "../model/description";
import type { Label, MapState, Step, TileWindow } from "./map_state";
import type { Preview } from "./messages";

/** Draw a small picture of the scene with its window. */
export function drawOverview(
  canvas: HTMLCanvasElement,
  preview: Preview,
  scene: { width: number; height: number },
  window: TileWindow,
  tile: number,
): void {
  [canvas.width, canvas.height] = [preview.width, preview.height];
  const context = canvas.getContext("2d")!;
  context.putImageData(new ImageData(preview.rgba, preview.width, preview.height), 0, 0);
  const scale = (preview.width / scene.width) * tile;
  const [left, top, side] = [window.left, window.top, window.side].map((each) => each * scale) as [number, number, number];
  const [across, down] = [Math.min(side, preview.width - left), Math.min(side, preview.height - top)];
  for (const [colour, width] of [["#000000", 5], ["#ffffff", 2]] as const) {
    [context.strokeStyle, context.lineWidth] = [colour, width];
    context.strokeRect(left + 2, top + 2, across - 4, down - 4);
  }
}

/** Draw the pixels of a part of the window. */
export function drawPart(canvas: HTMLCanvasElement, map: MapState, step: Step, rgba: Uint8ClampedArray<ArrayBuffer>): void {
  const [row, column] = map.place(step);
  const image = new ImageData(rgba, step.count * map.stride, map.stride);
  canvas.getContext("2d")!.putImageData(image, column * map.stride, row * map.stride);
}

/** Draw a pixel for each label; cells without data, and those not labelled yet, stay clear. */
export function drawLabels(
  canvas: HTMLCanvasElement,
  map: MapState,
  labels: (Label | null)[],
  colour: (label: Label) => Colour,
): void {
  [canvas.width, canvas.height] = [map.columns, map.rows];
  const image = new ImageData(map.columns, map.rows);
  labels.forEach((label, place) => {
    if (label !== null && label !== "nodata") image.data.set([...colour(label), 255], 4 * place);
  });
  canvas.getContext("2d")!.putImageData(image, 0, 0);
}
