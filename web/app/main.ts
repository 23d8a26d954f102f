/** The page of `orbitune serve`: signs in, opens its views, and lets a model be chosen. */

import { byId } from "../src/view/elements";
import { MapView } from "./map";
import { ask, fetchService, Latest, type ServedModel, ServiceError } from "./service";
import { TilesView } from "./tiles";

const cards = new Latest();

async function start(): Promise<void> {
  const service = await fetchService();
  const { models } = service;
  let model = models[0]!;
  const views = [new TilesView(model, service, report), new MapView(model, service)];
  const choice = byId<HTMLSelectElement>("model");
  choice.replaceChildren(...models.map(({ name }) => new Option(name)));
  byId("model-choice").hidden = models.length < 2;
  choice.addEventListener("change", () => {
    model = models[choice.selectedIndex]!;
    for (const view of views) view.use(model);
    describe(model);
  });
  for (const button of tabs()) button.addEventListener("click", () => show(button.dataset.view!));
  byId("model-choice").closest("header")!.querySelector("nav")!.hidden = false;
  describe(model);
  show("tiles");
  document.body.dataset.ready = "yes";
}

function tabs(): HTMLButtonElement[] {
  return [...document.querySelectorAll<HTMLButtonElement>("[data-view]")];
}

function show(view: string): void {
  for (const tab of tabs()) {
    const current = tab.dataset.view === view;
    tab.ariaCurrent = current ? "page" : null;
    byId(tab.dataset.view!).hidden = !current;
  }
}

/** Show what is known of a model. Its card is HTML of this server, in which no HTML of the card itself stands. */
function describe(model: ServedModel): void {
  document.title = `${model.name} - Orbitune`;
  const map = tabs().find((tab) => tab.dataset.view === "map")!;
  map.hidden = !model.map_strides.length;
  if (map.hidden && map.ariaCurrent) show("tiles");
  byId("card").replaceChildren();
  const signal = cards.next();
  void ask(`app/card?${new URLSearchParams({ model: model.name })}`, { signal })
    .then((answer) => answer.text())
    .then(
      (card) => (byId("card").innerHTML = card),
      (error: Error) => signal.aborted || (byId("card").textContent = error.message),
    );
}

function report(problem: string): void {
  byId("problem").textContent = problem;
  byId("problem").hidden = !problem;
}

/** Show the form to sign in. */
function signIn(): void {
  const form = byId<HTMLFormElement>("login");
  form.hidden = false;
  byId("username").focus();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await ask("login", { method: "POST", body: new FormData(form) });
      location.reload();
    } catch (error) {
      byId("refused").textContent = (error as Error).message;
    }
  });
}

start().catch((error: unknown) => {
  if (error instanceof ServiceError && error.status === 401) signIn();
  else report(error instanceof Error ? error.message : String(error));
});
