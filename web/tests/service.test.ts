import { describe, expect, it } from "vitest";

import { isPassing, Latest, ServiceError, tooLarge } from "../app/service";

describe("requests to the service", () => {
  it("are sent again where the server may answer the next time", () => {
    for (const status of [0, 408, 500, 503]) expect(isPassing(new ServiceError("x", status))).toBe(true);
    for (const status of [400, 401, 413, 422]) expect(isPassing(new ServiceError("x", status))).toBe(false);
    expect(isPassing(new Error("x"))).toBe(false);
  });

  it("end the ones before of which nobody waits for the answer", () => {
    const asking = new Latest();
    const [first, second] = [asking.next(), asking.next()];
    expect([first.aborted, second.aborted]).toEqual([true, false]);
  });

  it("are not made with a file that the service would refuse", () => {
    const service = { models: [], max_image_bytes: 2 ** 20, max_scene_bytes: 0 };
    expect(tooLarge(new Blob([new Uint8Array(2 ** 20)]), service)).toBeNull();
    expect(tooLarge(new Blob([new Uint8Array(2 ** 20 + 1)]), service)).toBe("is larger than 1 MB: cut it into tiles first");
  });
});
