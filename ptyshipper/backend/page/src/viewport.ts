/** The window through which a log of any length is seen: only what is in it is in the document.
 *
 * Where one is, is an index and how many pixels of that row are above the edge. The scroll bar follows: a
 * spacer stands for the whole log, at most 8 million pixels high (an element can have 33 million), its
 * content sticks to the window. Small scrolls move by pixels, large ones to a share of the log. So rows are
 * of any height, and nobody has to know that of one that is not shown.
 */

import { h } from "./dom.ts";
import type { Entry } from "./entry.ts";

export interface Rows {
  /** Indices of what can be shown: from `begin` to before `end`. */
  readonly begin: number;
  readonly end: number;
  /** Whether there is more before and behind that. */
  readonly hasBefore: boolean;
  readonly hasAfter: boolean;
  at(index: number): Entry | undefined;
  make(entry: Entry): HTMLElement;
  /** Of the whole log, or about. */
  readonly total: number;
  /** From 0 to 1, for the scroll bar. */
  fractionOf(index: number): number;
}

const MOST_SPACER_PX = 8_000_000;
/** Near either end the scroll bar has room for so much at least, as far as there is that much. */
const RUNWAY_PX = 20_000;
const BIG_SCROLL_VIEWPORTS = 4;
const OVERSCAN_ROWS = 6;
const SETTLE_MS = 150;

export class Viewport {
  private readonly rows = h("div", { class: "rows" });
  private readonly port = h("div", { class: "port" }, this.rows);
  private readonly spacer = h("div", { class: "spacer" }, this.port);
  readonly element = h("div", { class: "log", tabindex: 0, role: "region", "aria-label": "Log lines" }, this.spacer);
  private readonly mounted = new Map<Entry, HTMLElement>();
  private heights = new Map<Entry, number>();
  private mountedBegin = 0;
  private top = 0;
  private offset = 0;
  private lastTop = 0;
  private widest = 0;
  private rowPx = 20;
  private isMeasured = false;
  private spacerPx = 0;
  private frame = 0;
  private settling = 0;
  /** The last row stands at the bottom, and is to stay there. */
  isPinned = false;
  /** The reader goes up: being near the end is no wish to stay there. */
  private isRising = false;

  /**
   * @param drawn where one is may have changed: rows may be needed at the edges
   * @param far the reader wants to be at this share of the log
   */
  constructor(
    private readonly source: Rows,
    private readonly drawn: () => void,
    private readonly far: (fraction: number) => void,
  ) {
    this.element.addEventListener("scroll", () => this.scrolled(), { passive: true });
    new ResizeObserver(() => {
      this.heights = new Map();
      this.isMeasured = false;
      this.port.style.height = `${this.element.clientHeight}px`;
      this.draw();
    }).observe(this.element);
  }

  get topIndex(): number {
    return this.top;
  }

  get bottomIndex(): number {
    return this.top + this.fitting();
  }

  get height(): number {
    return this.element.clientHeight;
  }

  /** So that the row of `index` is so far down the window. */
  show(index: number, share = 0): void {
    this.isPinned = this.isRising = false;
    this.top = index;
    this.offset = -Math.round(share * this.height);
    this.drawNow();
    this.synchronise();
  }

  showStart(): void {
    this.show(this.source.begin);
  }

  showEnd(): void {
    this.isPinned = true;
    this.isRising = false;
    this.drawNow();
  }

  /** What comes is not to move what is shown. */
  unpin(): void {
    this.isPinned = false;
    this.isRising = true;
  }

  move(px: number): void {
    this.turn(px);
    this.offset += px;
    this.drawNow();
    this.synchronise();
  }

  get lineHeight(): number {
    return this.rowPx;
  }

  /** What is shown has changed; drawn with the next frame. */
  draw(): void {
    this.frame ||= requestAnimationFrame(() => this.drawNow());
  }

  /** Each row is to be made anew. */
  redress(): void {
    this.mounted.clear();
    this.rows.replaceChildren();
    this.heights = new Map();
    this.widest = 0;
    this.spacer.style.minWidth = "";
    this.draw();
  }

