/** Numbers as text: float32 in base64, little-endian. */

export function pack(values: ArrayLike<number>): string {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** @throws Error unless the text holds `count` numbers, all finite. */
export function unpack(text: string, count: number): Float64Array {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const values = Float64Array.from(new Float32Array(bytes.buffer));
  if (values.length !== count || !values.every(Number.isFinite)) throw new Error(`expected ${count} numbers`);
  return values;
}
