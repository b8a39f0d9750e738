/** The log view: what it is made of, and how its parts go together. */

import { pieces, textOf } from "./ansi.ts";
import { ask, type Session } from "./api.ts";
import { h } from "./dom.ts";
import { type Entry, type Stream, STREAMS, shownNumber } from "./entry.ts";
import * as formats from "./formats.ts";
import { PAGE_ENTRIES } from "./chain.ts";
import { showTrail } from "./header.ts";
import { Keys } from "./keys.ts";
import type { Connection } from "./live.ts";
import { LogBar, type View } from "./logbar.ts";
import { Notice } from "./notice.ts";
import { hashOf, type Lines, linesOf } from "./permalink.ts";
import { Reading } from "./reading.ts";
import { remember, remembered } from "./preferences.ts";
import type { Source as Route } from "./router.ts";
import { rowOf } from "./row.ts";
import { Search } from "./search.ts";
import { SearchBar } from "./searchbar.ts";
import { type Filter, SessionSource, type Source, type Where } from "./source.ts";
import { troubleOf } from "./troubles.ts";
import { Viewport } from "./viewport.ts";
import { BUCKETS, VolumeChart } from "./volume.ts";

const AGAIN_MS = 1_500;
const SAY_EVERY_MS = 5_000;
const VOLUME_EVERY_MS = 5_000;
const NARROW_PX = 800;
const CLOCKS = ["local", "utc", "relative", "none"] as const;
/** Something looked for is shown with what is before it. */
const CONTEXT_SHARE = 0.3;

export function showLog(main: HTMLElement, route: Route): void {
  document.title = "Log · ptyshipper";
  const notice = new Notice();
  const loading = h("p", { class: "loading" }, "Loading the log…");
  main.replaceChildren(h("h1", { class: "unseen" }, "Log"), notice.element, loading);
  const begin = async () => {
    try {
      if (!("session" in route)) throw new TypeError("no such view");
      const source = new SessionSource(route.session);
      // What is there first of all does not wait for who it is of.
      source.prefetch(placeAsked(), PAGE_ENTRIES, filterOf(location.search));
      const session = await ask<Session>(`/api/sessions/${route.session}`);
      notice.hide();
      source.know(session);
      const page = new LogPage(main, notice, loading, source);
      page.showSession(session);
      page.begin();
    } catch (error) {
      const trouble = troubleOf(error);
      notice.show(trouble);
      loading.hidden = !trouble.passes;
      if (trouble.passes) setTimeout(() => void begin(), AGAIN_MS);
    }
  };
  void begin();
}

class LogPage {
  private readonly reading: Reading;
  private readonly viewport: Viewport;
  private readonly search: Search;
  private readonly searchBar: SearchBar;
  private readonly chart: VolumeChart;
  private readonly bar: LogBar;
  private readonly keys: Keys;
  private readonly empty = h("p", { class: "empty over", hidden: true });
  private readonly place = h("span", { class: "place faint" });
  private readonly said = h("p", { class: "unseen", role: "status" });
  private readonly more = h("button", { type: "button", class: "more", hidden: true });
  private view: View = { clock: remembered("clock", CLOCKS), isWrapped: remembered("wrap", ["yes", "no"]) === "yes", isRaw: false };
  private session: Session | null = null;
  private connection: Connection | null = null;
  private selected: Lines | null = linesOf(location.hash);
  private waiting = 0;
  private saidMs = 0;
  private isLoaded = false;
  private asked = 0;
  private far: { fraction: number | null; isBusy: boolean } = { fraction: null, isBusy: false };
  private volumeDueMs = 0;

