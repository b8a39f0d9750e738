/** The lines that somebody points at: by a click on a number, with Shift for a range; they stand in the address. */

import { type Entry, shownNumber } from "./entry.ts";
import { hashOf, type Lines, linesOf } from "./permalink.ts";

export class Selection {
  lines: Lines | null = linesOf(location.hash);

  constructor(private readonly changed: () => void) {}

  /** What the address names by now. */
  read(): void {
    this.lines = linesOf(location.hash);
    this.changed();
  }

  has({ session, number }: Entry): boolean {
    const { lines } = this;
    if (!lines || number === null || (session ?? null) !== lines.session) return false;
    return shownNumber(number) >= lines.first && shownNumber(number) <= lines.last;
  }

  click(event: MouseEvent): void {
    const link = event.target instanceof Element ? event.target.closest<HTMLAnchorElement>("a.no") : null;
    const clicked = link && linesOf(link.hash);
    if (!clicked || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const from = event.shiftKey && this.lines?.session === clicked.session ? this.lines : clicked;
    const isBehind = clicked.first >= from.first;
    this.set({ ...clicked, first: Math.min(from.first, clicked.first), last: isBehind ? clicked.last : from.last });
    if (event.shiftKey) getSelection()?.removeAllRanges();
  }

  set(lines: Lines | null): void {
    this.lines = lines;
    history.replaceState(null, "", `${location.pathname}${location.search}${lines ? hashOf(lines) : ""}`);
    this.changed();
  }
}
