/** How much was printed when, as a small chart above a log; where one points, one goes. */

import * as formats from "./formats.ts";
import { h } from "./dom.ts";
import type { Volume } from "./source.ts";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 36;
export const BUCKETS = 200;
/** Of less there is nothing to see. */
const LEAST_US = 1_000_000;

export class VolumeChart {
  readonly element = h("div", { class: "volume", role: "slider", tabindex: 0, "aria-label": "Volume over time; Enter goes there", hidden: true });
  private readonly svg = make("svg", { viewBox: `0 0 ${BUCKETS} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  private readonly bars = make("path", { class: "bars" });
  private readonly seen = make("rect", { class: "seen", y: "0", height: String(HEIGHT), x: "0", width: "0" });
  private readonly cursor = make("rect", { class: "cursor", y: "0", height: String(HEIGHT), x: "-10", width: "1" });
  private readonly told = h("output", { class: "told" });
  private drawn: Volume | null = null;
  private at = 0;

  constructor(
    private readonly go: (timeUs: number) => void,
    private readonly timeOf: (us: number) => string,
  ) {
    this.svg.append(this.seen, this.bars, this.cursor);
    this.element.append(this.svg, this.told);
    this.element.addEventListener("pointermove", (event) => this.point(this.bucketAt(event)));
    this.element.addEventListener("pointerleave", () => this.point(null));
    this.element.addEventListener("blur", () => this.point(null));
    this.element.addEventListener("focus", () => this.point(this.at));
    this.element.addEventListener("click", (event) => this.choose(this.bucketAt(event)));
    this.element.addEventListener("keydown", (event) => this.press(event));
  }

  show(volume: Volume): void {
    this.drawn = volume;
    this.element.hidden = volume.end_us - volume.begin_us < LEAST_US;
    // Linear, one burst would hide all else: the root keeps small ones to be seen.
    const most = Math.max(1, ...volume.buckets.map((bucket) => bucket.bytes));
    const path = volume.buckets.map((bucket, at) => {
      if (bucket.bytes <= 0) return "";
      const height = Math.max(1, Math.sqrt(bucket.bytes / most) * (HEIGHT - 2));
      return `M${at} ${HEIGHT}V${(HEIGHT - height).toFixed(1)}H${at + 0.85}V${HEIGHT}Z`;
    });
    this.bars.setAttribute("d", path.join(""));
    this.element.setAttribute("aria-valuemin", "0");
    this.element.setAttribute("aria-valuemax", String(Math.max(0, volume.buckets.length - 1)));
    this.tell();
  }

  /** What of the time is in the window. */
  showSeen(beginUs: number, endUs: number): void {
    if (!this.drawn) return;
    const [begin, end] = [this.share(beginUs), this.share(endUs)];
    this.seen.setAttribute("x", String(Math.max(0, Math.min(begin * BUCKETS, BUCKETS - 1))));
    this.seen.setAttribute("width", String(Math.max(1, (end - begin) * BUCKETS)));
    if (document.activeElement !== this.element) {
      this.at = Math.min(BUCKETS - 1, Math.floor(begin * BUCKETS));
      this.tell();
    }
  }

  private share(us: number): number {
    const { begin_us: begin, end_us: end } = this.drawn as Volume;
    return Math.max(0, Math.min(1, (us - begin) / Math.max(1, end - begin)));
  }

  private bucketAt(event: MouseEvent): number {
    const box = this.svg.getBoundingClientRect();
    return Math.max(0, Math.min(BUCKETS - 1, Math.floor(((event.clientX - box.left) / box.width) * BUCKETS)));
  }

  private choose(at: number): void {
    const bucket = this.drawn?.buckets[at];
    if (bucket) this.go(bucket.begin_us);
  }

  private press(event: KeyboardEvent): void {
    const steps: Record<string, number> = {
      ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -BUCKETS, End: BUCKETS,
    };
    const step = steps[event.key];
    if (event.key === "Enter" || event.key === " ") this.choose(this.at);
    else if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    else this.point((this.at = Math.max(0, Math.min(BUCKETS - 1, this.at + step))));
    event.preventDefault();
    event.stopPropagation();
    this.tell();
  }

  private point(at: number | null): void {
    this.cursor.setAttribute("x", String(at ?? -10));
    this.told.textContent = at === null ? "" : this.words(at);
    this.told.classList.toggle("left", at !== null && at > BUCKETS / 2);
  }

  private tell(): void {
    this.element.setAttribute("aria-valuenow", String(this.at));
    this.element.setAttribute("aria-valuetext", this.words(this.at));
  }

  private words(at: number): string {
    const bucket = this.drawn?.buckets[at];
    if (!bucket) return "";
    return `${this.timeOf(bucket.begin_us)} · ${formats.count(bucket.entries)} lines · ${formats.bytes(bucket.bytes)}`;
  }
}

function make(name: string, attributes: Record<string, string>): SVGElement {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
