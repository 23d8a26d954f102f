/** The head that was taught, kept in the browser until the user forgets it. */

import type { ModelDescription } from "../model/description";
import type { KeptHead } from "./head_file";

/** A page of another model at the same address has another one. */
const key = (model: ModelDescription) => `orbitune-head-${Object.values(model.hashes).join("-")}`;

/** Keep a head, and return whether the browser has room for it: private windows may have none. */
export function keepHead(model: ModelDescription, file: KeptHead): boolean {
  try {
    localStorage.setItem(key(model), JSON.stringify(file));
    return true;
  } catch {
    return false;
  }
}

/** Return whether a head is kept, whole or not. */
export function isKept(model: ModelDescription): boolean {
  return read(model) !== null;
}

/** Return what is kept; null for nothing. @throws Error if it is damaged. */
export function keptHead(model: ModelDescription): unknown {
  const text = read(model);
  return text === null ? null : JSON.parse(text);
}

export function forgetHead(model: ModelDescription): void {
  try {
    localStorage.removeItem(key(model));
  } catch {
    // There is nothing to forget.
  }
}

/** Call `changed` when a page in another window keeps or forgets a head of the same model. */
export function watchHead(model: ModelDescription, changed: () => void): void {
  addEventListener("storage", (event) => {
    if (event.key === key(model) || event.key === null) changed(); // null: all was removed
  });
}

/** Do something while no other page of the same model does, where the browser allows it: with https, and on localhost. */
export async function alone(model: ModelDescription, work: () => Promise<void>): Promise<void> {
  await (navigator.locks?.request(key(model), work) ?? work());
}

function read(model: ModelDescription): string | null {
  try {
    return localStorage.getItem(key(model));
  } catch {
    return null;
  }
}
