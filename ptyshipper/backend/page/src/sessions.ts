/** The sessions, newest first, as they are now; what is asked for stands in the address. */

import { address, type Session } from "./api.ts";
import { h } from "./dom.ts";
import * as formats from "./formats.ts";
import { type Connection, Live } from "./live.ts";
import { Notice } from "./notice.ts";
import { appPath, sessionPath, terminalPath } from "./router.ts";
import type { ServerEvent } from "./sse.ts";
import { troubleOf } from "./troubles.ts";

/** What an event tells: those that changed, and the order of all where it is another. */
interface Told {
  sessions: Session[];
  ids: string[] | null;
  next: number | null;
}

const FILTERS = ["app", "deployment", "hostname", "state", "type"] as const;
const STATES = [
  ["", "any state"], ["running", "running"], ["succeeded", "exited 0"], ["failed", "failed"],
  ["cut", "cut off"], ["quiet", "quiet"],
] as const;
const TYPES = [["", "any type"], ["runtime", "runtime"], ["build", "build"]] as const;
const COLUMNS = ["State", "Command", "App", "Deployment", "Pod", "Started", "Duration", "Output", "Gaps"];
const AT_A_TIME = 100;
/** A running session's duration goes on without the backend. */
const TICK_MS = 1_000;
const TYPING_MS = 200;

export function showSessions(main: HTMLElement): void {
  document.title = "Sessions · ptyshipper";
  new SessionsPage(main).watch();
}

class SessionsPage {
  private readonly notice = new Notice();
  private readonly rows = new Map<string, { row: HTMLTableRowElement; told: string }>();
  private readonly body = h("tbody");
  private readonly table = h(
    "table",
    { class: "sessions", hidden: true },
    h("caption", { class: "unseen" }, "Sessions, newest first"),
    h("thead", {}, h("tr", {}, ...COLUMNS.map((name) => h("th", { scope: "col" }, name)))),
    this.body,
  );
  private readonly empty = h("p", { class: "empty", hidden: true });
  private readonly loading = h("p", { class: "loading" }, "Loading sessions…");
  private readonly pages = h("nav", { class: "pages", "aria-label": "Older and newer sessions" });
  private readonly appLink = h("p", { class: "remark plain", hidden: true });
  private live: Live | null = null;
  private sessions = new Map<string, Session>();
  private ids: string[] = [];
  /** The next event tells all of it: a connection has begun. */
  private isFresh = true;

  constructor(main: HTMLElement) {
    const filters = this.filters();
    main.replaceChildren(
      h("h1", { class: "unseen" }, "Sessions"),
      filters,
      this.notice.element,
      this.appLink,
      this.loading,
      this.empty,
      this.table,
      this.pages,
    );
    // A browser has six connections to a server: tabs that nobody sees are to leave them to those that are.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.live?.stop();
      else this.watch();
    });
    document.addEventListener("keydown", (event) => {
      const isTyping = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
      if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      control(filters as HTMLFormElement, "hostname").focus();
    });
    setInterval(() => this.tick(), TICK_MS);
  }

  /** What the address asks for, as it is now and will be. */
  watch(): void {
    this.live?.stop();
    const asked = new URLSearchParams(location.search);
    const parameters = Object.fromEntries([...FILTERS, "before"].map((name) => [name, asked.get(name)]));
    const url = address("/api/sessions/live", { ...parameters, limit: AT_A_TIME });
    this.live = new Live(
      () => url,
      (events) => this.receive(events, asked),
      (connection) => this.tell(connection),
    );
    this.isFresh = true;
    void this.live.run();
  }

  private tell(connection: Connection): void {
    if (connection.state === "live") this.isFresh = true;
    if (connection.state !== "waiting" && connection.state !== "refused") return;
    this.notice.show(troubleOf(connection.error));
    this.loading.hidden = true;
    if (connection.state === "refused") {
      this.table.hidden = this.empty.hidden = this.appLink.hidden = true;
      this.pages.replaceChildren();
    }
  }

  private receive(events: ServerEvent[], asked: URLSearchParams): boolean {
    for (const { name, data } of events) {
      if (name === "error") throw new TypeError("the backend failed");
      const told = JSON.parse(data) as Told;
      if (this.isFresh) {
        this.sessions = new Map();
        this.ids = [];
        this.isFresh = false;
        this.notice.hide();
      }
      for (const session of told.sessions) this.sessions.set(session.id, session);
      if (told.ids) {
        this.ids = told.ids;
        const there = new Set(told.ids);
        for (const id of this.sessions.keys()) if (!there.has(id)) this.sessions.delete(id);
      }
      this.page(told.next, asked);
    }
    this.show(asked);
    return false;
  }

  private show(asked: URLSearchParams): void {
    this.loading.hidden = true;
    this.table.hidden = this.ids.length === 0;
    this.empty.hidden = this.ids.length > 0;
    const isFiltered = FILTERS.some((name) => asked.get(name));
    this.empty.textContent = isFiltered
      ? "No session fits these filters."
      : "No sessions yet. Run one: ptyshipper run -- COMMAND";
    const app = asked.get("app");
    this.appLink.hidden = app === null || this.ids.length === 0;
    if (app !== null && this.appLink.dataset.app !== app) {
      this.appLink.dataset.app = app;
      this.appLink.replaceChildren(h("a", { href: appPath(Number(app)) }, `Lines of all pods of app ${app}`));
    }
    for (const [id, { row }] of this.rows) {
      if (!this.sessions.has(id)) {
        row.remove();
        this.rows.delete(id);
      }
    }
    this.ids.forEach((id, index) => {
      const session = this.sessions.get(id);
      if (!session) return;
      const row = this.row(session);
      if (this.body.children[index] !== row) this.body.insertBefore(row, this.body.children[index] ?? null);
    });
  }

  private tick(): void {
    if (document.hidden) return;
    for (const session of this.sessions.values()) if (session.state === "running") this.row(session);
  }

  /** The session's row, with new cells only where it says something new: a selection survives. */
  private row(session: Session): HTMLTableRowElement {
    const known = this.rows.get(session.id) ?? { row: h("tr"), told: "" };
    const cells = cellsOf(session);
    const told = cells.map((cell) => cell.textContent).join("\n");
    if (told !== known.told) {
      // A link that has the focus keeps it: of cells that say the same, the old ones stay.
      const before = [...known.row.cells];
      cells.forEach((cell, index) => {
        const old = before[index];
        if (!old) known.row.append(cell);
        else if (old.textContent !== cell.textContent) old.replaceWith(cell);
      });
      known.told = told;
    }
    this.rows.set(session.id, known);
    return known.row;
  }

  private page(next: number | null, asked: URLSearchParams): void {
    const links: HTMLElement[] = [];
    const link = (words: string, before: number | null) => {
      const query = new URLSearchParams(asked);
      if (before === null) query.delete("before");
      else query.set("before", String(before));
      links.push(h("a", { href: `/?${query}` }, words));
    };
    if (asked.has("before")) link("Newest", null);
    if (next !== null) link("Older", next);
    const told = links.map((each) => each.outerHTML).join("");
    if (told !== this.pages.innerHTML) this.pages.replaceChildren(...links);
  }

  private filters(): HTMLElement {
    const asked = new URLSearchParams(location.search);
    const form = h(
      "form",
      { class: "filters", role: "search", "aria-label": "Filter sessions", submit: (event: Event) => event.preventDefault() },
      field("app", "App", h("input", { name: "app", inputmode: "numeric", size: 5, autocomplete: "off" })),
      field("deployment", "Deployment", h("input", { name: "deployment", inputmode: "numeric", size: 5, autocomplete: "off" })),
      field("hostname", "Pod", h("input", { name: "hostname", size: 18, autocomplete: "off", spellcheck: "false" })),
      field("state", "State", select("state", STATES)),
      field("type", "Type", select("type", TYPES)),
    );
    for (const name of FILTERS) control(form, name).value = asked.get(name) ?? "";
    let typing = 0;
    form.addEventListener("input", () => {
      clearTimeout(typing);
      typing = window.setTimeout(() => {
        const query = new URLSearchParams();
        for (const name of FILTERS) {
          const value = control(form, name).value.trim();
          if (value) query.set(name, value);
        }
        history.replaceState(null, "", query.size ? `/?${query}` : "/");
        this.watch();
      }, TYPING_MS);
    });
    return form;
  }
}

