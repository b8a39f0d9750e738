/** A line or an event as an element. What comes from a session is only ever text here. */

import { type Piece, pieces, rawPieces, textOf } from "./ansi.ts";
import { colours } from "./colours.ts";
import { h } from "./dom.ts";
import { type Entry, shownNumber } from "./entry.ts";
import * as formats from "./formats.ts";
import { hashOf } from "./permalink.ts";

export interface Dress {
  clock: formats.Clock;
  isDated: boolean;
  isRaw: boolean;
  startedUs: number;
  /** Whose a line is, is told. */
  hasPods: boolean;
  /** Where in a text what is searched for is. */
  hits: ((text: string) => [number, number][]) | null;
  isSelected: (entry: Entry) => boolean;
  isCurrent: (entry: Entry) => boolean;
}

/** No more of a line is shown at once: laying out more takes seconds. */
const MOST_SHOWN = 20_000;
const SIGNS: Record<Exclude<Entry["kind"], "line">, string> = { gap: "✂", resized: "⤢", signalled: "⚡", exited: "■" };

export function rowOf(entry: Entry, dress: Dress): HTMLElement {
  const isEvent = entry.kind !== "line";
  const row = h("div", { class: `row ${entry.kind}` });
  if (entry.stream) row.classList.add(entry.stream);
  if (entry.number === null) row.classList.add("open");
  if (entry.kind === "exited" && entry.code === 0) row.classList.add("well");
  if (dress.isSelected(entry)) row.classList.add("selected");
  if (dress.isCurrent(entry)) row.classList.add("current");
  row.append(numberOf(entry), timeOf(entry, dress));
  if (dress.hasPods) row.append(h("span", { class: "pod", title: entry.pod ?? "" }, entry.pod ?? ""));
  row.append(h("span", { class: "mark", "aria-hidden": "true" }, isEvent ? SIGNS[entry.kind as keyof typeof SIGNS] : entry.stream === "stderr" ? "!" : ""));
  row.append(textElement(entry, dress));
  return row;
}

function numberOf(entry: Entry): HTMLElement {
  if (entry.number === null) return h("span", { class: "no", title: "this line is not complete yet" }, "…");
  const number = shownNumber(entry.number);
  const href = hashOf({ session: entry.session ?? null, first: number, last: number });
  return h("a", { class: "no", href, tabindex: -1, "aria-label": `Link to line ${number}` }, String(number));
}

function timeOf(entry: Entry, dress: Dress): HTMLElement {
  const told = formats.time(entry.time_us, dress.clock, dress.startedUs, dress.isDated);
  const title = dress.clock === "none" ? "" : `${formats.time(entry.time_us, "local", 0, true)} local · ${formats.time(entry.time_us, "utc", 0, true)} UTC`;
  return h("time", { title }, told);
}

function textElement(entry: Entry, dress: Dress): HTMLElement {
  const text = h("span", { class: "text" });
  const all = entry.kind !== "line" ? [{ text: entry.text, look: {} }] : dress.isRaw ? rawPieces(entry.text) : pieces(entry.text);
  const { shown, isCut } = cut(all);
  const hits = dress.hits ? dress.hits(textOf(shown)) : [];
  text.append(...marked(shown, hits));
  if (isCut || entry.truncated) {
    const why = isCut ? "more of this line is in the download" : "only a part of this line is kept";
    text.append(h("span", { class: "cut", title: why }, "⋯"));
  }
  if (all.length === 0 && entry.kind === "line") text.append("\u200b"); // or copying loses the empty line
  return text;
}

function cut(all: Piece[]): { shown: Piece[]; isCut: boolean } {
  let left = MOST_SHOWN;
  const shown: Piece[] = [];
  for (const piece of all) {
    if (left <= 0) return { shown, isCut: true };
    shown.push(piece.text.length > left ? { ...piece, text: piece.text.slice(0, left) } : piece);
    left -= piece.text.length;
  }
  return { shown, isCut: left < 0 };
}

/** The pieces as nodes, those in a hit within a mark. */
function marked(shown: Piece[], hits: [number, number][]): Node[] {
  const nodes: Node[] = [];
  let [at, hit] = [0, 0];
  for (const piece of shown) {
    const end = at + piece.text.length;
    let from = at;
    while (from < end) {
      while (hits[hit] && (hits[hit] as [number, number])[1] <= from) hit += 1;
      const [begin, until] = hits[hit] ?? [Infinity, Infinity];
      const isHit = begin <= from;
      const to = Math.min(end, isHit ? until : begin);
      const node = nodeOf({ text: piece.text.slice(from - at, to - at), look: piece.look }, isHit);
      nodes.push(isHit ? h("mark", {}, node) : node);
      from = to;
    }
    at = end;
  }
  return nodes;
}

function nodeOf({ text, look }: Piece, isHit: boolean): Node {
  const classes = (["bold", "faint", "italic", "underline", "strike", "isMark"] as const).filter((each) => look[each]);
  const { color, background } = isHit ? { color: "", background: "" } : colours(look);
  if (classes.length === 0 && !color && !background && !look.link) return document.createTextNode(text);
  const element = look.link
    ? h("a", { href: look.link, target: "_blank", rel: "noopener noreferrer nofollow", title: look.link }, text)
    : h("span", {}, text);
  element.className = classes.join(" ");
  if (color) element.style.color = color;
  if (background) element.style.backgroundColor = background;
  return element;
}