  /** The whole list is another one. */
  reset(): void {
    this.top = this.source.begin;
    this.offset = 0;
    this.redress();
  }

  /** What is in the document, in no order. */
  entries(): Entry[] {
    return [...this.mounted.keys()];
  }

  drawNow(): void {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const { source } = this;
    if (source.end === source.begin) {
      this.mount(0, 0);
      this.fit();
      this.drawn();
      return;
    }
    if (this.isPinned) this.placeAtEnd();
    else {
      this.place();
      if (this.belowIsShort()) this.placeAtEnd();
      if (!this.isRising && this.isAtEnd()) this.isPinned = true;
    }
    let above = 0;
    for (let index = this.mountedBegin; index < this.top; index++) above += this.heightOf(index);
    this.rows.style.transform = `translateY(${-Math.round(above + this.offset)}px)`;
    this.fit();
    if (this.isPinned) this.synchronise();
    this.drawn();
  }

  private fitting(): number {
    return Math.ceil(this.height / this.rowPx) + 1;
  }

  /** From `top` and `offset`, whatever they are, to those of a row that is at the upper edge. */
  private place(): void {
    const { source } = this;
    this.top = Math.max(source.begin, Math.min(this.top, source.end - 1));
    // Each turn mounts what it may need; a turn passes a whole window, so few are enough.
    for (let turn = 0; turn < 50; turn++) {
      this.mount(this.top - OVERSCAN_ROWS, this.top + this.fitting() + OVERSCAN_ROWS);
      while (this.offset < 0 && this.top > this.mountedBegin) this.offset += this.heightOf(--this.top);
      let height = 0;
      while (this.top < source.end - 1 && this.isMounted(this.top) && this.offset >= (height = this.heightOf(this.top))) {
        this.offset -= height;
        this.top += 1;
      }
      const needsBefore = this.offset < 0 && this.top > source.begin;
      const needsAfter = this.top < source.end - 1 && (!this.isMounted(this.top) || this.offset >= this.heightOf(this.top));
      if (!needsBefore && !needsAfter && this.isFilled()) break;
    }
    if (this.offset < 0) this.offset = 0;
    if (this.top >= source.end - 1) this.offset = Math.min(this.offset, Math.max(0, this.heightOf(source.end - 1) - 1));
  }

  /** What is in the window is mounted. */
  private isFilled(): boolean {
    return this.isMounted(Math.min(this.source.end - 1, this.top + this.fitting() - 1)) && this.isMounted(this.top);
  }

  /** There is nothing more to fill the window with. */
  private belowIsShort(): boolean {
    let below = -this.offset;
    for (let index = this.top; index < this.source.end; index++) {
      if (below >= this.height) return false;
      below += this.heightOf(index);
    }
    return below < this.height;
  }

  private isAtEnd(): boolean {
    if (this.source.hasAfter) return false;
    let below = -this.offset;
    for (let index = this.top; index < this.source.end; index++) {
      below += this.heightOf(index);
      if (below > this.height + 1) return false;
    }
    return true;
  }

  private placeAtEnd(): void {
    const { source } = this;
    this.mount(source.end - this.fitting() - OVERSCAN_ROWS, source.end);
    let height = 0;
    let index = source.end;
    while (index > this.mountedBegin && height < this.height) height += this.heightOf(--index);
    this.top = index;
    this.offset = Math.max(0, height - this.height);
  }

  private isMounted(index: number): boolean {
    return index >= this.mountedBegin && index < this.mountedBegin + this.mounted.size;
  }

  private mount(from: number, to: number): void {
    const { source } = this;
    const [begin, end] = [Math.max(source.begin, from), Math.min(source.end, to)];
    const wanted = new Set<Entry>();
    for (let index = begin; index < end; index++) wanted.add(source.at(index) as Entry);
    for (const [entry, row] of this.mounted) {
      if (wanted.has(entry)) continue;
      row.remove();
      this.mounted.delete(entry);
      this.heights.delete(entry);
    }
    let next = this.rows.firstElementChild;
    for (const entry of wanted) {
      let row = this.mounted.get(entry);
      if (row === undefined) {
        row = source.make(entry);
        this.mounted.set(entry, row);
      }
      if (row === next) next = next.nextElementSibling;
      else this.rows.insertBefore(row, next);
    }
    this.mountedBegin = begin;
  }