function control(form: HTMLFormElement, name: string): HTMLInputElement | HTMLSelectElement {
  return form.elements.namedItem(name) as HTMLInputElement | HTMLSelectElement;
}

function field(name: string, label: string, input: HTMLElement): HTMLElement {
  input.id = `filter-${name}`;
  return h("span", {}, h("label", { for: input.id }, label), input);
}

function select(name: string, options: readonly (readonly [string, string])[]): HTMLSelectElement {
  return h("select", { name }, ...options.map(([value, words]) => h("option", { value }, words)));
}

function cellsOf(session: Session): HTMLTableCellElement[] {
  const { words, mood } = formats.stateOf(session);
  const started = new Date(session.started_at);
  const ended = session.ended_at === null ? Date.now() : Date.parse(session.ended_at);
  const lost = session.gaps ? `${formats.count(session.gaps)} (${formats.bytes(session.lost_bytes)})` : "";
  const command = session.command.join(" ") || "(no command)";
  const badge = session.tty
    ? h("a", { class: "badge", href: terminalPath(session.id), title: "watch its terminal" }, "tty")
    : null;
  const cells: [string, string | HTMLElement][] = [
    ["state", h("span", { class: `mood ${mood}` }, words)],
    ["command", h("span", { class: "words" }, h("a", { href: sessionPath(session.id), title: command }, command), badge)],
    ["app", h("span", { class: "pair" }, idLink("app", session.app_id), session.app_id === null ? null : appBadge(session.app_id))],
    ["deployment", idLink("deployment", session.deployment_id)],
    ["pod", idLink("hostname", session.hostname)],
    ["started", h("time", { datetime: session.started_at, title: session.started_at }, formats.time(started.getTime() * 1000, "local", 0, true).slice(0, -4))],
    ["duration", formats.duration(ended - started.getTime())],
    ["output", formats.bytes(session.bytes)],
    ["gaps", lost && h("span", { class: "mood odd" }, lost)],
  ];
  return cells.map(([name, content], index) => h("td", { class: name, "data-label": COLUMNS[index] ?? "" }, content));
}

function appBadge(app: number): HTMLElement {
  return h("a", { class: "badge", href: appPath(app), title: "lines of all its pods" }, "lines");
}

/** A value that is also the filter for it. */
function idLink(filter: string, value: number | string | null): string | HTMLElement {
  if (value === null || value === "") return "–";
  return h("a", { class: "filter", href: `/?${new URLSearchParams({ [filter]: String(value) })}` }, String(value));
}
