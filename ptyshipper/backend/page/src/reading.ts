/** What of a log is at hand: loaded pages around where one is, and what comes live behind the last. */

import type { Session } from "./api.ts";
import { Chain, PAGE_ENTRIES } from "./chain.ts";
import type { Entry, Page } from "./entry.ts";
import { type Connection, Live } from "./live.ts";
import type { Filter, Source, Where } from "./source.ts";
import type { ServerEvent } from "./sse.ts";

/** Rows before and behind what is seen that should be there. */
const AHEAD = 250;
const CONTEXT = 200;
const AGAIN_MS = 1_500;
/** So much may come while a page is on its way; what is more is asked for. */
const MOST_PENDING = 20_000;

export interface Listener {
  /** Rows were added, or have gone. */
  changed(): void;
  /** So many came, live. */
  came(entries: Entry[]): void;
  connection(connection: Connection): void;
  /** As it is now, told by the stream. */
  session(session: Session): void;
  /** A page could not be had. null: now it could. */
  trouble(error: unknown): void;
}

export class Reading {
  chain = new Chain();
  private opening = new AbortController();
  private extending: { before: boolean; after: boolean } = { before: false, after: false };
  private pending: Entry[] = [];
  private live: Live | null = null;
  private cursor: string | null = null;
  /** The number of the last entry of each session that the chain has. */
  private last = new Map<string, number>();
  private isTroubled = false;
  private seenTop = 0;

  constructor(
    readonly source: Source,
    public filter: Filter,
    private readonly listener: Listener,
  ) {}

  /** Loads what is around a place, in place of all that was loaded. The index of what is there, or
   * that it is the end; null: another place was asked for meanwhile. Throws what asking throws. */
  async open(where: Where): Promise<number | "end" | null> {
    this.opening.abort();
    const { signal } = (this.opening = new AbortController());
    const ask = (at: Where, limit: number) => this.source.page(at, limit, this.filter, signal);
    try {
      this.pending = [];
      this.extending = { before: false, after: true }; // what comes live waits for the page
      let page = await ask(where, PAGE_ENTRIES);
      const isEdge = "at" in where;
      // Behind the end, or a filter that nothing fits from there on: the end is the nearest.
      const isBehind = page.entries.length === 0 && !isEdge && page.isLast;
      if (isBehind) page = await ask({ at: "end" }, PAGE_ENTRIES);
      const before = isEdge || isBehind || page.before === null ? null : await ask({ before: page.before }, CONTEXT);
      this.chain = new Chain();
      this.last = new Map();
      this.extending = { before: false, after: false };
      this.append(page);
      if (before) this.chain.prepend(before);
      this.settle(page.horizon);
      this.begin(page);
      return isBehind || (isEdge && where.at === "end") ? "end" : 0;
    } catch (error) {
      if (signal.aborted) return null;
      this.extending.after = false;
      throw error;
    }
  }

  /** Loads more where what is seen, from `top` to `bottom`, is near an end of what there is. */
  ensure(top: number, bottom: number): void {
    const { chain } = this;
    if (chain.before !== null && top - chain.begin < AHEAD) void this.extend("before", chain.before);
    if (!chain.isLast && chain.after !== null && chain.end - bottom < AHEAD) void this.extend("after", chain.after);
    this.seenTop = top;
  }

  /** More that follows is on its way. */
  get isExtending(): boolean {
    return this.extending.after;
  }

  stop(): void {
    this.opening.abort();
    this.live?.stop();
    this.live = null;
  }

  /** Another filter: everything anew. */
  refilter(filter: Filter): void {
    this.stop();
    this.filter = filter;
    this.cursor = null;
  }

  private async extend(side: "before" | "after", cursor: string): Promise<void> {
    if (this.extending[side]) return;
    this.extending[side] = true;
    const { signal } = this.opening;
    try {
      const where = side === "before" ? { before: cursor } : { after: cursor };
      const page = await this.source.page(where, PAGE_ENTRIES, this.filter, signal);
      if (signal.aborted) return;
      this.extending[side] = false;
      if (side === "before") this.chain.prepend(page);
      else {
        this.append(page);
        this.settle(page.horizon);
      }
      this.note(null);
      this.listener.changed();
    } catch (error) {
      if (signal.aborted) return;
      this.note(error);
      // Rests meanwhile: who scrolls asks many times a second.
      setTimeout(() => {
        if (signal.aborted) return;
        this.extending[side] = false;
        this.listener.changed();
      }, AGAIN_MS);
    }
  }

  private note(error: unknown): void {
    if (error === null && !this.isTroubled) return;
    this.isTroubled = error !== null;
    this.listener.trouble(error);
  }

  private append(page: Page): void {
    this.chain.append(page);
    this.noteLast(page.entries);
  }

  /** What came live while a page was asked for follows it, if that was the last. */
  private settle(horizon = -1): void {
    const pending = this.pending.filter(({ id }) => (id ?? 0) > horizon);
    this.pending = [];
    if (pending.length) this.grow(pending);
  }

  private grow(entries: Entry[]): void {
    const { chain } = this;
    const isKept = chain.isLast && entries.length < MOST_PENDING && !chain.isNearDrop(this.seenTop);
    if (!isKept) {
      chain.noteMore();
      return;
    }
    const fresh = entries.filter((entry) => (entry.number ?? 0) > (this.last.get(entry.session ?? "") ?? -1));
    if (fresh.length === 0) return;
    chain.grow(fresh, chain.after ?? "", this.source.placeBehind(fresh, chain.after ?? ""));
    this.noteLast(fresh);
  }

  private noteLast(entries: Entry[]): void {
    for (const { session, number } of entries) {
      if (number !== null) this.last.set(session ?? "", Math.max(number, this.last.get(session ?? "") ?? -1));
    }
  }

  private begin(page: Page): void {
    if (this.live) return;
    // From the end of all there is, or of this page, whose end that is.
    this.cursor = page.isLast && page.horizon === undefined ? page.after : this.source.endCursor;
    this.live = new Live(
      () => this.source.liveUrl(this.cursor, this.filter),
      (events) => this.receive(events),
      (connection) => this.listener.connection(connection),
    );
    void this.live.run();
  }

  private receive(events: ServerEvent[]): boolean {
    let isEnd = false;
    for (const { name, data, id } of events) {
      if (name === "entries") this.take(JSON.parse(data) as Entry[], id);
      else if (name === "unfinished") this.chain.unfinished = JSON.parse(data) as Entry[];
      else if (name === "state") this.listener.session(JSON.parse(data) as Session);
      else if (name === "end") {
        this.chain.unfinished = [];
        this.listener.session(JSON.parse(data) as Session);
        isEnd = true;
      } else if (name === "error") throw new TypeError("the backend failed");
    }
    this.listener.changed();
    return isEnd;
  }

  private take(entries: Entry[], id: string): void {
    this.cursor = this.source.cursorBehind(entries, id);
    this.source.noteLive(entries);
    if (this.extending.after) {
      if (this.pending.length < MOST_PENDING) this.pending.push(...entries);
    } else this.grow(entries);
    this.listener.came(entries);
  }
}