  private heightOf(index: number): number {
    const entry = this.source.at(index);
    const row = entry && this.mounted.get(entry);
    if (!entry || !row) return this.rowPx;
    let height = this.heights.get(entry);
    if (height === undefined) {
      // All at once: a layout for each would be slow.
      for (const [each, element] of this.mounted) {
        if (!this.heights.has(each)) this.heights.set(each, element.offsetHeight || this.rowPx);
      }
      height = this.heights.get(entry) ?? this.rowPx;
    }
    return height;
  }

  /** The spacer's size; it never gets narrower, or what is scrolled sideways would jump. */
  private fit(): void {
    const { source } = this;
    const first = this.rows.firstElementChild;
    if (first && !this.isMeasured) {
      this.isMeasured = true;
      this.rowPx = Number.parseFloat(getComputedStyle(first).lineHeight) || this.rowPx;
    }
    // Where all of it is in the document, its height is known.
    let height = source.total * this.rowPx;
    if (!source.hasBefore && !source.hasAfter && this.mountedBegin === source.begin && this.mounted.size === source.end - source.begin) {
      height = 0;
      for (let index = source.begin; index < source.end; index++) height += this.heightOf(index);
    }
    height = Math.max(this.height, Math.min(height, MOST_SPACER_PX));
    if (height !== this.spacerPx) this.spacer.style.height = `${(this.spacerPx = height)}px`;
    if (this.element.classList.contains("wrapped")) return;
    const width = this.rows.scrollWidth;
    if (width > this.widest && width > this.element.clientWidth) {
      this.widest = width;
      this.spacer.style.minWidth = `${width}px`;
    }
  }

  private turn(px: number): void {
    this.isRising = px < 0;
    if (this.isRising) this.isPinned = false;
  }

  private get mostTop(): number {
    return Math.max(0, this.element.scrollHeight - this.element.clientHeight);
  }

  private scrolled(): void {
    const top = this.element.scrollTop;
    const delta = top - this.lastTop;
    if (Math.abs(delta) < 1) return;
    this.lastTop = top;
    // A window that has grown pushes the bar up: nobody has scrolled.
    if (this.isPinned && top >= this.mostTop - 1) return;
    clearTimeout(this.settling);
    this.settling = window.setTimeout(() => this.synchronise(), SETTLE_MS);
    if (Math.abs(delta) > BIG_SCROLL_VIEWPORTS * this.height) {
      this.isPinned = false;
      this.isRising = false;
      this.far(this.mostTop ? top / this.mostTop : 0);
      return;
    }
    this.turn(delta);
    this.offset += delta;
    this.drawNow();
    // At an end of the bar, and not of the log: the bar has to give way.
    if (top < this.height || top > this.mostTop - this.height) this.synchronise();
  }

  /** The scroll bar to where one is. */
  synchronise(): void {
    const { source, mostTop } = this;
    let top = mostTop;
    if (!this.isPinned && source.end > source.begin) {
      const share = source.fractionOf(this.top);
      const seen = Math.max(1, source.total - this.height / this.rowPx);
      const fromTop = share * source.total * this.rowPx + this.offset;
      const fromEnd = Math.max(0, (1 - share) * source.total * this.rowPx - this.offset - this.height);
      const room = Math.min(RUNWAY_PX, mostTop / 2);
      top = Math.min(1, (share * source.total) / seen) * mostTop;
      top = Math.max(top, Math.min(fromTop, room));
      top = Math.min(top, mostTop - Math.min(fromEnd, room));
      if (source.begin === this.top && this.offset === 0 && !source.hasBefore) top = 0;
    }
    if (Math.abs(top - this.element.scrollTop) >= 1) this.element.scrollTop = top;
    this.lastTop = this.element.scrollTop;
  }
}
