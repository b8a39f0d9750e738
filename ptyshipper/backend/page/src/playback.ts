/** A session's recording, played: from any moment on, at any speed, its pauses cut short. */

import type { Session } from "./api.ts";
import type { Recording } from "./cast.ts";
import { h } from "./dom.ts";
import * as formats from "./formats.ts";
import { Marks } from "./marks.ts";
import { on, playRecording } from "./player.ts";
import { loadRecording, type Part, partOf } from "./recording.ts";
import type { TerminalPage } from "./terminal.ts";
import { type Mark, marksOf, type Timeline, timelineOf } from "./timeline.ts";
import { troubleOf } from "./troubles.ts";

const SPEEDS = ["0.5", "1", "2", "4", "8", "16"] as const;
const PAUSES = [
  ["1000", "1 s at most"], ["5000", "5 s at most"], ["30000", "30 s at most"], ["", "as they were"],
] as const;

export async function showPlayback(page: TerminalPage, session: Session): Promise<void> {
  const part = partOf(session);
  let recording: Recording;
  try {
    recording = await loadRecording(page.id, part, (characters) => {
      page.loading.textContent = `Loading the recording… ${formats.bytes(characters)}`;
    });
  } catch (error) {
    page.fail(troubleOf(error));
    return;
  }
  if (recording.events.some(([, code]) => code === "o")) new Playback(page, session, recording, part).begin();
  else page.say(session.state === "exited" ? "It printed nothing." : "Nothing has been printed yet.");
}

class Playback {
  private readonly marks: Mark[];
  private readonly left: number;
  private readonly speed = select("Speed", SPEEDS.map((each) => [each, `${each}×`]), "1");
  private readonly pauses = select("Pauses", PAUSES, "");
  private timeline: Timeline;
  private isPlaying = false;

  constructor(
    private readonly page: TerminalPage,
    private readonly session: Session,
    private readonly recording: Recording,
    private readonly part: Part,
  ) {
    ({ marks: this.marks, left: this.left } = marksOf(recording, formats.stateOf(session).words));
    this.timeline = timelineOf(recording, this.marks, null);
  }

  /** Where the address says; else at the end, since that is what became of it. */
  begin(): void {
    const { page, recording } = this;
    page.showStage(new Marks((mark) => this.seek(mark.ms)), recording.cols, recording.rows);
    page.addTool(labelled("Speed", this.speed), labelled("Pauses", this.pauses));
    page.marks.show(this.marks, this.left);
    if (recording.isCut || this.part === "last") this.tellPart();
    if (this.session.state === "running") {
      page.remark("This session still runs: its recording ends where it was when this page was loaded.");
    }
    if (this.session.first_offset > 0) {
      const gone = formats.bytes(this.session.first_offset);
      page.remark(`The first ${gone} of this session have been deleted, so its recording begins behind them.`);
    }
    for (const tool of [this.speed, this.pauses]) tool.addEventListener("change", () => this.changeHow());
    const asked = /^#t=(\d+(?:\.\d+)?)$/.exec(location.hash)?.[1];
    this.play(asked === undefined ? Infinity : Number(asked) * 1000, false);
    addEventListener("hashchange", () => {
      const moment = /^#t=(\d+(?:\.\d+)?)$/.exec(location.hash)?.[1];
      if (moment !== undefined) this.seek(Number(moment) * 1000);
    });
    page.focus();
  }

  private tellPart(): void {
    const { page, part, recording, timeline } = this;
    const lasts = formats.position(timeline.durationMs);
    const other = part === "last" ? "first" : "last";
    const which = part === "last" ? `last ${lasts}, from ${formats.position(recording.beginMs)} on,` : `first ${lasts}`;
    page.remark(
      `This recording is too long for a page: its ${which} are here. The log and the download have all of it. `,
      h("a", { href: `?mode=recording&part=${other}` }, `Its ${other} part`),
    );
  }

  private seek(ms: number): void {
    void this.page.player?.seek(this.timeline.played(ms) / 1000);
  }

  private changeHow(): void {
    const atMs = this.timeline.recorded((this.page.player?.getCurrentTime() ?? 0) * 1000);
    this.page.player?.dispose();
    this.timeline = timelineOf(this.recording, this.marks, this.pauses.value ? Number(this.pauses.value) : null);
    this.play(atMs, this.isPlaying);
  }

  private play(fromMs: number, plays: boolean): void {
    const { page, timeline } = this;
    const startAtS = Math.min(timeline.played(fromMs), timeline.durationMs) / 1000;
    const how = { speed: Number(this.speed.value), startAtS, plays };
    const player = (page.player = playRecording(this.recording, timeline, page.holder, how));
    on(player, "reset", ({ size }) => page.showSize(size));
    on(player, "resize", (size) => page.showSize(size));
    on(player, "playing", () => (this.isPlaying = true));
    for (const name of ["pause", "ended", "seeked"] as const) {
      on(player, name, () => {
        if (name !== "seeked") this.isPlaying = false;
        this.noteMoment();
      });
    }
  }

  /** In the address, so that it can be shared. */
  private noteMoment(): void {
    const atMs = this.timeline.recorded((this.page.player?.getCurrentTime() ?? 0) * 1000);
    const isEnd = atMs >= this.timeline.recorded(this.timeline.durationMs);
    const place = isEnd ? location.pathname + location.search : `#t=${(atMs / 1000).toFixed(1)}`;
    history.replaceState(null, "", place);
  }
}

function select(name: string, options: readonly (readonly [string, string])[], value: string): HTMLSelectElement {
  const made = h("select", { id: `tool-${name.toLowerCase()}` }, ...options.map(([each, words]) => h("option", { value: each }, words)));
  made.value = value;
  return made;
}

function labelled(words: string, tool: HTMLElement): HTMLElement {
  return h("span", { class: "labelled" }, h("label", { for: tool.id }, words), tool);
}