  constructor(
    main: HTMLElement,
    private readonly notice: Notice,
    private readonly loading: HTMLElement,
    private readonly source: Source,
  ) {
    this.reading = new Reading(source, {
      changed: () => this.viewport.draw(),
      came: (entries) => this.came(entries),
      connection: (connection) => this.connected(connection),
      session: (session) => this.showSession(session),
      trouble: (error) => (error === null ? this.notice.hide() : this.notice.show(troubleOf(error))),
    });
    this.reading.filter = filterOf(location.search);
    this.viewport = new Viewport(this.rows(), () => this.drawn(), (fraction) => void this.goFar(fraction));
    this.search = new Search(source, () => this.searched());
    this.searchBar = new SearchBar({
      begin: (text, isCaseSensitive) => this.search.begin(text, isCaseSensitive, this.reading.filter),
      step: (direction) => this.step(direction),
      cancel: () => this.search.cancel(),
      leave: () => this.viewport.element.focus(),
    });
    this.chart = new VolumeChart(
      (timeUs) => void this.go({ timeUs }, 0),
      (us) => formats.time(us, this.view.clock === "none" ? "local" : this.view.clock, source.startedUs, this.isDated()),
    );
    this.bar = new LogBar(
      {
        follow: () => this.follow(),
        filter: (filter) => this.refilter(filter),
        view: (view) => this.redress(view),
        go: (place) => void this.go(place),
        help: () => this.keys.help(),
        downloadUrl: (format) => source.downloadUrl(format),
        times: () => ({ nearUs: this.seen()?.time_us ?? source.startedUs, startedUs: source.startedUs }),
      },
      this.searchBar.element,
      this.reading.filter,
      this.view,
      source.isMerged,
    );
    this.more.addEventListener("click", () => void this.go({ at: "end" }));
    const { element } = this.viewport;
    // It lies over the log, and is not to be in the way.
    this.more.addEventListener("wheel", (event) => element.scrollBy(0, event.deltaY), { passive: true });
    element.addEventListener("click", (event) => this.clicked(event));
    main.append(
      this.bar.element,
      this.chart.element,
      h("div", { class: "stage-log" }, element, this.empty, this.more),
      h("footer", { class: "log-foot" }, this.place),
      this.said,
    );
    main.prepend(...main.querySelectorAll("h1"));
    this.keys = new Keys(main, this.keyTable());
    window.addEventListener("hashchange", () => this.goLinked());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.viewport.isPinned && !this.reading.chain.isLast) void this.go({ at: "end" });
    });
    setInterval(() => this.refreshVolume(), VOLUME_EVERY_MS);
  }

  begin(): void {
    if (this.selected) this.goLinked();
    else void this.go({ at: "end" });
  }

  showSession(session: Session): void {
    const wasDated = this.isDated();
    this.session = session;
    if (this.isDated() !== wasDated) this.viewport.redress();
    this.bar.showSession(session);
    showTrail(session, "log");
    document.title = `${session.command.join(" ").slice(0, 80)} · log · ptyshipper`;
  }

  /** To a place: with what is before it, and marked where it is a line. */
  private async go(where: Where, share = CONTEXT_SHARE): Promise<void> {
    const asked = ++this.asked;
    const here = "number" in where && !this.source.isMerged ? this.indexOf(where.number) : null;
    if (here !== null) {
      this.viewport.show(here, share);
      return;
    }
    try {
      if (!this.isLoaded) this.loading.hidden = false;
      const index = await this.reading.open(where);
      if (index === null) return;
      if (!this.isLoaded) this.volumeDueMs = 1; // the lines come first
      this.isLoaded = this.loading.hidden = true;
      this.notice.hide();
      this.viewport.reset();
      if (index === "end") this.viewport.showEnd();
      else this.viewport.show(index, share);
      this.tellMissing(where);
      this.refreshVolume();
    } catch (error) {
      const trouble = troubleOf(error);
      this.notice.show(trouble);
      this.loading.hidden = true;
      if (trouble.passes) setTimeout(() => asked === this.asked && void this.go(where, share), AGAIN_MS);
      else this.reading.stop();
    }
  }

  private async goFar(fraction: number): Promise<void> {
    this.far.fraction = fraction;
    if (this.far.isBusy) return; // where the bar is by then, is asked for next
    this.far.isBusy = true;
    while (this.far.fraction !== null) {
      const wanted = this.far.fraction;
      this.far.fraction = null;
      if (wanted >= 1) await this.go({ at: "end" });
      else await this.go(wanted <= 0 ? { at: "start" } : { fraction: wanted }, 0);
    }
    this.far.isBusy = false;
  }

  private goLinked(): void {
    this.selected = linesOf(location.hash);
    if (this.selected) void this.go({ number: this.selected.first });
    this.viewport.redress();
  }

  private tellMissing(where: Where): void {
    if (!("number" in where) || this.source.isMerged) return;
    const { first, total } = this.source;
    const [least, most] = [shownNumber(first), first + total];
    if (where.number < least) this.notice.show(notKept(where.number, `The first that is kept is ${formats.count(least)}.`));
    else if (where.number > most) this.notice.show(notKept(where.number, total ? `The last is ${formats.count(most)}.` : "There are none yet."));
  }

  /** Where a line is among those loaded. */
  private indexOf(number: number): number | null {
    const { chain } = this.reading;
    const first = chain.at(chain.begin);
    if (!first || first.number === null || shownNumber(first.number) > number) return null;
    return chain.find((entry) => entry.number !== null && shownNumber(entry.number) >= number);
  }

  private rows() {
    const page = this;
    const trimmed = new WeakMap<object, Entry>();
    const isTrimmed = () => !page.source.isMerged && page.source.first > 0 && page.reading.chain.before === null && page.reading.chain.length > 0;
    const notice = (): Entry => {
      const { chain } = page.reading;
      const found = trimmed.get(chain) ?? {
        number: null,
        time_us: chain.at(chain.begin)?.time_us ?? 0,
        kind: "gap" as const,
        text: `lines before ${formats.count(shownNumber(page.source.first))} were kept for their time and are gone`,
      };
      trimmed.set(chain, found);
      return found;
    };
    return {
      get begin() {
        return page.reading.chain.begin - (isTrimmed() ? 1 : 0);
      },
      get end() {
        return page.reading.chain.shownEnd;
      },
      get hasBefore() {
        return page.reading.chain.before !== null;
      },
      get hasAfter() {
        return !page.reading.chain.isLast;
      },
      get total() {
        return page.source.total;
      },
      at: (index: number) => (index < page.reading.chain.begin ? notice() : page.reading.chain.shown(index)),
      make: (entry: Entry) =>
        rowOf(entry, {
          ...page.view,
          isDated: page.isDated(),
          startedUs: page.source.startedUs,
          podOf: page.source.podOf,
          hits: page.search.ranges(),
          isSelected: (each) => page.isSelected(each),
          isCurrent: (each) => page.search.isCurrent(each),
        }),
      fractionOf: (index: number) => {
        const entry = page.reading.chain.at(Math.max(index, page.reading.chain.begin));
        return entry ? page.source.fractionOf(entry) : 1;
      },
    };
  }

  private drawn(): void {
    const { viewport, reading } = this;
    reading.ensure(viewport.topIndex, viewport.bottomIndex);
    const isFollowing = viewport.isPinned;
    if (isFollowing) this.waiting = 0;
    this.bar.showFollow(isFollowing);
    this.more.hidden = this.waiting === 0;
    if (this.waiting) this.more.textContent = `↓ ${formats.count(this.waiting)} new ${this.waiting === 1 ? "line" : "lines"}`;
    this.tellPlace();
    this.tellEmpty();
    if (isFollowing && this.isLoaded && !reading.chain.isLast && !reading.isExtending) void this.go({ at: "end" });
  }

  private tellPlace(): void {
    const [first, last] = [this.seen(), this.seen(true)];
    let words = "";
    if (first && last && first.number !== null && last.number !== null && !this.source.isMerged) {
      const day = formats.time(first.time_us, this.view.clock === "utc" ? "utc" : "local", 0, true).slice(0, 10);
      words = `${day} · ${formats.count(shownNumber(first.number))}–${formats.count(shownNumber(last.number))} of ${formats.count(this.source.first + this.source.total)}`;
    }
    if (this.place.textContent !== words) this.place.textContent = words;
    if (first && last) this.chart.showSeen(first.time_us, last.time_us);
  }

  /** The first or last numbered entry in the window. */
  private seen(isLast = false): Entry | undefined {
    const { chain } = this.reading;
    const { topIndex, bottomIndex } = this.viewport;
    if (!isLast) return chain.at(Math.max(topIndex, chain.begin));
    return chain.at(Math.min(bottomIndex - 2, chain.end - 1)) ?? chain.at(chain.end - 1);
  }

  private tellEmpty(): void {
    const { chain, filter } = this.reading;
    const isEmpty = this.isLoaded && chain.shownEnd === chain.begin && chain.isLast;
    this.empty.hidden = !isEmpty;
    if (!isEmpty) return;
    const isOver = this.connection?.state === "ended";
    const words = filter.stream || filter.pod ? "No line fits these filters." : isOver ? "It ended without having printed anything." : "Nothing has been printed yet.";
    if (this.empty.textContent !== words) this.empty.textContent = words;
  }

  private came(entries: Entry[]): void {
    this.volumeDueMs ||= Date.now() + VOLUME_EVERY_MS;
    this.search.offer(entries, (entry) => textOf(pieces(entry.text)));
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
    } else void this.go({ at: "end" });
  }

  private refilter(filter: Filter): void {
    const seen = this.seen();
    const wasPinned = this.viewport.isPinned;
    this.reading.refilter(filter);
    const query = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(filter)) value ? query.set(name, value) : query.delete(name);
    history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
    this.search.begin(this.search.text, this.search.isCaseSensitive, filter);
    void this.go(wasPinned || !seen ? { at: "end" } : { timeUs: seen.time_us }, 0);
  }

  private redress(view: View): void {
    this.view = view;
    remember("clock", view.clock);
    remember("wrap", view.isWrapped ? "yes" : "no");
    const { element } = this.viewport;
    element.classList.toggle("wrapped", view.isWrapped);
    element.classList.toggle("timeless", view.clock === "none");
    if (view.isWrapped) element.scrollLeft = 0;
    this.viewport.redress();
  }

  private searched(): void {
    this.searchBar.show(this.search);
    this.viewport.redress();
    // The first that is found from here on is shown as soon as it is known.
    const { hits, current, state } = this.search;
    const here = this.here();
    if (current < 0 && hits.length && (state !== "running" || (hits.at(-1)?.order ?? 0) >= here)) this.step(1);
  }

  private step(direction: 1 | -1): void {
    const hit = this.search.step(direction, this.here());
    if (hit) void this.go(this.source.isMerged ? { timeUs: hit.timeUs } : { number: shownNumber(hit.number) });
  }

  private here(): number {
    const seen = this.seen();
    return seen ? this.source.orderOf(seen) : 0;
  }

  /** Days are told where there is more than one, and room for it. */
  private isDated(): boolean {
    if (innerWidth <= NARROW_PX) return false;
    const now = this.session?.ended_at ? Date.parse(this.session.ended_at) : Date.now();
    return new Date(this.source.startedUs / 1000).toDateString() !== new Date(now).toDateString();
  }

  private isSelected({ session, number }: Entry): boolean {
    const lines = this.selected;
    if (!lines || number === null || (session ?? null) !== lines.session) return false;
    return shownNumber(number) >= lines.first && shownNumber(number) <= lines.last;
  }

  private clicked(event: MouseEvent): void {
    const link = event.target instanceof Element ? event.target.closest<HTMLAnchorElement>("a.no") : null;
    if (!link || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const clicked = linesOf(link.hash);
    if (!clicked) return;
    const from = event.shiftKey && this.selected?.session === clicked.session ? this.selected : clicked;
    this.select({ session: clicked.session, first: Math.min(from.first, clicked.first), last: Math.max(from === clicked ? 0 : from.first, clicked.last) });
    if (event.shiftKey) getSelection()?.removeAllRanges();
  }

  private select(lines: Lines | null): void {
    this.selected = lines;
    history.replaceState(null, "", `${location.pathname}${location.search}${lines ? hashOf(lines) : ""}`);
    this.viewport.redress();
  }

  private refreshVolume(): void {
    if (!this.volumeDueMs || Date.now() < this.volumeDueMs || document.hidden) return;
    this.volumeDueMs = 0;
    this.source.volume(BUCKETS, new AbortController().signal).then(
      (volume) => {
        this.chart.show(volume);
        this.tellPlace();
      },
      () => (this.volumeDueMs = Date.now() + VOLUME_EVERY_MS),
    );
  }

  private escape(): void {
    const isSearching = this.search.text !== "";
    if (this.search.state === "running") this.search.cancel();
    else if (isSearching) {
      this.searchBar.input.value = "";
      this.search.begin("", false, this.reading.filter);
    } else if (this.selected) this.select(null);
    this.viewport.element.focus({ preventScroll: true });
  }

  private keyTable() {
    const { viewport, searchBar, bar } = this;
    const page = () => viewport.height - 2 * viewport.lineHeight;
    const aside = (px: number) => () => (viewport.element.scrollLeft += px);
    const find = () => searchBar.focus();
    return [
      { keys: ["/"], words: "search", run: find },
      { keys: ["f"], words: "search", run: find, isControl: true },
      { keys: ["n"], words: "next hit", run: () => this.step(1) },
      { keys: ["N"], words: "previous hit", run: () => this.step(-1) },
      { keys: ["f"], words: "follow, or stop it", run: () => this.follow() },
      { keys: ["g", "Home"], words: "first line", run: () => void this.go({ at: "start" }, 0) },
      { keys: ["G", "End"], words: "last line", run: () => void this.go({ at: "end" }) },
      { keys: ["t"], words: "go to a line or a time", run: () => bar.askPlace() },
      { keys: ["ArrowUp", "k"], words: "a line up", run: () => viewport.move(-viewport.lineHeight) },
      { keys: ["ArrowDown", "j"], words: "a line down", run: () => viewport.move(viewport.lineHeight) },
      { keys: ["ArrowLeft"], words: "to the left", run: aside(-80) },
      { keys: ["ArrowRight"], words: "to the right", run: aside(80) },
      { keys: ["PageUp"], words: "a page up", run: () => viewport.move(-page()) },
      { keys: ["PageDown", " "], words: "a page down", run: () => viewport.move(page()) },
      { keys: ["w"], words: "wrap long lines, or not", run: () => bar.toggleWrap() },
      { keys: ["r"], words: "lines as they were written, or not", run: () => bar.toggleRaw() },
      { keys: ["Escape"], words: "end the search, or the selection", run: () => this.escape() },
    ];
  }
}

/** What the address names; else the end. */
function placeAsked(): Where {
  const lines = linesOf(location.hash);
  return lines ? { number: lines.first } : { at: "end" };
}

function notKept(number: number, help: string) {
  return { title: `There is no line ${formats.count(number)}`, help, passes: true };
}

function filterOf(query: string): Filter {
  const asked = new URLSearchParams(query);
  const stream = STREAMS.find((name) => name === asked.get("stream")) ?? "";
  return { stream: stream satisfies Stream | "", pod: asked.get("pod") ?? "" };
}
