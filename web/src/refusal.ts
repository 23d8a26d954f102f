/** A file or a browser that cannot be used. The message follows its name: "is empty". */
export class Refusal extends Error {}

export const NO_TIFF_TILES = "this page opens no TIFF tiles, so save it as PNG";
