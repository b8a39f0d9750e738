import { deepEqual, equal } from "node:assert/strict";
import { test } from "node:test";
import type { Session } from "../../../ptyshipper/backend/page/src/api.ts";
import * as formats from "../../../ptyshipper/backend/page/src/formats.ts";

test("sizes and durations keep two or three digits", () => {
  deepEqual([0, 999, 1000, 9_949, 9_950, 999_500].map(formats.bytes), ["0 B", "999 B", "1.0 kB", "9.9 kB", "10 kB", "1.0 MB"]);
  deepEqual(
    [-1, 0, 9_900, 59_900, 60_000, 3_600_000, 90_000_000].map(formats.duration),
    ["0 s", "0.0 s", "9.9 s", "60 s", "1 min 0 s", "1 h 0 min", "1 d 1 h"],
  );
});

test("times are UTC, or since the session began", () => {
  const us = Date.UTC(2026, 0, 2, 3, 4, 5, 6) * 1000;
  equal(formats.time(us, "utc", 0, true), "2026-01-02 03:04:05.006");
  equal(formats.time(us, "utc", 0), "03:04:05.006");
  equal(formats.time(us, "relative", us - 61_001_000), "+01:01.001");
  equal(formats.time(us, "relative", us - 3_661_001_999), "+1:01:01.001");
  equal(formats.time(us, "none", 0), "");
});

test("a state says how it ended", () => {
  const of = (fields: Partial<Session>) => formats.stateOf({ state: "exited", exit_code: null, exit_signal: null, ...fields } as Session);
  deepEqual(of({ exit_code: 0 }), { words: "exited 0", mood: "good" });
  deepEqual(of({ exit_code: 3 }), { words: "exited 3", mood: "bad" });
  deepEqual(of({ exit_signal: 9 }), { words: "SIGKILL", mood: "bad" });
  deepEqual(of({ exit_signal: 40 }), { words: "signal 40", mood: "bad" });
  deepEqual(of({ state: "cut" }), { words: "cut off", mood: "odd" });
});
