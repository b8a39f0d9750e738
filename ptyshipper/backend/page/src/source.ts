/** Where the entries of a log view come from; and how one session is such a source (`merged.ts`: an app). */

import { address, ask, type Session } from "./api.ts";
import type { Entry, EVENTS_ALONE, Page, Stream } from "./entry.ts";
import type { Place } from "./place.ts";
import type { Progress } from "./search.ts";

export interface Filter {
  /** "": all. */
  stream: Stream | typeof EVENTS_ALONE | "";
  /** Its name; "": all pods. */
  pod: string;
}

export type Where = { before: string } | { after: string } | { at: "start" | "end" } | Place | { fraction: number };

export interface Volume {
  begin_us: number;
  end_us: number;
  buckets: { begin_us: number; bytes: number; entries: number }[];
}

/** The entries of a log in one order, by pages, and how to know where in it one is. */
export interface Source {
  readonly isMerged: boolean;
  /** How many entries there are by now, or about. */
  readonly total: number;
  /** What retention has taken from the beginning: the number of the first that is kept. */
  readonly first: number;
  readonly startedUs: number;
  /** Throws what `ask` throws. */
  page(where: Where, limit: number, filter: Filter, signal: AbortSignal): Promise<Page>;
  /** 0: the beginning; 1: the end. */
  fractionOf(entry: Entry): number;
  volume(buckets: number, filter: Filter): Promise<Volume>;
  searchUrl(text: string, isCaseSensitive: boolean, filter: Filter, from: string): string;
  /** How much of the log a search has looked at, from 0 to 1. */
  shareOf(progress: Progress): number;
  /** Behind all that was known of at the last look; null: what comes live is told from now on. */
  readonly endCursor: string | null;
  liveUrl(cursor: string | null, filter: Filter): string;
  /** Where the stream goes on behind what an event told, whose id that is. */
  cursorBehind(entries: Entry[], id: string): string;
  /** A page's cursor behind these entries and `before`. */
  placeBehind(entries: Entry[], before: string): string;
  noteLive(entries: Entry[]): void;
  orderOf(entry: Entry): number;
  /** null: there is no such thing. */
  downloadUrl(format: string): string | null;
}

interface Answer {
  entries: Entry[];
  unfinished: Entry[];
  first: number;
  end: number;
  prev: number | null;
  next: number;
  is_last: boolean;
}

export class SessionSource implements Source {
  readonly isMerged = false;
  first = 0;
  private end = 0;
  startedUs = 0;
  private readonly path: string;
  private early: { url: string; answer: Promise<Answer> } | null = null;

  constructor(id: string) {
    this.path = `/api/sessions/${id}`;
  }

  know(session: Session): void {
    this.startedUs = Date.parse(session.started_at) * 1000;
    this.end = Math.max(this.end, session.entries);
  }

  /** Asks for a page of which it is known that it will be wanted. */
  prefetch(where: Where, limit: number, filter: Filter): void {
    const url = this.pageUrl(where, limit, filter);
    this.early = { url, answer: ask<Answer>(url) };
    this.early.answer.catch(() => null); // who wants it is told
  }

  get total(): number {
    return Math.max(0, this.end - this.first);
  }

  async page(where: Where, limit: number, filter: Filter, signal: AbortSignal): Promise<Page> {
    const url = this.pageUrl(where, limit, filter);
    const early = this.early;
    this.early = null; // before the answer: one that failed must not be given to who tries again
    const answer = await (early?.url === url ? early.answer : ask<Answer>(url, {}, signal));
    this.first = answer.first;
    this.end = Math.max(this.end, answer.end);
    return {
      entries: answer.entries,
      unfinished: answer.unfinished,
      before: answer.prev === null ? null : String(answer.prev),
      after: String(answer.next),
      isLast: answer.is_last,
    };
  }

  private pageUrl(where: Where, limit: number, filter: Filter): string {
    return address(`${this.path}/lines`, { ...this.asked(where, limit), limit, stream: filter.stream });
  }

  private asked(where: Where, limit: number): Record<string, string | number> {
    if ("before" in where) return { before: where.before };
    if ("after" in where) return { from: where.after };
    if ("number" in where) return { from: Math.max(0, where.number - 1) };
    if ("timeUs" in where) return { at: Math.round(where.timeUs) };
    if ("fraction" in where) return { from: this.first + Math.floor(where.fraction * this.total) };
    return where.at === "start" ? { from: 0 } : { tail: limit };
  }

  fractionOf(entry: Entry): number {
    return entry.number === null ? 1 : (entry.number - this.first) / Math.max(1, this.total);
  }

  volume(buckets: number): Promise<Volume> {
    return ask<Volume>(`${this.path}/histogram`, { buckets });
  }

  searchUrl(text: string, isCaseSensitive: boolean, filter: Filter, from: string): string {
    return address(`${this.path}/search`, { q: text, case: isCaseSensitive, stream: filter.stream, from, limit: 10_000 });
  }

  get endCursor(): string {
    return String(this.end);
  }

  shareOf(progress: Progress): number {
    return "all_bytes" in progress && progress.all_bytes ? progress.done_bytes / progress.all_bytes : 0;
  }

  liveUrl(cursor: string | null, filter: Filter): string {
    return address(`${this.path}/lines/live`, { from: cursor, stream: filter.stream });
  }

  cursorBehind(entries: Entry[]): string {
    return String((entries.at(-1)?.number ?? -1) + 1);
  }

  placeBehind(entries: Entry[]): string {
    return this.cursorBehind(entries);
  }

  noteLive(entries: Entry[]): void {
    this.end = Math.max(this.end, (entries.at(-1)?.number ?? -1) + 1);
  }

  orderOf(entry: Entry): number {
    return entry.number ?? Infinity;
  }

  downloadUrl(format: string): string {
    return address(`${this.path}/download`, { format });
  }
}
