/** A recording as it is played: pauses cut short, and what happened marked. Pure. */

import type { CastEvent, Recording } from "./cast.ts";

/** Something that happened and is no output. `ms` is since the recording began, pauses and all. */
export interface Mark {
  ms: number;
  label: string;
}

/** So many are shown: a window that is dragged is resized hundreds of times. */
export const MAX_MARKS = 200;
const ONE_DRAG_MS = 1_000;

export interface Timeline {
  /** What the player takes: output, resizes, and the marks as its own kind of event. */
  events: [ms: number, code: "o" | "r" | "m", data: string][];
  durationMs: number;
  /** Where a moment of the recording is, as it is played; and back. */
  played(ms: number): number;
  recorded(ms: number): number;
}

/** `exit` is the exit in words. Of resizes in one second the last counts. */
export function marksOf(recording: Recording, exit: string): { marks: Mark[]; left: number } {
  const marks: Mark[] = [];
  let resizedMs = -Infinity;
  for (const [ms, code, data] of recording.events) {
    if (code === "o") continue;
    const label = code === "r" ? `resized to ${sizeWords(data)}` : code === "x" ? exit : data;
    const isOneDrag = code === "r" && ms - resizedMs < ONE_DRAG_MS;
    if (code === "r") resizedMs = ms;
    else resizedMs = -Infinity;
    if (isOneDrag) marks[marks.length - 1] = { ms, label };
    else marks.push({ ms, label });
  }
  // The end matters more than the beginning.
  return { marks: marks.slice(-MAX_MARKS), left: Math.max(0, marks.length - MAX_MARKS) };
}

export function sizeWords(size: string): string {
  return size.replace("x", " × ");
}

/** `idleMs` is how long a pause may be; null: as long as it was. */
export function timelineOf(recording: Recording, marks: readonly Mark[], idleMs: number | null): Timeline {
  const { beginMs } = recording;
  const whens: number[] = [beginMs];
  const playedAt: number[] = [0];
  const events: Timeline["events"] = [];
  let [before, shift, next] = [beginMs, beginMs, 0];
  const place = (event: CastEvent | null, ms: number): number => {
    const pause = ms - before;
    if (idleMs !== null && pause > idleMs) shift += pause - idleMs;
    before = ms;
    whens.push(ms);
    playedAt.push(ms - shift);
    if (event && (event[1] === "o" || event[1] === "r")) events.push([ms - shift, event[1], event[2]]);
    return ms - shift;
  };
  for (const event of recording.events) {
    const at = place(event, event[0]);
    for (let mark = marks[next]; mark !== undefined && mark.ms <= event[0]; mark = marks[(next += 1)]) {
      events.push([at, "m", mark.label]);
    }
  }
  const convert = (from: number[], to: number[]) => (ms: number) => {
    let [low, high] = [0, from.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((from[middle] ?? 0) <= ms) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return to[0] ?? 0;
    const [start, there] = [from[low - 1] ?? 0, to[low - 1] ?? 0];
    return Math.min(there + ms - start, to[low] ?? Infinity);
  };
  return {
    events,
    durationMs: playedAt[playedAt.length - 1] ?? 0,
    played: convert(whens, playedAt),
    recorded: convert(playedAt, whens),
  };
}
