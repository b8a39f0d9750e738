/** Pages of a log that follow one another without a hole, as many as are worth keeping. Pure.
 *
 * An entry keeps its index, whatever is added or dropped at either end; indices before the first page that
 * was loaded are negative.
 */

import type { Entry, Page } from "./entry.ts";

export const PAGE_ENTRIES = 500;
export const KEPT_PAGES = 40;

export class Chain {
  private pages: Page[] = [];
  private entries: Entry[] = [];
  /** The index of the first entry. */
  begin = 0;
  unfinished: Entry[] = [];

  get end(): number {
    return this.begin + this.entries.length;
  }

  get length(): number {
    return this.entries.length;
  }

  /** Where to go on backwards; null: this is the beginning. */
  get before(): string | null {
    return this.pages[0]?.before ?? null;
  }

  get after(): string | null {
    return this.pages.at(-1)?.after ?? null;
  }

  /** Nothing was stored behind it when it was asked for. */
  get isLast(): boolean {
    return this.pages.at(-1)?.isLast ?? false;
  }

  at(index: number): Entry | undefined {
    return this.entries[index - this.begin];
  }

  /** What to show: behind the last entry follow the lines that are open. */
  shown(index: number): Entry | undefined {
    return this.at(index) ?? (this.isLast && index >= this.end ? this.unfinished[index - this.end] : undefined);
  }

  get shownEnd(): number {
    return this.end + (this.isLast ? this.unfinished.length : 0);
  }

  append(page: Page): void {
    this.pages.push(page);
    this.entries.push(...page.entries);
    if (page.isLast) this.unfinished = page.unfinished;
    while (this.pages.length > KEPT_PAGES) {
      const dropped = this.pages.shift()?.entries.length ?? 0;
      this.entries.splice(0, dropped);
      this.begin += dropped;
    }
  }

  prepend(page: Page): void {
    this.pages.unshift(page);
    this.entries.unshift(...page.entries);
    this.begin -= page.entries.length;
    while (this.pages.length > KEPT_PAGES) {
      const dropped = this.pages.pop()?.entries.length ?? 0;
      this.entries.length -= dropped;
      const last = this.pages.at(-1);
      if (last) last.isLast = false;
    }
  }

  /** What has come live behind the last page; `before` and `after` are its cursors. */
  grow(entries: Entry[], before: string, after: string): void {
    const last = this.pages.at(-1);
    if (last && last.entries.length + entries.length <= PAGE_ENTRIES) {
      last.entries.push(...entries);
      last.after = after;
      this.entries.push(...entries);
    } else this.append({ entries: [...entries], unfinished: this.unfinished, before, after, isLast: true });
  }

  /** Something came behind it that it did not get. */
  noteMore(): void {
    const last = this.pages.at(-1);
    if (last) last.isLast = false;
  }

  /** Whether `index` would be dropped soon, if the chain grew. */
  isNearDrop(index: number): boolean {
    return this.pages.length >= KEPT_PAGES && index - this.begin < this.entries.length / 2;
  }

  /** The index of the first entry that `fits`, which all behind it do too; null: none does. */
  find(fits: (entry: Entry) => boolean): number | null {
    let [low, high] = [0, this.entries.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (fits(this.entries[middle] as Entry)) high = middle;
      else low = middle + 1;
    }
    return low < this.entries.length ? low + this.begin : null;
  }
}
