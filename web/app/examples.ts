/** Validation tiles to try a model on. */

import { byId, make } from "../src/view/elements";
import { ask, Latest, type ServedModel } from "./service";

export interface Example {
  name: string;
  /** Of the tile, at the model that supplies it: others may have another one of the same class. */
  address: string;
}

interface Found {
  labels: string[];
  /** Which supplies them; it may be another one of the same classes. */
  model: string;
  /** Why there are none. */
  reason: string | null;
}

export class Examples {
  private readonly asking = new Latest();

  /** @param take called with the one that the user chooses. */
  constructor(private readonly take: (example: Example) => Promise<void>) {}

  /** Offer the tiles of a model, or say why there are none. */
  async use(model: ServedModel): Promise<void> {
    const signal = this.asking.next();
    const found = await ask(`app/examples?${new URLSearchParams({ model: model.name })}`, { signal })
      .then(async (answer) => (await answer.json()) as Found)
      .catch((error: Error) => ({ labels: [], model: "", reason: error.message }));
    if (signal.aborted) return;
    byId("examples").hidden = false;
    byId("examples").querySelector("ul")!.replaceChildren(...found.labels.map((label) => make("li", {}, this.button(label, found.model, signal))));
    tell(found.reason ?? "");
  }

  private button(label: string, model: string, signal: AbortSignal): HTMLButtonElement {
    const address = `app/example?${new URLSearchParams({ label, model })}`;
    const button = make("button", { type: "button" }, make("img", { src: address, alt: "", loading: "lazy" }), label);
    button.addEventListener("click", () => {
      tell("");
      this.take({ name: `${label} (example)`, address }).catch((error: Error) => signal.aborted || tell(error.message));
    });
    return button;
  }
}

/** Say why there is no example; what stands in backticks is code. */
function tell(reason: string): void {
  byId("no-examples").replaceChildren(...reason.split("`").map((part, place) => (place % 2 ? make("code", {}, part) : part)));
  byId("no-examples").hidden = !reason;
}
