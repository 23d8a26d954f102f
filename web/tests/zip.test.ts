import { describe, expect, it } from "vitest";

import { unzip } from "../app/zip";

/** The bytes of an archive with one stored file, written by hand after APPNOTE 6.3.3. */
function archive(name: string, content: string, flags = 0, size = content.length): File {
  const [title, data] = [new TextEncoder().encode(name), new TextEncoder().encode(content)];
  const local = new DataView(new ArrayBuffer(30));
  local.setUint32(0, 0x04034b50, true);
  local.setUint16(26, title.length, true);
  const entry = new DataView(new ArrayBuffer(46));
  entry.setUint32(0, 0x02014b50, true);
  entry.setUint16(8, flags, true);
  entry.setUint32(20, data.length, true);
  entry.setUint32(24, size, true);
  entry.setUint16(28, title.length, true);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(10, 1, true);
  end.setUint32(12, 46 + title.length, true);
  end.setUint32(16, 30 + title.length + data.length, true);
  return new File([local, title, data, entry, title, end], "tiles.zip");
}

describe("an archive", () => {
  it("is unpacked by name", async () => {
    const [found] = await unzip(archive("a/tile.png", "pixels"));
    expect(found!.name).toBe("a/tile.png");
    expect(await found!.file.text()).toBe("pixels");
  });

  it.each(["__MACOSX/a.png", "a/.hidden.png", "folder/"])("leaves out %s", async (name) => {
    expect(await unzip(archive(name, ""))).toEqual([]);
  });

  it("is refused in a sentence where it is encrypted, large, cut off or something else", async () => {
    await expect(unzip(archive("a.png", "x", 1))).rejects.toThrow("tiles.zip is encrypted.");
    await expect(unzip(archive("a.png", "x", 0, 2 ** 32 - 1))).rejects.toThrow("unpacks to more than 2 GB");
    const whole = archive("a.png", "pixels");
    await expect(unzip(new File([whole.slice(20)], "tiles.zip"))).rejects.toThrow("tiles.zip is damaged.");
    await expect(unzip(new File(["hello"], "tiles.zip"))).rejects.toThrow("is no zip archive, or is damaged");
  });
});
