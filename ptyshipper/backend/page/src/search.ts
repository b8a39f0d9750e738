/** A text looked for in a whole log, by the backend; hits come while it looks. */

import { pieces, textOf } from "./ansi.ts";
import { open } from "./api.ts";
import type { Entry } from "./entry.ts";
import type { Filter, Source } from "./source.ts";

/** So many places are kept; the count says that there are more. */
const MOST_HITS = 10_000;
const MOST_OFFERED = 20_000;

export interface Hit {
  number: number;
  session: string | undefined;
  order: number;
}

export type SearchState = "idle" | "running" | "complete" | "full" | "failed";

/** How far a search has come: by bytes, or by time. */
export type Progress = { done_bytes: number; all_bytes: number } | { time_us: number };
type Told = { hit: Entry } | { progress: Progress } | { end: { reason: string; next: number | string } } | { error: string };

export class Search {
  hits: Hit[] = [];
  /** Which of them one is at; -1: none. */
  current = -1;
  state: SearchState = "idle";
  error: unknown = null;
  /** 0 to 1. */
  progress = 0;
  text = "";
  isCaseSensitive = false;
  private aborting = new AbortController();
  private found = new Set<string>();
  /** What came live while the backend looked: it may have passed the place. */
  private offered: Entry[] = [];

  constructor(
    private readonly source: Source,
    private readonly changed: () => void,
  ) {}

  /** "": ends it, and forgets what was found. */
  begin(text: string, isCaseSensitive: boolean, filter: Filter): void {
    this.cancel();
    this.text = text;
    this.isCaseSensitive = isCaseSensitive;
    this.hits = [];
    this.found = new Set();
    this.offered = [];
    this.current = -1;
    this.progress = 0;
    this.error = null;
    this.state = text ? "running" : "idle";
    this.changed();
    if (text) void this.run(filter);
  }

  /** What was found stays. */
  cancel(): void {
    this.aborting.abort();
    this.aborting = new AbortController();
    if (this.state === "running") {
      this.state = "full";
      this.changed();
    }
  }

  /** Where in a line as it is seen the text is. */
  ranges(): ((text: string) => [number, number][]) | null {
    return this.text ? finder(this.text, this.isCaseSensitive) : null;
  }

  /** The hit after or before the one that one is at, or else after or before `order`; around the ends. */
  step(direction: 1 | -1, order: number): Hit | null {
    if (this.hits.length === 0) return null;
    if (this.current >= 0) this.current = (this.current + direction + this.hits.length) % this.hits.length;
    else {
      const behind = this.hits.findIndex((hit) => hit.order >= order);
      if (direction > 0) this.current = behind < 0 ? 0 : behind;
      else this.current = (behind < 0 ? this.hits.length : behind) - 1;
      if (this.current < 0) this.current = this.hits.length - 1;
    }
    this.changed();
    return this.hits[this.current] ?? null;
  }

  isCurrent(entry: Entry): boolean {
    const hit = this.hits[this.current];
    return hit !== undefined && hit.number === entry.number && hit.session === entry.session;
  }

  /** What has come live since: the backend has looked at all before. */
  offer(entries: Entry[]): void {
    if (this.state === "running" && this.offered.length < MOST_OFFERED) this.offered.push(...entries);
    const ranges = this.ranges();
    if (this.state !== "complete" || !ranges) return;
    const found = entries.filter((entry) => ranges(textOf(pieces(entry.text))).length > 0);
    if (found.length === 0) return;
    for (const entry of found) this.add(entry);
    this.changed();
  }

  private add(entry: Entry): void {
    if (entry.number === null || this.hits.length >= MOST_HITS) return;
    const key = `${entry.session}.${entry.number}`;
    if (this.found.has(key)) return; // by both ways
    this.found.add(key);
    this.hits.push({ number: entry.number, session: entry.session, order: this.source.orderOf(entry) });
  }

  private async run(filter: Filter): Promise<void> {
    const { signal } = this.aborting;
    let from = "";
    try {
      for (;;) {
        const end = await this.look(from, filter, signal);
        if (end.reason === "complete") this.state = "complete";
        else if (end.reason === "hits" || this.hits.length >= MOST_HITS) this.state = "full";
        else {
          from = String(end.next);
          continue; // a minute was not enough
        }
        break;
      }
    } catch (error) {
      if (signal.aborted) return;
      this.state = "failed";
      this.error = error;
    }
    const { offered } = this;
    this.offered = [];
    this.offer(offered);
    this.changed();
  }

  private async look(from: string, filter: Filter, signal: AbortSignal): Promise<{ reason: string; next: number | string }> {
    const response = await open(this.source.searchUrl(this.text, this.isCaseSensitive, filter, from), signal);
    if (!response.body) throw new TypeError("no answer");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (signal.aborted) throw new DOMException("another search", "AbortError");
      if (done) throw new TypeError("the search broke off");
      const lines = (rest + value).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const told = JSON.parse(line) as Told;
        if ("hit" in told) this.add(told.hit);
        else if ("progress" in told) this.progress = this.source.shareOf(told.progress);
        else if ("end" in told) return told.end;
        else throw new TypeError(told.error);
      }
      this.changed();
    }
  }
}

/** Finds a text as it is written: no character of it means anything. */
export function finder(text: string, isCaseSensitive: boolean): (line: string) => [number, number][] {
  // A hyphen is left alone: outside of a class the flag v refuses it with a backslash.
  const literal = text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  const pattern = new RegExp(literal, isCaseSensitive ? "gv" : "giv");
  return (line) => Array.from(line.matchAll(pattern), (found) => [found.index, found.index + found[0].length]);
}
