/** A log's entries as the rows of a window on it. */

import { type Entry, shownNumber } from "./entry.ts";
import * as formats from "./formats.ts";
import type { Reading } from "./reading.ts";
import { type Dress, rowOf } from "./row.ts";
import type { Source } from "./source.ts";
import type { Rows } from "./viewport.ts";

export class LogRows implements Rows {
  /** Stands before the first that is kept, where others were before it. */
  private trimmed: Entry | null = null;

  constructor(
    private readonly reading: Reading,
    private readonly source: Source,
    private readonly dress: () => Dress,
  ) {}

  private get isTrimmed(): boolean {
    const { chain } = this.reading;
    return this.source.first > 0 && chain.before === null && chain.length > 0;
  }

  get begin(): number {
    return this.reading.chain.begin - (this.isTrimmed ? 1 : 0);
  }

  get end(): number {
    return this.reading.chain.shownEnd;
  }

  get hasBefore(): boolean {
    return this.reading.chain.before !== null;
  }

  get hasAfter(): boolean {
    return !this.reading.chain.isLast;
  }

  get total(): number {
    return this.source.total;
  }

  at(index: number): Entry | undefined {
    const { chain } = this.reading;
    return index < chain.begin ? this.notice(chain.at(chain.begin)) : chain.shown(index);
  }

  make(entry: Entry): HTMLElement {
    return rowOf(entry, this.dress());
  }

  fractionOf(index: number): number {
    const { chain } = this.reading;
    const entry = chain.at(Math.max(index, chain.begin));
    return entry ? this.source.fractionOf(entry) : 1;
  }

  private notice(first: Entry | undefined): Entry {
    const text = `lines before ${formats.count(shownNumber(this.source.first))} are no longer kept`;
    if (this.trimmed?.text !== text) this.trimmed = { number: null, id: null, time_us: first?.time_us ?? 0, kind: "gap", text };
    return this.trimmed;
  }
}
