/** The tools of a log view: its state, follow, filters, how lines are shown, where to go, downloads. */

import type { Session } from "./api.ts";
import { h } from "./dom.ts";
import { EVENTS_ALONE, STREAMS } from "./entry.ts";
import * as formats from "./formats.ts";
import type { Connection } from "./live.ts";
import { placeOf, type Place } from "./place.ts";
import { terminalPath } from "./router.ts";
import type { Filter } from "./source.ts";

export interface View {
  clock: formats.Clock;
  isWrapped: boolean;
  isRaw: boolean;
}

export interface LogActions {
  follow(): void;
  filter(filter: Filter): void;
  view(view: View): void;
  go(place: Place): void;
  help(): void;
  downloadUrl(format: string): string | null;
  /** Of what is seen, and of the beginning: what a time without a date, or since the start, means. */
  times(): { nearUs: number; startedUs: number };
}

const CLOCKS = [["local", "local time"], ["utc", "UTC"], ["relative", "since the start"], ["none", "no times"]] as const;
const FORMATS = [["text", "Text"], ["jsonl", "JSON lines"], ["cast", "Terminal recording (asciicast)"]] as const;

export class LogBar {
  private readonly state = h("span", { class: "mood", hidden: true });
  private readonly connected = h("span", { class: "connection" });
  private readonly followButton = h("button", { type: "button", class: "follow", title: "Stay at the end (f)", "aria-pressed": "false" }, "Follow");
  private readonly wrap = toggle("Wrap", "Wrap long lines (w)");
  private readonly raw = toggle("Raw", "Show lines as they were written (r)");
  private readonly stream = choice("Stream", [["", "all streams"], ...STREAMS.map((name) => [name, name] as const), [EVENTS_ALONE, "events only"]]);
  private readonly clock = choice("Times", CLOCKS);
  private readonly pods = choice("Pod", [["", "all pods"]]);
  private readonly terminal = h("a", { class: "button", hidden: true }, "Terminal");
  private readonly menu = h("div", { class: "menu", popover: "auto", id: "downloads" });
  private readonly download = h("button", { type: "button", popovertarget: "downloads" }, "Download ▾");
  private readonly goDialog = h("dialog", { class: "go", "aria-labelledby": "go-title" });
  readonly element: HTMLElement;
  private ticking = 0;

  constructor(
    private readonly actions: LogActions,
    search: HTMLElement,
    private filter: Filter,
    private view: View,
    isMerged: boolean,
  ) {
    this.pods.hidden = !isMerged;
    this.element = h(
      "div",
      { class: "tools log-tools", role: "toolbar", "aria-label": "Log" },
      this.state,
      this.connected,
      this.followButton,
      search,
      h("span", { class: "room" }),
      this.pods,
      this.stream,
      this.clock,
      this.wrap,
      this.raw,
      h("button", { type: "button", title: "Go to a line or a time (t)", click: () => this.askPlace() }, "Go to…"),
      this.download,
      this.terminal,
      h("button", { type: "button", class: "quiet sign", title: "Keys (?)", "aria-label": "Keys", click: () => actions.help() }, "?"),
      this.menu,
      this.goDialog,
    );
    this.followButton.addEventListener("click", () => actions.follow());
    const filtered = () => actions.filter((this.filter = { stream: this.stream.value as Filter["stream"], pod: this.pods.value }));
    this.stream.addEventListener("change", filtered);
    this.pods.addEventListener("change", filtered);
    this.clock.addEventListener("change", () => this.change({ clock: this.clock.value as formats.Clock }));
    this.wrap.addEventListener("click", () => this.change({ isWrapped: !this.view.isWrapped }));
    this.raw.addEventListener("click", () => this.change({ isRaw: !this.view.isRaw }));
    this.menu.addEventListener("toggle", () => {
      const box = this.download.getBoundingClientRect();
      this.menu.style.top = `${box.bottom + 4}px`;
      this.menu.style.left = `${Math.max(4, Math.min(box.left, innerWidth - this.menu.offsetWidth - 4))}px`;
    });
    for (const [format, words] of FORMATS) {
      const url = actions.downloadUrl(format);
      if (url !== null) this.menu.append(h("a", { href: url, download: "" }, words));
    }
    this.download.hidden = this.menu.childElementCount === 0;
    this.stream.value = filter.stream;
    this.change({});
  }

