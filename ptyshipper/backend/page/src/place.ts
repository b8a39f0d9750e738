/** What somebody types to go somewhere: the number of a line, or a time. Pure. */

import type { Clock } from "./formats.ts";

export type Place = { number: number; session?: string | null } | { timeUs: number };

/** Times without a date are of the day of `nearUs`; null: it is neither.
 *
 * `12345`, `+1:02:03` (since the start), `12:34`, `12:34:56.789`, `2026-11-25 12:34`, with a Z for UTC.
 */
export function placeOf(typed: string, clock: Clock, nearUs: number, startedUs: number): Place | null {
  const text = typed.trim();
  if (/^#?L?\d{1,15}$/i.test(text.replaceAll(",", ""))) {
    const number = Number(text.replace(/[#L,]/gi, ""));
    return number > 0 ? { number } : null;
  }
  const since = /^\+(?:(\d{1,6}):)?(\d{1,6}):(\d{1,2}(?:\.\d+)?)$/.exec(text);
  if (since) {
    const [, hours, minutes, seconds] = since;
    return { timeUs: startedUs + Math.round(((Number(hours ?? 0) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1e6) };
  }
  const found = /^(?:(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ]+|$))?(?:(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d+)?))?)? ?(Z|UTC)?$/i.exec(text);
  if (!found || (found[1] === undefined && found[4] === undefined)) return null;
  const isUtc = found[7] !== undefined || clock === "utc";
  const near = new Date(nearUs / 1000);
  const [year, month, day] =
    found[1] !== undefined
      ? [Number(found[1]), Number(found[2]) - 1, Number(found[3])]
      : isUtc
        ? [near.getUTCFullYear(), near.getUTCMonth(), near.getUTCDate()]
        : [near.getFullYear(), near.getMonth(), near.getDate()];
  const [hour, minute, second] = [Number(found[4] ?? 0), Number(found[5] ?? 0), Number(found[6] ?? 0)];
  if (hour > 23 || minute > 59 || second >= 60 || month > 11 || day < 1 || day > 31) return null;
  const ms = Math.round(second * 1000);
  const wall = isUtc ? Date.UTC(year, month, day, hour, minute, 0, ms) : new Date(year, month, day, hour, minute, 0, ms).getTime();
  return Number.isFinite(wall) && wall >= 0 ? { timeUs: wall * 1000 } : null;
}
