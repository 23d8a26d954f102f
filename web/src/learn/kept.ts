/** The head that was taught, kept in the browser until the user forgets it. */

import type { ModelDescription } from "../model/description";
import type { KeptHead } from "./learned";

/** A page of another model at the same address has another one. */
const key = (model: ModelDescription) => `orbitune-head-${Object.values(model.hashes).join("-")}`;

export function keepHead(model: ModelDescription, file: KeptHead): void {
  try {
    localStorage.setItem(key(model), JSON.stringify(file));
  } catch {
    // Private windows have no room: it lives as long as the page.
  }
}

export function keptHead(model: ModelDescription): KeptHead | null {
  try {
    const text = localStorage.getItem(key(model));
    return text ? (JSON.parse(text) as KeptHead) : null;
  } catch {
    return null;
  }
}

export function forgetHead(model: ModelDescription): void {
  try {
    localStorage.removeItem(key(model));
  } catch {
    // There is nothing to forget.
  }
}
