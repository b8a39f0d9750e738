/** An asciicast (version 3), read line by line into what the player takes. Pure.
 *
 * Our own reader and not the player's, since that one takes a recording whole, of any size and with
 * terminals of any size, and knows no exit.
 */

export const MAX_COLS = 500;
/** A player takes seconds to paint a screen of 1,000 x 1,000. */
export const MAX_ROWS = 200;

export type Code = "o" | "r" | "m" | "x";
/** Milliseconds since the recording began; `r` has COLSxROWS, `x` the exit status. */
export type CastEvent = readonly [ms: number, code: Code, data: string];

export interface Recording {
  cols: number;
  rows: number;
  events: CastEvent[];
  /** The time of the session at which it begins. */
  beginMs: number;
  /** There is more than was read. */
  isCut: boolean;
}

const CODES = new Set<unknown>(["o", "r", "m", "x"]);

export class CastReader {
  readonly events: CastEvent[] = [];
  private cols = 80;
  private rows = 24;
  private rest = "";
  private ms = 0;
  private hasHeader = false;

  /** Any piece of it; throws SyntaxError where it is none. */
  feed(text: string): void {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop() ?? "";
    for (const line of lines) this.line(line);
  }

  /** `isLast`: it begins somewhere in the session; else with it. */
  recording(isCut: boolean, isLast = false): Recording {
    const beginMs = isLast ? (this.events[0]?.[0] ?? 0) : 0;
    return { cols: this.cols, rows: this.rows, events: this.events, beginMs, isCut };
  }

  private line(line: string): void {
    if (!line || line.startsWith("#")) return;
    const told: unknown = JSON.parse(line);
    if (!this.hasHeader) {
      const term = (told as { term?: { cols?: number; rows?: number } }).term;
      this.hasHeader = true;
      [this.cols, this.rows] = clamped(Number(term?.cols), Number(term?.rows));
    } else if (Array.isArray(told) && CODES.has(told[1])) {
      const [interval, code, data] = told as [number, Code, string];
      this.ms += Math.max(0, Number(interval) * 1000 || 0);
      if (code === "r" && this.events.length === 0) {
        // The header has the last size; this is the first.
        [this.cols, this.rows] = sizeOf(data);
        return;
      }
      this.events.push([this.ms, code, code === "r" ? sizeOf(data).join("x") : String(data)]);
    }
  }
}

export function clamped(cols: number, rows: number): [number, number] {
  return [Math.min(Math.max(cols || 80, 1), MAX_COLS), Math.min(Math.max(rows || 24, 1), MAX_ROWS)];
}

function sizeOf(data: string): [number, number] {
  const [cols, rows] = String(data).split("x").map(Number);
  return clamped(cols ?? 0, rows ?? 0);
}
