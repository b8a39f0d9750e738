/** What a log view is made of, and how its parts go together. */

import type { Session } from "./api.ts";
import { h } from "./dom.ts";
import { type Entry, shownNumber } from "./entry.ts";
import * as formats from "./formats.ts";
import { showTrail } from "./header.ts";
import { Keys } from "./keys.ts";
import type { Connection } from "./live.ts";
import { LogBar, type View } from "./logbar.ts";
import { logKeys } from "./logkeys.ts";
import { LogRows } from "./logrows.ts";
import { Navigation } from "./navigation.ts";
import type { Notice } from "./notice.ts";
import { Reading } from "./reading.ts";
import { remember, remembered } from "./preferences.ts";
import type { Dress } from "./row.ts";
import { Search } from "./search.ts";
import { SearchBar } from "./searchbar.ts";
import { Selection } from "./selection.ts";
import type { Filter, Source, Where } from "./source.ts";
import { troubleOf } from "./troubles.ts";
import { Viewport } from "./viewport.ts";
import { BUCKETS, VolumeChart } from "./volume.ts";

const SAY_EVERY_MS = 5_000;
const VOLUME_EVERY_MS = 5_000;
const NARROW_PX = 800;
const CLOCKS = ["local", "utc", "relative", "none"] as const;

export class LogPage {
  private readonly reading: Reading;
  private readonly viewport: Viewport;
  private readonly navigation: Navigation;
  private readonly selection = new Selection(() => this.viewport.redress());
  private readonly search: Search;
  private readonly searchBar: SearchBar;
  private readonly chart: VolumeChart;
  private readonly bar: LogBar;
  private readonly keys: Keys;
  private readonly empty = h("p", { class: "empty over", hidden: true });
  private readonly place = h("span", { class: "place faint" });
  private readonly said = h("p", { class: "unseen", role: "status" });
  private readonly more = h("button", { type: "button", class: "more", hidden: true });
  private view: View = {
    clock: remembered("clock", CLOCKS),
    isWrapped: remembered("wrap", ["yes", "no"]) === "yes",
    isRaw: false,
  };
  private session: Session | null = null;
  private connection: Connection | null = null;
  /** So many have come since the reader left the end. */
  private waiting = 0;
  private saidMs = 0;
  private volumeDueMs = 1;

  constructor(
    main: HTMLElement,
    private readonly notice: Notice,
    loading: HTMLElement,
    private readonly source: Source,
    filter: Filter,
  ) {
    this.reading = new Reading(source, filter, {
      changed: () => this.viewport.draw(),
      came: (entries) => this.came(entries),
      connection: (connection) => this.connected(connection),
      session: (session) => this.showSession(session),
      trouble: (error) => (error === null ? notice.hide() : notice.show(troubleOf(error))),
    });
    const rows = new LogRows(this.reading, source, () => this.dress());
    this.viewport = new Viewport(rows, () => this.drawn(), (fraction) => void this.navigation.goFar(fraction));
    this.navigation = new Navigation(this.reading, this.viewport, source, notice, loading, () => void this.refreshVolume());
    this.search = new Search(source, () => this.searched());
    this.searchBar = new SearchBar({
      begin: (text, isCaseSensitive) => this.search.begin(text, isCaseSensitive, this.reading.filter),
      step: (direction) => this.step(direction),
      cancel: () => this.search.cancel(),
    });
    this.chart = new VolumeChart((timeUs) => void this.navigation.go({ timeUs }, 0), (us) => this.timeWords(us));
    this.bar = new LogBar(
      {
        follow: () => this.follow(),
        filter: (chosen) => this.refilter(chosen),
        view: (view) => this.redress(view),
        go: (place) => void this.navigation.go(place),
        help: () => this.keys.help(),
        downloadUrl: (format) => source.downloadUrl(format),
        times: () => ({ nearUs: this.seen()?.time_us ?? source.startedUs, startedUs: source.startedUs }),
      },
      this.searchBar.element,
      filter,
      this.view,
      source.isMerged,
    );
    main.append(
      this.bar.element,
      this.chart.element,
      h("div", { class: "stage-log" }, this.viewport.element, this.empty, this.more),
      h("footer", { class: "log-foot" }, this.place),
      this.said,
    );
    this.keys = new Keys(main, this.keyTable());
    this.listen();
  }

  begin(where: Where): void {
    void this.navigation.go(where);
  }

