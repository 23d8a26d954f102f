/** The attribution map over the picture. */

import type { Step } from "../model/client";
import { byId } from "../view/elements";
import { GRID } from "./occlusion";

const COLOUR = [255, 60, 0];

/** What the overlay needs of the page. */
export interface Actions {
  /** Compute the attribution of the picture that is shown; null where there is none. */
  explain: (step: Step) => Promise<{ label: string; values: number[] | null } | null>;
}

export class Overlay {
  private turn = 0;

  constructor(private readonly actions: Actions) {
    byId("explain").addEventListener("click", () => void this.show());
    byId<HTMLInputElement>("overlay-opacity").addEventListener("input", () => this.fade());
  }

  /** Take the overlay away, and offer one if there is a picture with an answer. */
  reset(offered: boolean): void {
    this.turn++;
    byId("attribution").hidden = !offered;
    byId<HTMLButtonElement>("explain").disabled = false;
    for (const id of ["overlay", "overlay-row", "explaining"]) byId(id).hidden = true;
    byId("explained").textContent = "";
  }

  private async show(): Promise<void> {
    const turn = ++this.turn;
    const bar = byId<HTMLProgressElement>("explaining");
    [bar.hidden, bar.value] = [false, 0];
    byId<HTMLButtonElement>("explain").disabled = true;
    const step = (fraction: number) => {
      if (turn === this.turn) bar.value = fraction;
      return turn === this.turn; // else the picture is another
    };
    const found = await this.actions.explain(step).catch(() => null);
    if (turn !== this.turn) return;
    bar.hidden = true;
    byId("explained").textContent = !found
      ? "There is no attribution for this picture."
      : found.values
        ? `Red: covering it lowers the probability of ${found.label} most.`
        : `Covering a part of the picture does not lower the probability of ${found.label}.`;
    if (found?.values) this.draw(found.values);
  }

  private draw(values: number[]): void {
    const picture = byId<HTMLImageElement>("picture");
    const small = new OffscreenCanvas(GRID, GRID);
    const image = new ImageData(GRID, GRID);
    values.forEach((value, place) => image.data.set([...COLOUR, Math.round(255 * value)], 4 * place));
    small.getContext("2d")!.putImageData(image, 0, 0);
    const canvas = byId<HTMLCanvasElement>("overlay");
    // As the picture, so that it is laid out in the same way; the colours are interpolated in between.
    const scale = Math.max(1, 512 / Math.max(picture.naturalWidth, picture.naturalHeight));
    [canvas.width, canvas.height] = [picture.naturalWidth * scale, picture.naturalHeight * scale].map(Math.round) as [number, number];
    const context = canvas.getContext("2d")!;
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    canvas.hidden = false;
    byId("overlay-row").hidden = false;
    this.fade();
  }

  private fade(): void {
    byId("overlay").style.opacity = String(Number(byId<HTMLInputElement>("overlay-opacity").value) / 100);
  }
}
