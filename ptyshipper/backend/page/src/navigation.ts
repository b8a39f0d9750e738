/** The ways from one place of a log to another, and what is told where there is none. */

import { type Entry, EVENTS_ALONE, type Page, shownNumber } from "./entry.ts";
import * as formats from "./formats.ts";
import type { Notice } from "./notice.ts";
import type { Reading } from "./reading.ts";
import type { Filter, Source, Where } from "./source.ts";
import { troubleOf } from "./troubles.ts";
import type { Viewport } from "./viewport.ts";

const AGAIN_MS = 1_500;
/** Something looked for is shown with what is before it. */
const CONTEXT_SHARE = 0.3;

export class Navigation {
  /** Something is shown, be it that there is nothing. */
  isLoaded = false;
  private asked = 0;
  private wanted: number | null = null;
  private isBusy = false;

  constructor(
    private readonly reading: Reading,
    private readonly viewport: Viewport,
    private readonly source: Source,
    private readonly notice: Notice,
    private readonly loading: HTMLElement,
    private readonly arrived: () => void,
  ) {}

  /** To a place, which is so far down the window; again and again, if the backend is away. */
  async go(where: Where, share = CONTEXT_SHARE): Promise<void> {
    const asked = ++this.asked;
    const here = "number" in where ? this.indexOf(where.number, where.session ?? null) : null;
    if (here !== null) {
      this.viewport.show(here, share);
      return;
    }
    try {
      if (!this.isLoaded) this.loading.hidden = false;
      const index = await this.reading.open(where);
      if (index === null) return;
      this.isLoaded = this.loading.hidden = true;
      this.notice.hide();
      this.viewport.reset();
      if (index === "end") this.viewport.showEnd();
      else if ("at" in where) this.viewport.showStart();
      else this.viewport.show(index, share);
      this.tellMissing(where);
      this.arrived();
    } catch (error) {
      const trouble = troubleOf(error);
      this.notice.show(trouble);
      this.loading.hidden = true;
      if (trouble.passes) setTimeout(() => asked === this.asked && void this.go(where, share), AGAIN_MS);
      else this.reading.stop();
    }
  }

  /** To a share of the log, as the scroll bar has it: where that is when one has arrived is next. */
  async goFar(fraction: number): Promise<void> {
    this.wanted = fraction;
    if (this.isBusy) return;
    this.isBusy = true;
    while (this.wanted !== null) {
      const { wanted } = this;
      this.wanted = null;
      if (wanted >= 1) await this.go({ at: "end" });
      else await this.go(wanted <= 0 ? { at: "start" } : { fraction: wanted }, 0);
    }
    this.isBusy = false;
  }

  /** The next thing that happened beside the output, or the one before; null: there is none. */
  async findEvent(from: Entry, direction: 1 | -1): Promise<Entry | null> {
    const filter: Filter = { ...this.reading.filter, stream: EVENTS_ALONE };
    const cursor = from.cursor ?? String((from.number ?? 0) + 1);
    let where: Where = direction > 0 ? { after: cursor } : { before: cursor };
    for (;;) {
      // Backwards it may be that the first that is found is where one is.
      const page: Page = await this.source.page(where, 2, filter, new AbortController().signal);
      const found = page.entries.filter((entry) => entry.number !== from.number || entry.session !== from.session);
      const event = direction > 0 ? found[0] : found.at(-1);
      if (event) return event;
      // None within the time that a page has: on from there.
      if (direction > 0 ? page.isLast : page.before === null) return null;
      where = direction > 0 ? { after: page.after } : { before: page.before ?? "" };
    }
  }

  /** Where a line is among those loaded. */
  private indexOf(number: number, session: string | null): number | null {
    const { chain } = this.reading;
    if (this.source.isMerged) {
      for (let index = chain.begin; index < chain.end; index++) {
        const entry = chain.at(index);
        if (entry?.number === number - 1 && entry.session === session) return index;
      }
      return null;
    }
    const first = chain.at(chain.begin);
    if (!first || first.number === null || shownNumber(first.number) > number) return null;
    return chain.find((entry) => entry.number !== null && shownNumber(entry.number) >= number);
  }

  private tellMissing(where: Where): void {
    if (!("number" in where) || this.source.isMerged) return;
    const { first, total } = this.source;
    const [least, most] = [shownNumber(first), first + total];
    let help = "";
    if (where.number < least) help = `The first that is kept is ${formats.count(least)}.`;
    else if (where.number > most) help = total ? `The last is ${formats.count(most)}.` : "There are none yet.";
    if (help) this.notice.show({ title: `There is no line ${formats.count(where.number)}.`, help, passes: true });
  }
}