  showSession(session: Session): void {
    const wasDated = this.isDated();
    this.session = session;
    if (this.isDated() !== wasDated) this.viewport.redress();
    this.bar.showSession(session);
    showTrail(session, "log");
    document.title = `${session.command.join(" ").slice(0, 80)} · log · ptyshipper`;
  }

  showPods(pods: readonly string[]): void {
    this.bar.showPods(pods);
  }

  /** The chart, if something has come since, and not too often. */
  async refreshVolume(): Promise<void> {
    if (!this.volumeDueMs || Date.now() < this.volumeDueMs || document.hidden) return;
    this.volumeDueMs = 0;
    try {
      this.chart.show(await this.source.volume(BUCKETS, this.reading.filter));
      this.tellPlace();
    } catch {
      this.volumeDueMs = Date.now() + VOLUME_EVERY_MS;
    }
  }

  private listen(): void {
    const { viewport, navigation, more, selection } = this;
    more.addEventListener("click", () => void navigation.go({ at: "end" }));
    // It lies over the log, and is not to be in the way.
    more.addEventListener("wheel", (event) => viewport.element.scrollBy(0, event.deltaY), { passive: true });
    viewport.element.addEventListener("click", (event) => selection.click(event));
    window.addEventListener("hashchange", () => {
      selection.read();
      const { lines } = selection;
      if (lines) void navigation.go({ number: lines.first, session: lines.session });
    });
    document.addEventListener("visibilitychange", () => viewport.draw());
    setInterval(() => void this.refreshVolume(), VOLUME_EVERY_MS);
  }

  private dress(): Dress {
    return {
      ...this.view,
      isDated: this.isDated(),
      startedUs: this.source.startedUs,
      hasPods: this.source.isMerged,
      hits: this.search.ranges(),
      isSelected: (entry) => this.selection.has(entry),
      isCurrent: (entry) => this.search.isCurrent(entry),
    };
  }

  private drawn(): void {
    const { viewport, reading, navigation } = this;
    reading.ensure(viewport.topIndex, viewport.bottomIndex);
    const isFollowing = viewport.isPinned;
    if (isFollowing) this.waiting = 0;
    this.bar.showFollow(isFollowing);
    this.more.hidden = this.waiting === 0;
    if (this.waiting) this.more.textContent = `↓ ${formats.count(this.waiting)} new ${this.waiting === 1 ? "line" : "lines"}`;
    this.tellPlace();
    this.tellEmpty();
    // More came than was kept, as behind a window that nobody saw.
    if (isFollowing && navigation.isLoaded && !reading.chain.isLast && !reading.isExtending) void navigation.go({ at: "end" });
  }

  private tellPlace(): void {
    const [first, last] = [this.seen(), this.seen(true)];
    let words = "";
    if (first && last) {
      words = formats.time(first.time_us, this.view.clock === "utc" ? "utc" : "local", 0, true).slice(0, 10);
      if (first.number !== null && last.number !== null && !this.source.isMerged) {
        const [from, to, all] = [shownNumber(first.number), shownNumber(last.number), this.source.first + this.source.total];
        words += ` · ${formats.count(from)}–${formats.count(to)} of ${formats.count(all)}`;
      }
      this.chart.showSeen(first.time_us, last.time_us);
    }
    if (this.place.textContent !== words) this.place.textContent = words;
  }

  /** The first or the last complete entry in the window. */
  private seen(isLast = false): Entry | undefined {
    const { chain } = this.reading;
    const { topIndex, bottomIndex } = this.viewport;
    if (!isLast) return chain.at(Math.max(topIndex, chain.begin));
    return chain.at(Math.min(bottomIndex, chain.end) - 1);
  }

  private tellEmpty(): void {
    const { chain, filter } = this.reading;
    const isEmpty = this.navigation.isLoaded && chain.shownEnd === chain.begin && chain.isLast;
    this.empty.hidden = !isEmpty;
    if (!isEmpty) return;
    let words = "Nothing has been printed yet.";
    if (filter.stream || filter.pod) words = "No line fits these filters.";
    else if (this.connection?.state === "ended") words = "It ended without having printed anything.";
    if (this.empty.textContent !== words) this.empty.textContent = words;
  }

