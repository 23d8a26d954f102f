/** What is said of a fit: whether it learned, by the pictures that were left out. */

import { counted } from "../view/elements";
import type { HeldOut } from "./head_file";

export interface Outcome {
  /** `good` where it learned; `open` where nothing tells; `bad` where it did not, or forgets. */
  state: "good" | "open" | "bad";
  text: string;
}

/** With fewer pictures, one more or less changes the verdict. */
const FEWEST_TO_JUDGE = 5;
/** Fraction of the training tiles that may become wrong before it is said. */
const FORGOTTEN = 0.02;

/**
 * Judge a fit.
 *
 * @param heldOut counts of the taught pictures, each left out of what it was learned from, before the last lesson and after it.
 * @param remembered counts of training tiles, none of which was left out.
 */
export function judgeFit(heldOut: HeldOut, remembered: HeldOut): Outcome {
  const { pictures, right_after: after, right_before: before } = heldOut;
  const counts =
    `Of ${counted(pictures, "picture")}, each left out of what it was learned from, ` +
    `${after} got the right class, and ${before} before this lesson.`;
  const lost = remembered.right_before - remembered.right_after;
  if (lost > FORGOTTEN * remembered.pictures) {
    const tiles = counted(remembered.pictures, "training tile");
    return { state: "bad", text: `It forgets: ${lost} of ${tiles} got the right class before it was taught anything, and no longer do. ${counts}` };
  }
  if (pictures < FEWEST_TO_JUDGE) {
    return { state: "open", text: `Learned, but ${counted(pictures, "picture")} cannot tell whether it helped. ${counts}` };
  }
  if (after < before) {
    return { state: "bad", text: `It became worse. ${counts} Forget it, or add pictures.` };
  }
  if (2 * after < pictures) {
    return { state: "bad", text: `It did not learn this. ${counts} Add more pictures, or check their classes.` };
  }
  if (after === before) {
    const why = before === pictures ? "All were right already." : "It made no difference.";
    return { state: "open", text: `${why} ${counts}` };
  }
  return { state: "good", text: `It learned. ${counts}` };
}
