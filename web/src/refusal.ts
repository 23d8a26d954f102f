/** A file or a browser that cannot be used. The message follows its name: "is empty". */
export class Refusal extends Error {}
