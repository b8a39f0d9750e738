/** The terminal view: what its two ways have in common. */

import type { Player } from "asciinema-player";
import { ask, type Session } from "./api.ts";
import { h } from "./dom.ts";
import * as formats from "./formats.ts";
import { showTrail } from "./header.ts";
import { Marks } from "./marks.ts";
import { Notice } from "./notice.ts";
import { showPlayback } from "./playback.ts";
import { fitHolder, loadStyle } from "./player.ts";
import { castUrl } from "./recording.ts";
import { sessionPath } from "./router.ts";
import { sizeWords } from "./timeline.ts";
import { type Trouble, troubleOf } from "./troubles.ts";
import { showLive } from "./watching.ts";

const LOOK_EVERY_MS = 2_000;

type Mode = "live" | "recording";

export function showTerminal(main: HTMLElement, id: string): void {
  document.title = "Terminal · ptyshipper";
  void new TerminalPage(main, id).begin();
}

/** What surrounds the player: the session's state and tools, troubles, the stage. */
export class TerminalPage {
  readonly notice = new Notice();
  readonly holder = h("div", { class: "holder" });
  readonly stage = h("div", { class: "stage", hidden: true }, this.holder);
  session: Session | null = null;
  marks = new Marks(null);
  player: Player | null = null;
  /** What keeps the stream from coming, though the backend answers. */
  lost: Trouble | null = null;
  /** Nothing of it will change. */
  isOver = false;
  private readonly tools = h("div", { class: "tools", role: "group", "aria-label": "Terminal", hidden: true });
  private readonly state = h("span", { class: "mood", role: "status" });
  private readonly size = h("span", { class: "faint" });
  readonly loading = h("p", { class: "loading" }, "Loading the session…");
  private readonly empty = h("p", { class: "empty", hidden: true });
  private timer = 0;

  constructor(
    main: HTMLElement,
    readonly id: string,
  ) {
    main.replaceChildren(
      h("h1", { class: "unseen" }, "Terminal"),
      this.tools,
      this.notice.element,
      this.loading,
      this.empty,
      this.stage,
    );
  }

  /** Until the session could be asked for, again and again. */
  async begin(): Promise<void> {
    const session = await this.look();
    if (session === null) return;
    const mode = modeOf(session);
    this.showTools(session, mode);
    if (!session.tty) {
      this.say("This program had no terminal. What it wrote is in its ", h("a", { href: sessionPath(this.id) }, "log"), ".");
      return;
    }
    await loadStyle();
    if (mode === "live") showLive(this, session);
    else await showPlayback(this, session);
  }

  /** Asks for the session as it is now. null: that failed, and was said; where it may pass, it is asked again. */
  async look(): Promise<Session | null> {
    clearTimeout(this.timer);
    try {
      const session = await ask<Session>(`/api/sessions/${this.id}`);
      if (this.lost) this.notice.show(this.lost);
      else this.notice.hide();
      this.tell(session);
      if (session.state !== "exited" && !this.isOver) this.lookLater();
      return session;
    } catch (error) {
      const trouble = troubleOf(error);
      this.fail(trouble);
      if (trouble.passes) this.lookLater();
      return null;
    }
  }

  private lookLater(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      if (document.hidden) this.lookLater();
      else void (this.session === null ? this.begin() : this.look());
    }, LOOK_EVERY_MS);
  }

  private tell(session: Session): void {
    this.session = session;
    showTrail(session, "terminal");
    document.title = `${session.command.join(" ").slice(0, 80)} · terminal · ptyshipper`;
    const { words, mood } = formats.stateOf(session);
    if (this.state.textContent !== words) {
      // It is read out, so it is set where it says something new.
      this.state.textContent = words;
      this.state.className = `mood ${mood}`;
    }
  }

  fail(trouble: Trouble): void {
    this.notice.show(trouble);
    this.loading.hidden = true;
    if (trouble.passes) return;
    this.isOver = true;
    this.player?.dispose(); // it would ask again and again, and is not let in
    this.player = null;
    this.stage.hidden = this.tools.hidden = this.marks.element.hidden = true;
  }

  /** Something to know about what is shown. */
  remark(...words: (string | Node)[]): void {
    this.stage.before(h("p", { class: "remark" }, ...words));
  }

  say(...words: (string | Node)[]): void {
    this.loading.hidden = true;
    this.empty.replaceChildren(...words);
    this.empty.hidden = false;
  }

  private showTools(session: Session, mode: Mode): void {
    const modes = (["live", "recording"] as const).map((each) => {
      return h("a", { href: `?mode=${each}`, "aria-current": each === mode && "page" }, each === "live" ? "Live" : "Recording");
    });
    this.tools.replaceChildren(
      this.state,
      this.size,
      h("span", { class: "faint" }, h("time", { datetime: session.started_at, title: session.started_at }, startedWords(session))),
      h("span", { class: "room" }),
      ...(session.tty ? [h("nav", { class: "switch", "aria-label": "Live or recording" }, ...modes)] : []),
      h("a", { class: "button", href: sessionPath(this.id) }, "Log"),
      h("a", { class: "button", href: castUrl(this.id), download: "" }, "Download"),
    );
    this.tools.hidden = false;
  }

  /** A tool of the mode's own, before the switch. */
  addTool(...tools: HTMLElement[]): void {
    this.tools.querySelector(".switch")?.before(...tools);
  }

  showSize({ cols, rows }: { cols: number; rows: number }): void {
    this.size.textContent = sizeWords(`${cols}x${rows}`);
    fitHolder(this.holder, cols, rows);
  }

  showStage(marks: Marks, cols: number, rows: number): void {
    this.marks = marks;
    this.loading.hidden = true;
    this.stage.hidden = false;
    this.stage.after(marks.element);
    this.showSize({ cols, rows });
    const whole = h("button", { type: "button", class: "quiet", "aria-pressed": "false" }, "Enlarge");
    whole.addEventListener("click", () => {
      const isLarge = this.stage.classList.toggle("large");
      whole.setAttribute("aria-pressed", String(isLarge));
    });
    this.addTool(whole);
  }

  /** Keys go to the player, unless the reader is elsewhere by now. */
  focus(): void {
    if (document.activeElement === document.body) {
      this.holder.querySelector<HTMLElement>(".ap-wrapper")?.focus({ preventScroll: true });
    }
  }
}

/** Who has ended is played from the beginning; who has not is watched. The address may say otherwise. */
function modeOf(session: Session): Mode {
  const asked = new URLSearchParams(location.search).get("mode");
  if (asked === "live" || asked === "recording") return asked;
  return session.state === "running" || session.state === "quiet" ? "live" : "recording";
}

function startedWords(session: Session): string {
  return formats.time(Date.parse(session.started_at) * 1000, "local", 0, true).slice(0, -4);
}
