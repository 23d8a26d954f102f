/** The ways by which pictures come in: buttons, drop and paste. */

import { byId } from "./view/elements";

export interface Arrived {
  name: string;
  file: File;
}

/** Call `take` with the files of each choice, drop and paste. */
export function listen(take: (files: Arrived[]) => void): void {
  for (const [button, input] of [["open", "files"], ["open-folder", "folder"], ["camera", "photo"]] as const) {
    const field = byId<HTMLInputElement>(input);
    byId(button).addEventListener("click", () => field.click());
    field.addEventListener("change", () => {
      // A file that the user names is read in any case, and one of a folder where it looks like a picture.
      const files = [...(field.files ?? [])].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
      take(input === "folder" ? files.filter(isPicture).sort(byName) : files);
      field.value = ""; // the same file may be chosen again
    });
  }
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files.map((file) => ({ name: file.name || "pasted picture", file })));
  });
  const drop = byId("drop");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    void dropped(event.dataTransfer).then(take);
  });
}

async function dropped(data: DataTransfer | null): Promise<Arrived[]> {
  // Entries have to be read before the first await: the list is empty after the event.
  const entries = [...(data?.items ?? [])].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const found = await Promise.all(entries.map((entry) => walk(entry, entry.isFile)));
  return found.flat();
}

async function walk(entry: FileSystemEntry, named: boolean): Promise<Arrived[]> {
  const name = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return named || isPicture({ name, file }) ? [{ name, file }] : [];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: Arrived[] = [];
  for (;;) {
    // Browsers return a hundred entries at a time.
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) return found.sort(byName);
    for (const each of part) found.push(...(await walk(each, false)));
  }
}

function isPicture({ name, file }: Arrived): boolean {
  const hidden = name.split("/").some((part) => part.startsWith("."));
  return !hidden && (file.type.startsWith("image/") || /\.(tiff?|jp2|j2k)$/i.test(name));
}

function byName(a: Arrived, b: Arrived): number {
  return a.name < b.name ? -1 : 1;
}
