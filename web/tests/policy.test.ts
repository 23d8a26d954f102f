import { describe, expect, it } from "vitest";

import page from "../index.html?raw";
import worker from "../src/sw.ts?raw";

const policy = page.match(/content="(default-src[^"]+)"/)![1]!;

describe("the content security policy", () => {
  it("lets no script in but the page's own", () => {
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self' 'wasm-unsafe-eval';");
    expect(policy).not.toMatch(/unsafe-inline|unsafe-eval'.*unsafe-eval|http|\*/);
  });

  it("is the one that the service worker sends for workers", () => {
    const sent = worker.match(/const POLICY =([^;]|;[^\n])+;/)![0];
    expect([...sent.matchAll(/"([^"]*)"/g)].map((part) => part[1]).join("")).toBe(policy);
  });

  it("needs no exception: the page has no inline scripts, handlers or styles", () => {
    expect(page).not.toMatch(/<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style/);
  });
});
