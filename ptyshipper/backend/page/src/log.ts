/** The log view: of one session, or of all pods of an app. */

import { ask, type Session } from "./api.ts";
import { PAGE_ENTRIES } from "./chain.ts";
import { h } from "./dom.ts";
import { EVENTS_ALONE, STREAMS } from "./entry.ts";
import { showAppTrail } from "./header.ts";
import { LogPage } from "./logpage.ts";
import { MergedSource } from "./merged.ts";
import { Notice } from "./notice.ts";
import { linesOf } from "./permalink.ts";
import type { Source as Route } from "./router.ts";
import { type Filter, SessionSource, type Where } from "./source.ts";
import { troubleOf } from "./troubles.ts";

const AGAIN_MS = 1_500;

export function showLog(main: HTMLElement, route: Route): void {
  document.title = "Log · ptyshipper";
  const notice = new Notice();
  const loading = h("p", { class: "loading" }, "Loading the log…");
  main.replaceChildren(h("h1", { class: "unseen" }, "Log"), notice.element, loading);
  const filter = filterOf(location.search);

  const begin = async () => {
    try {
      if ("session" in route) await showSession(route.session);
      else await showApp(route.app);
    } catch (error) {
      const trouble = troubleOf(error);
      notice.show(trouble);
      loading.hidden = true;
      if (trouble.passes) setTimeout(() => void begin(), AGAIN_MS);
    }
  };

  async function showSession(id: string): Promise<void> {
    const source = new SessionSource(id);
    const place = placeOf(location.hash);
    // The lines do not wait for whose they are.
    source.prefetch(place, PAGE_ENTRIES, filter);
    const session = await ask<Session>(`/api/sessions/${id}`);
    notice.hide();
    source.know(session);
    const page = new LogPage(main, notice, loading, source, filter);
    page.showSession(session);
    page.begin(place);
  }

  async function showApp(app: number): Promise<void> {
    const source = new MergedSource(app);
    await source.begin();
    notice.hide();
    showAppTrail(app);
    document.title = `app ${app} · log · ptyshipper`;
    const page = new LogPage(main, notice, loading, source, filter);
    page.showPods(source.pods);
    // What the chart knows is where in the log things are.
    await page.refreshVolume();
    page.begin(placeOf(location.hash));
  }

  void begin();
}

/** What the address names; else the end. */
function placeOf(hash: string): Where {
  const lines = linesOf(hash);
  return lines ? { number: lines.first, session: lines.session } : { at: "end" };
}

function filterOf(query: string): Filter {
  const asked = new URLSearchParams(query);
  return { stream: ([...STREAMS, EVENTS_ALONE] as const).find((name) => name === asked.get("stream")) ?? "", pod: asked.get("pod") ?? "" };
}
