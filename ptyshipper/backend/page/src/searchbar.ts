/** The field for a search, what came of it, and the way from hit to hit. */

import { h } from "./dom.ts";
import * as formats from "./formats.ts";
import type { Search } from "./search.ts";

const TYPING_MS = 250;

export interface SearchActions {
  begin(text: string, isCaseSensitive: boolean): void;
  step(direction: 1 | -1): void;
  cancel(): void;
}

export class SearchBar {
  readonly input = h("input", { type: "search", placeholder: "Search all of it", "aria-label": "Search all of the log", size: 22, maxlength: 1000, autocomplete: "off", spellcheck: "false" });
  private readonly isCaseSensitive = h("input", { type: "checkbox", "aria-label": "Upper and lower case differ" });
  private readonly told = h("span", { class: "faint told", role: "status" });
  private readonly progress = h("progress", { max: 1, "aria-label": "Searched so far", hidden: true });
  private readonly previous = h("button", { type: "button", class: "quiet", title: "Previous hit (N)", "aria-label": "Previous hit" }, "↑");
  private readonly next = h("button", { type: "button", class: "quiet", title: "Next hit (n)", "aria-label": "Next hit" }, "↓");
  private readonly stop = h("button", { type: "button", class: "quiet", hidden: true }, "Stop");
  readonly element = h(
    "form",
    { class: "search", role: "search", "aria-label": "Search the log" },
    this.input,
    h("label", { class: "case", title: "Upper and lower case differ" }, this.isCaseSensitive, "Aa"),
    this.previous,
    this.next,
    this.progress,
    this.told,
    this.stop,
  );
  private timer = 0;
  private saidMs = 0;

  constructor(private readonly actions: SearchActions) {
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.timer) this.begin();
      else actions.step(1);
    });
    this.input.addEventListener("input", () => this.later());
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.shiftKey) {
        event.preventDefault();
        actions.step(-1);
      }
    });
    this.isCaseSensitive.addEventListener("change", () => this.begin());
    this.previous.addEventListener("click", () => actions.step(-1));
    this.next.addEventListener("click", () => actions.step(1));
    this.stop.addEventListener("click", () => actions.cancel());
  }

  focus(): void {
    this.input.focus();
    this.input.select();
  }

  clear(): void {
    clearTimeout(this.timer);
    this.timer = 0;
    this.input.value = "";
  }

  show(search: Search): void {
    const { hits, state, current } = search;
    const isRunning = state === "running";
    const count = formats.count(hits.length) + (state === "full" ? "+" : "");
    let words = "";
    if (state === "failed") words = "search failed";
    else if (state === "idle") words = "";
    else if (hits.length === 0) words = isRunning ? "searching…" : "no hits";
    else words = current >= 0 ? `${formats.count(current + 1)} of ${count}` : `${count} ${hits.length === 1 ? "hit" : "hits"}`;
    this.progress.hidden = this.stop.hidden = !isRunning;
    this.progress.value = search.progress;
    this.previous.disabled = this.next.disabled = hits.length === 0;
    // A count that runs is not to be read out at each step.
    if (isRunning && Date.now() - this.saidMs < 1_000 && hits.length) return;
    this.saidMs = Date.now();
    if (this.told.textContent !== words) this.told.textContent = words;
  }

  private later(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.begin(), TYPING_MS);
  }

  private begin(): void {
    clearTimeout(this.timer);
    this.timer = 0;
    this.actions.begin(this.input.value, this.isCaseSensitive.checked);
  }
}