  private came(entries: Entry[]): void {
    this.volumeDueMs ||= Date.now() + VOLUME_EVERY_MS;
    this.search.offer(entries);
    if (this.viewport.isPinned) return;
    this.waiting += entries.length;
    if (Date.now() - this.saidMs < SAY_EVERY_MS) return; // more would be shouting
    this.saidMs = Date.now();
    this.said.textContent = `${formats.count(this.waiting)} new lines wait`;
  }

  private connected(connection: Connection): void {
    const before = this.connection?.state;
    this.connection = connection;
    this.bar.showConnection(connection);
    if (connection.state === "waiting" || connection.state === "refused") this.notice.show(troubleOf(connection.error));
    else if (before === "waiting" || before === "refused") this.notice.hide();
    this.viewport.draw();
  }

  private follow(): void {
    if (this.viewport.isPinned) {
      this.viewport.unpin();
      this.viewport.draw();
    } else void this.navigation.go({ at: "end" });
  }

  private refilter(filter: Filter): void {
    const seen = this.viewport.isPinned ? undefined : this.seen();
    this.reading.refilter(filter);
    const query = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(filter)) value ? query.set(name, value) : query.delete(name);
    history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
    this.search.begin(this.search.text, this.search.isCaseSensitive, filter);
    this.volumeDueMs = 1;
    void this.navigation.go(seen ? { timeUs: seen.time_us } : { at: "end" }, 0);
  }

  private redress(view: View): void {
    this.view = view;
    remember("clock", view.clock);
    remember("wrap", view.isWrapped ? "yes" : "no");
    const { element } = this.viewport;
    element.classList.toggle("wrapped", view.isWrapped);
    if (view.isWrapped) element.scrollLeft = 0;
    this.viewport.redress();
  }

  private searched(): void {
    this.searchBar.show(this.search);
    this.viewport.redress();
    // The first that is found from here on is shown as soon as it is known.
    const { hits, current, state } = this.search;
    const isBehind = (hits.at(-1)?.order ?? -1) >= this.here();
    if (current < 0 && hits.length && (state !== "running" || isBehind)) this.step(1);
  }

  private step(direction: 1 | -1): void {
    const hit = this.search.step(direction, this.here());
    if (hit) void this.navigation.go({ number: shownNumber(hit.number), session: hit.session ?? null });
  }

  /** From the lines that are pointed at, where they are seen; else from the first that is. */
  private async goEvent(direction: 1 | -1): Promise<void> {
    const from = this.viewport.entries().find((entry) => this.selection.has(entry)) ?? this.seen();
    if (!from) return;
    try {
      const event = await this.navigation.findEvent(from, direction);
      if (event === null || event.number === null) {
        this.said.textContent = direction > 0 ? "No event follows" : "No event is before";
        return;
      }
      const [number, session] = [shownNumber(event.number), event.session ?? null];
      this.selection.set({ session, first: number, last: number });
      await this.navigation.go({ number, session });
    } catch (error) {
      this.notice.show(troubleOf(error));
    }
  }

  private here(): number {
    const seen = this.seen();
    return seen ? this.source.orderOf(seen) : 0;
  }

  private timeWords(us: number): string {
    const clock = this.view.clock === "none" ? "local" : this.view.clock;
    return formats.time(us, clock, this.source.startedUs, this.isDated());
  }

  /** Days are told where there is more than one, and room for it. */
  private isDated(): boolean {
    if (innerWidth <= NARROW_PX) return false;
    const now = this.session?.ended_at ? Date.parse(this.session.ended_at) : Date.now();
    return new Date(this.source.startedUs / 1000).toDateString() !== new Date(now).toDateString();
  }

  private escape(): void {
    if (this.search.state === "running") this.search.cancel();
    else if (this.search.text) {
      this.searchBar.clear();
      this.search.begin("", false, this.reading.filter);
    } else if (this.selection.lines) this.selection.set(null);
    this.viewport.element.focus({ preventScroll: true });
  }

  private keyTable() {
    const actions = {
      find: () => this.searchBar.focus(),
      step: (direction: 1 | -1) => this.step(direction),
      follow: () => this.follow(),
      event: (direction: 1 | -1) => void this.goEvent(direction),
      first: () => void this.navigation.go({ at: "start" }, 0),
      last: () => void this.navigation.go({ at: "end" }),
      askPlace: () => this.bar.askPlace(),
      toggleWrap: () => this.bar.toggleWrap(),
      toggleRaw: () => this.bar.toggleRaw(),
      escape: () => this.escape(),
    };
    return logKeys(actions, this.viewport);
  }
}