  change(view: Partial<View>): void {
    this.view = { ...this.view, ...view };
    this.clock.value = this.view.clock;
    this.wrap.setAttribute("aria-pressed", String(this.view.isWrapped));
    this.raw.setAttribute("aria-pressed", String(this.view.isRaw));
    this.actions.view(this.view);
  }

  toggleWrap(): void {
    this.change({ isWrapped: !this.view.isWrapped });
  }

  toggleRaw(): void {
    this.change({ isRaw: !this.view.isRaw });
  }

  showFollow(isFollowing: boolean): void {
    const said = String(isFollowing);
    if (this.followButton.getAttribute("aria-pressed") === said) return;
    this.followButton.setAttribute("aria-pressed", said);
    this.followButton.textContent = isFollowing ? "Following" : "Follow";
  }

  showSession(session: Session): void {
    const { words, mood } = formats.stateOf(session);
    this.state.hidden = false;
    this.state.textContent = words;
    this.state.className = `mood ${mood}`;
    this.terminal.hidden = !session.tty;
    this.terminal.href = terminalPath(session.id);
  }

  showPods(pods: readonly string[]): void {
    const { pod } = this.filter;
    const names = pod && !pods.includes(pod) ? [pod, ...pods] : pods;
    this.pods.replaceChildren(h("option", { value: "" }, "all pods"), ...names.map((name) => h("option", { value: name }, name)));
    this.pods.value = pod;
  }

  showConnection(connection: Connection): void {
    clearInterval(this.ticking);
    const tell = () => {
      const s = connection.state === "waiting" ? Math.max(0, Math.ceil((connection.untilMs - Date.now()) / 1000)) : 0;
      const words = { live: "live", waiting: s ? `reconnecting in ${s} s` : "reconnecting…", ended: "", refused: "disconnected" };
      this.connected.textContent = words[connection.state];
      this.connected.className = `connection ${connection.state}`;
    };
    tell();
    if (connection.state === "waiting") this.ticking = window.setInterval(tell, 250);
    this.followButton.hidden = connection.state === "ended";
  }

  askPlace(): void {
    const input = h("input", { id: "place", autocomplete: "off", spellcheck: "false", "aria-describedby": "place-help" });
    const wrong = h("p", { class: "wrong", role: "alert" });
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id: "go-title" }, "Go to"),
      h("label", { for: "place" }, "Line or time"),
      input,
      h("p", { id: "place-help", class: "help" }, "12345 · 12:34:56 · 2026-11-25 12:34 · 12:34Z for UTC · +1:30 since the start"),
      wrong,
      h("button", { value: "go" }, "Go"),
      " ",
      h("button", { value: "", type: "button", click: () => this.goDialog.close() }, "Cancel"),
    );
    form.addEventListener("submit", (event) => {
      const { nearUs, startedUs } = this.actions.times();
      const place = placeOf(input.value, this.view.clock, nearUs, startedUs);
      if (place === null) {
        event.preventDefault();
        wrong.textContent = "That is neither the number of a line nor a time.";
      } else this.actions.go(place);
    });
    this.goDialog.replaceChildren(form);
    this.goDialog.showModal();
  }
}

function toggle(words: string, title: string): HTMLButtonElement {
  return h("button", { type: "button", title, "aria-pressed": "false" }, words);
}

function choice(label: string, options: readonly (readonly [string, string])[]): HTMLSelectElement {
  return h("select", { "aria-label": label }, ...options.map(([value, words]) => h("option", { value }, words)));
}
