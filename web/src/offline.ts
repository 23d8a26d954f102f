/** The service worker, which makes the page work without a network. */

import { byId } from "./view/elements";

/** Register the service worker, and say when the page no longer needs the network. */
export async function startOffline(): Promise<void> {
  const state = byId("offline");
  if (!("serviceWorker" in navigator)) {
    state.textContent = "To use it without a network, open it by https or on localhost.";
    return;
  }
  const before = navigator.serviceWorker.controller;
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    byId("update").hidden = !before;
  });
  byId("reload").addEventListener("click", () => location.reload());
  try {
    // Without the cache of the browser, so that a new model is seen.
    await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
    await navigator.serviceWorker.ready;
    state.textContent = "It works without a network from now on.";
    document.body.dataset.offline = "yes";
  } catch {
    state.textContent = "It needs the network: the browser keeps no copy of it.";
  }
}
