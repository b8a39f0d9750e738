/** A session's terminal live: what is on it, and what happens on it. */

import type { Session } from "./api.ts";
import { h } from "./dom.ts";
import * as formats from "./formats.ts";
import { Marks } from "./marks.ts";
import { on, playLive } from "./player.ts";
import type { TerminalPage } from "./terminal.ts";
import { sizeWords } from "./timeline.ts";

export function showLive(page: TerminalPage, session: Session): void {
  page.showStage(new Marks(null), session.cols || 80, session.rows || 24);
  const player = (page.player = playLive(page.id, page.holder));
  // The stream's own clock: this machine's and the pod's need not agree.
  const mark = (label: string, ms = player.getCurrentTime() * 1000) => page.marks.add({ ms, label });
  if (session.bytes === 0) {
    const nothing = h("p", { class: "empty over" }, "Nothing has been printed yet.");
    page.stage.append(nothing);
    on(player, "output", () => nothing.remove());
  }
  on(player, "reset", ({ size }) => {
    page.lost = null;
    page.notice.hide();
    page.showSize(size);
  });
  on(player, "resize", (size) => {
    page.showSize(size);
    mark(`resized to ${sizeWords(`${size.cols}x${size.rows}`)}`);
  });
  on(player, "marker", ({ label }) => mark(label));
  // The player comes back by itself, for ever; whether it is let in is not for it to know.
  on(player, "loading", () => {
    page.lost ??= { title: "Disconnected", help: "The terminal's stream is not there; connecting again…", passes: true };
    void page.look();
  });
  on(player, "ended", ({ message }) => {
    page.isOver = true;
    page.lost = null;
    void page.look().then((now) => {
      if (now?.state === "exited") mark(formats.stateOf(now).words, Date.parse(now.ended_at ?? "") - Date.parse(now.started_at));
      else if (now) page.notice.show({ title: "The stream ended", help: `${message ?? ""} Load the page again to go on.`, passes: true });
    });
  });
  page.focus();
}
