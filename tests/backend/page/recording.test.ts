import { deepEqual, equal, throws } from "node:assert/strict";
import { test } from "node:test";
import { CastReader, type CastEvent, type Recording } from "../../../ptyshipper/backend/page/src/cast.ts";
import { marksOf, MAX_MARKS, timelineOf } from "../../../ptyshipper/backend/page/src/timeline.ts";

function read(...lines: unknown[]): Recording {
  const reader = new CastReader();
  const text = lines.map((line) => `${typeof line === "string" ? line : JSON.stringify(line)}\n`).join("");
  // In pieces of any size.
  for (let at = 0; at < text.length; at += 7) reader.feed(text.slice(at, at + 7));
  return reader.recording(false);
}

const HEADER = { version: 3, term: { cols: 100, rows: 30 } };

test("a cast is read whatever its pieces", () => {
  const recording = read(HEADER, "# comment", [0.5, "o", "a\n"], [0.25, "r", "90x20"], [0, "i", "x"], [1, "x", "3"]);
  deepEqual([recording.cols, recording.rows], [100, 30]);
  deepEqual(recording.events, [[500, "o", "a\n"], [750, "r", "90x20"], [1750, "x", "3"]]);
});

test("a size before all output is the first, and no size is too much", () => {
  const recording = read(HEADER, [0, "r", "80x24"], [0, "o", "a"], [0, "r", "65535x65535"], [0, "r", "0xNaN"]);
  deepEqual([recording.cols, recording.rows], [80, 24]);
  deepEqual(recording.events.slice(1), [[0, "r", "500x200"], [0, "r", "80x24"]]);
  deepEqual(read({}, [0, "o", "a"]).cols, 80);
});

test("what is no cast is an error, and times never go back", () => {
  throws(() => read("<html>"), SyntaxError);
  deepEqual(read(HEADER, [2, "o", "a"], [-1, "o", "b"], [null, "o", "c"]).events.map(([ms]) => ms), [2000, 2000, 2000]);
});

function recorded(...events: CastEvent[]): Recording {
  return { cols: 80, rows: 24, events, beginMs: 0, isCut: false };
}

test("what happened is marked; of a drag the last size", () => {
  const { marks, left } = marksOf(
    recorded([0, "o", "a"], [100, "r", "1x1"], [200, "r", "2x2"], [300, "m", "SIGTERM sent"], [400, "r", "3x3"], [2000, "x", "0"]),
    "exited 0",
  );
  deepEqual(marks, [
    { ms: 200, label: "resized to 2 × 2" },
    { ms: 300, label: "SIGTERM sent" },
    { ms: 400, label: "resized to 3 × 3" },
    { ms: 2000, label: "exited 0" },
  ]);
  equal(left, 0);
  const many = marksOf(recorded(...Array.from({ length: MAX_MARKS + 5 }, (_, n): CastEvent => [n, "m", String(n)])), "");
  deepEqual([many.left, many.marks.length, many.marks[0]?.label], [5, MAX_MARKS, "5"]);
});

test("pauses are cut short, and moments found again", () => {
  const recording = recorded([0, "o", "a"], [10_000, "m", "gap"], [10_500, "o", "b"], [60_000, "x", "0"]);
  const { marks } = marksOf(recording, "exited 0");
  const whole = timelineOf(recording, marks, null);
  equal(whole.durationMs, 60_000);
  for (const ms of [0, 5_000, 10_000, 60_000]) equal(whole.played(ms), ms);
  const short = timelineOf(recording, marks, 1_000);
  deepEqual(short.events, [[0, "o", "a"], [1_000, "m", "gap"], [1_500, "o", "b"], [2_500, "m", "exited 0"]]);
  equal(short.durationMs, 2_500);
  for (const [ms, played] of [[0, 0], [500, 500], [9_000, 1_000], [10_000, 1_000], [10_250, 1_250], [60_000, 2_500]] as const) {
    equal(short.played(ms), played);
    equal(Math.round(short.played(short.recorded(played))), played);
  }
  equal(short.recorded(2_500), 60_000);
});

test("a recording that begins late is played from there", () => {
  const recording = { ...recorded([500_000, "o", "screen"], [501_000, "o", "b"]), beginMs: 500_000 };
  const late = timelineOf(recording, [], null);
  deepEqual(late.events, [[0, "o", "screen"], [1_000, "o", "b"]]);
  equal(late.durationMs, 1_000);
  deepEqual([0, 500_000, 500_400, 999_999].map(late.played), [0, 0, 400, 499_999]);
  deepEqual([0, 400, 1_000].map(late.recorded), [500_000, 500_400, 501_000]);
});
