/** Validation tiles to try a model on. */

import type { Arrived } from "../src/inputs";
import { byId, make } from "../src/view/elements";
import { ask, Latest, type ServedModel } from "./service";

interface Found {
  labels: string[];
  /** Why there are none. */
  reason: string | null;
}

export class Examples {
  private readonly asking = new Latest();

  /** @param take called with the tile that the user chooses. */
  constructor(private readonly take: (tile: Arrived) => void) {}

  /** Offer the tiles of a model, or say why there are none. */
  async use(model: ServedModel): Promise<void> {
    const signal = this.asking.next();
    const found = await ask(`app/examples?${new URLSearchParams({ model: model.name })}`, { signal })
      .then(async (answer) => (await answer.json()) as Found)
      .catch((error: Error) => ({ labels: [], reason: error.message }));
    if (signal.aborted) return;
    byId("examples").hidden = false;
    byId("examples").querySelector("ul")!.replaceChildren(...found.labels.map((label) => make("li", {}, this.button(label, model))));
    tell(found.reason ?? "");
  }

  private button(label: string, model: ServedModel): HTMLButtonElement {
    const address = `app/example?${new URLSearchParams({ label, model: model.name })}`;
    const button = make("button", { type: "button" }, make("img", { src: address, alt: "", loading: "lazy" }), label);
    button.addEventListener("click", async () => {
      try {
        const content = await (await ask(address)).blob();
        tell("");
        this.take({ name: `${label} (example)`, file: new File([content], `${label}.png`) });
      } catch (error) {
        tell((error as Error).message);
      }
    });
    return button;
  }
}

/** Say why there is no example; what stands in backticks is code. */
function tell(reason: string): void {
  byId("no-examples").replaceChildren(...reason.split("`").map((part, place) => (place % 2 ? make("code", {}, part) : part)));
  byId("no-examples").hidden = !reason;
}
