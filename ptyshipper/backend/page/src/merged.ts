/** Where the entries of an app's log come from: all its pods', in the order of their times. */

import { address, ask, type Session } from "./api.ts";
import type { Entry, Page } from "./entry.ts";
import type { Progress } from "./search.ts";
import type { Filter, Source, Volume, Where } from "./source.ts";

interface Answer {
  entries: Entry[];
  before: string | null;
  after: string;
  is_last: boolean;
  live: number;
}

const LISTED = 1_000;
/** The backend takes so many at once. */
const MOST_CHOSEN = 50;

export class MergedSource implements Source {
  readonly isMerged = true;
  readonly first = 0;
  startedUs = 0;
  /** Behind what the newest page told of, in the order in which entries became readable. */
  endCursor: string | null = null;
  private readonly path: string;
  private sessions: Session[] = [];
  private drawn: Volume | null = null;
  private came = 0;
  /** So many there are at least, whatever the chart knows. */
  private loaded = 0;

  constructor(private readonly app: number) {
    this.path = `/api/app/${app}`;
  }

  /** Looks up the pods. Throws what `ask` throws. */
  async begin(): Promise<void> {
    const { sessions } = await ask<{ sessions: Session[] }>("/api/sessions", { app: this.app, limit: LISTED });
    this.sessions = sessions;
    this.startedUs = Math.min(...sessions.map(({ started_at }) => Date.parse(started_at) * 1000), Date.now() * 1000);
  }

  /** The names of the pods, newest first. */
  get pods(): string[] {
    return [...new Set(this.sessions.map(({ hostname }) => hostname))].filter((name) => name !== "");
  }

  get total(): number {
    const known = this.drawn?.buckets.reduce((sum, bucket) => sum + bucket.entries, 0) ?? 0;
    return Math.max(known + this.came, this.loaded);
  }

  async page(where: Where, limit: number, filter: Filter, signal: AbortSignal): Promise<Page> {
    const asked = { ...this.asked(where), ...this.chosen(filter), limit };
    const answer = await ask<Answer>(`${this.path}/lines`, asked, signal);
    this.endCursor ??= String(answer.live);
    this.loaded = Math.max(this.loaded, answer.entries.length);
    return {
      entries: answer.entries,
      unfinished: [],
      before: answer.before,
      after: answer.after,
      isLast: answer.is_last,
      horizon: answer.live,
    };
  }

  private chosen({ stream, pod }: Filter): Record<string, string> {
    if (!pod) return { stream };
    const ids = this.sessions.filter(({ hostname }) => hostname === pod).map(({ id }) => id);
    // A pod that is not known has no entries; asked for no session, the backend would tell of all.
    return { stream, sessions: ids.slice(0, MOST_CHOSEN).join(",") || "0".repeat(32) };
  }

  private asked(where: Where): Record<string, string | number> {
    if ("before" in where) return { before: where.before };
    if ("after" in where) return { after: where.after };
    if ("number" in where) return { session: where.session ?? "", number: where.number - 1 };
    if ("timeUs" in where) return { at: Math.max(0, Math.round(where.timeUs)) };
    if ("fraction" in where) return { at: this.timeAt(where.fraction) };
    return { from: where.at };
  }

  /** Where so much of all entries is passed. */
  private timeAt(fraction: number): number {
    let left = fraction * this.total;
    for (const { begin_us, entries } of this.drawn?.buckets ?? []) {
      if (left < entries) return Math.round(begin_us + (left / Math.max(1, entries)) * this.bucketUs);
      left -= entries;
    }
    return this.drawn?.end_us ?? 0;
  }

  fractionOf(entry: Entry): number {
    if (this.drawn === null) return 0.5; // nobody knows: the scroll bar has room both ways
    let passed = 0;
    for (const { begin_us, entries } of this.drawn?.buckets ?? []) {
      const share = (entry.time_us - begin_us) / this.bucketUs;
      if (share < 1) return (passed + Math.max(0, share) * entries) / Math.max(1, this.total);
      passed += entries;
    }
    return 1;
  }

  private get bucketUs(): number {
    const { begin_us, end_us, buckets } = this.drawn as Volume;
    return Math.max(1, (end_us - begin_us) / Math.max(1, buckets.length));
  }

  async volume(buckets: number, filter: Filter): Promise<Volume> {
    const { sessions = "" } = this.chosen(filter);
    this.drawn = await ask<Volume>(`${this.path}/histogram`, { buckets, sessions });
    this.came = 0;
    return this.drawn;
  }

  searchUrl(text: string, isCaseSensitive: boolean, filter: Filter, from: string): string {
    return address(`${this.path}/search`, { q: text, case: isCaseSensitive, ...this.chosen(filter), after: from, limit: 10_000 });
  }

  shareOf(progress: Progress): number {
    if (!("time_us" in progress) || !this.drawn) return 0;
    const { begin_us, end_us } = this.drawn;
    return Math.max(0, Math.min(1, (progress.time_us - begin_us) / Math.max(1, end_us - begin_us)));
  }

  liveUrl(cursor: string | null, filter: Filter): string {
    return address(`${this.path}/lines/live`, { after: cursor, ...this.chosen(filter) });
  }

  cursorBehind(_: Entry[], id: string): string {
    return id;
  }

  /** A pod that was cut off delivers late what is early: the last entry need not be the furthest. */
  placeBehind(entries: Entry[], before: string): string {
    return entries.reduce((furthest, { cursor }) => (cursor && isBehind(cursor, furthest) ? cursor : furthest), before);
  }

  noteLive(entries: Entry[]): void {
    this.came += entries.length;
  }

  orderOf(entry: Entry): number {
    return entry.time_us;
  }

  downloadUrl(format: string): string | null {
    return format === "cast" ? null : address(`${this.path}/download`, { format });
  }
}

/** Cursors are time, session and number, in hexadecimal. */
function isBehind(one: string, other: string): boolean {
  const [ones, others] = [one, other].map((cursor) => cursor.split(".").map((part) => Number.parseInt(part, 16)));
  for (let at = 0; at < 3; at++) {
    const difference = (ones?.[at] ?? 0) - (others?.[at] ?? 0);
    if (difference) return difference > 0;
  }
  return false;
}
