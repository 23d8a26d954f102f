/** Elements of the page. */

/** Return the element with an id, which index.html has. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found as T;
}

/** Return a new element with its content. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  settings: Partial<HTMLElementTagNameMap[K]> = {},
  ...content: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), settings);
  element.append(...content);
  return element;
}

/** Return a probability as text, such as 97.8 %; one that is not quite 1 or 0 is not rounded to it. */
export function percent(probability: number): string {
  if (probability >= 0.9995) return "> 99.9 %";
  if (probability < 0.0005) return "< 0.1 %";
  return `${(100 * probability).toFixed(1)} %`;
}

/** Return a number of things: 1 picture, 2 pictures. */
export function counted(count: number, what: string): string {
  return `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;
}

/** Hand a file to the user. */
export function save(text: string, type: string, name: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
