/** Files of a zip archive, unpacked in the browser. */

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const MOST_FILES = 10_000;
const MOST_BYTES = 2 ** 31; // of all files, unpacked

/** Return the files of an archive. @throws Error with a sentence for the user. */
export async function unzip(archive: File): Promise<{ name: string; file: File }[]> {
  const refuse = (why: string) => new Error(`${archive.name} ${why}.`);
  const tail = new DataView(await archive.slice(-65_557).arrayBuffer());
  let end = tail.byteLength - 22;
  while (end >= 0 && tail.getUint32(end, true) !== END) end--;
  if (end < 0) throw refuse("is no zip archive, or is damaged");
  const count = tail.getUint16(end + 10, true);
  const start = tail.getUint32(end + 16, true);
  if (start === 0xffffffff || count > MOST_FILES) throw refuse(`has more than ${MOST_FILES.toLocaleString("en")} files, or is too large: send it in parts`);
  const list = new DataView(await archive.slice(start, start + tail.getUint32(end + 12, true)).arrayBuffer());
  const found: { name: string; file: File }[] = [];
  let unpacked = 0;
  try {
    for (let place = 0, number = 0; number < count; number++) {
      if (list.getUint32(place, true) !== ENTRY) throw new RangeError();
      const [flags, method] = [list.getUint16(place + 8, true), list.getUint16(place + 10, true)];
      const [packed, size] = [list.getUint32(place + 20, true), list.getUint32(place + 24, true)];
      const length = list.getUint16(place + 28, true);
      const name = new TextDecoder().decode(new Uint8Array(list.buffer, place + 46, length));
      const offset = list.getUint32(place + 42, true);
      place += 46 + length + list.getUint16(place + 30, true) + list.getUint16(place + 32, true);
      if (name.endsWith("/") || name.split("/").some((part) => part.startsWith(".") || part === "__MACOSX")) continue;
      if (flags & 1) throw refuse("is encrypted");
      if (method !== 0 && method !== 8) throw refuse("is compressed in a way that browsers do not know");
      unpacked += size;
      if (unpacked > MOST_BYTES) throw refuse("unpacks to more than 2 GB: send it in parts");
      const head = new DataView(await archive.slice(offset, offset + 30).arrayBuffer());
      const data = offset + 30 + head.getUint16(26, true) + head.getUint16(28, true);
      const content = archive.slice(data, data + packed);
      const bytes = method ? await inflate(content, size) : await content.arrayBuffer();
      found.push({ name, file: new File([bytes], name) });
    }
  } catch (error) {
    if (error instanceof Error && error.message.startsWith(archive.name)) throw error;
    throw refuse("is damaged");
  }
  return found;
}

/** Return the content of a packed file, no more than it is said to have. */
async function inflate(content: Blob, size: number): Promise<Blob> {
  const reader = content.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const parts: BlobPart[] = [];
  let read = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    read += part.value.length;
    if (read > size) throw new RangeError();
    parts.push(part.value as Uint8Array<ArrayBuffer>);
  }
  return new Blob(parts);
}
