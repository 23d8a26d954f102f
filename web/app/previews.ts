/** Pictures of tiles as the server's decoder reads them, each asked for once. */

import type { Entry } from "../src/session";
import { fetchPicture, isPassing, Latest, type Service, type ServedModel, tooLarge } from "./service";

export class Previews {
  private readonly known = new Map<number, Promise<string>>();
  private readonly asking = new Latest();
  private signal = this.asking.next();

  constructor(private readonly service: Service, private model: ServedModel) {}

  /** Forget all pictures: another model may read other bands. */
  use(model: ServedModel): void {
    for (const each of this.known.values()) void each.then(URL.revokeObjectURL, () => {});
    this.known.clear();
    this.model = model;
    this.signal = this.asking.next();
  }

  /**
   * Return the address of an entry's picture. One that was refused for a reason that passes is asked for again the
   * next time.
   *
   * @throws Error if there is none.
   */
  async of(entry: Entry): Promise<string> {
    if (tooLarge(entry.file, this.service)) throw new Error("It is not sent.");
    const known = this.known.get(entry.id);
    if (known) return known;
    const asked = fetchPicture("preview", entry.file, { model: this.model.name }, this.signal);
    this.known.set(entry.id, asked);
    asked.catch((error: unknown) => {
      if (isPassing(error) && this.known.get(entry.id) === asked) this.known.delete(entry.id);
    });
    return asked;
  }
}
