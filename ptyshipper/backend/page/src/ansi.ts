/** A line with escape sequences to pieces of text and how each looks. Pure.
 *
 * Colours, weights and links of http(s) are what counts; every other sequence, with the bodies of OSC,
 * DCS, APC, PM and SOS, vanishes. What would steer a terminal or the reading direction is made visible.
 * Sources: ECMA-48; ITU T.416 for colon SGR; xterm's ctlseqs for 256 colours and OSC 8.
 */

/** 0..255: of the palette; [r, g, b]. */
export type Colour = number | readonly [number, number, number];

export interface Look {
  foreground?: Colour;
  background?: Colour;
  bold?: boolean;
  faint?: boolean;
  italic?: boolean;
  underline?: boolean;
  strike?: boolean;
  inverse?: boolean;
  /** An address, http or https. */
  link?: string;
  /** It stands for a character that is not shown as itself. */
  isMark?: boolean;
}

export interface Piece {
  text: string;
  look: Look;
}

/** A whole sequence, a broken one to where it breaks, a control or a bidirectional one. A string sequence
 * that is never ended takes what is left of the line, as it would of a terminal. */
const SPECIAL =
  /(?:\x1b\[|\x9b)([0-?]*)[ -/]*([@-~]?)|(?:\x1b\]|\x9d)([^\x07\x1b\x9c]*)(?:\x07|\x1b\\|\x9c|(?=\x1b)|$)|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])(?:[^\x1b\x9c]|\x1b(?!\\))*(?:\x1b\\|\x9c|$)|\x1b[ -/]*[0-~]?|([\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff])/g;
const ANY_SPECIAL = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]/;
const MAX_LINK = 2_000;
const PLAIN: Look = {};

/** As the terminal would show it. */
export function pieces(line: string): Piece[] {
  if (!ANY_SPECIAL.test(line)) return line ? [{ text: line, look: PLAIN }] : [];
  const found: Piece[] = [];
  let look: Look = PLAIN;
  let at = 0;
  for (const match of line.matchAll(SPECIAL)) {
    if (match.index > at) found.push({ text: line.slice(at, match.index), look });
    at = match.index + match[0].length;
    const [, parameters, final, osc, control] = match;
    if (control !== undefined) found.push({ text: visible(control), look: { ...look, isMark: true } });
    else if (final === "m" && /^[0-9;:]*$/.test(parameters ?? "")) look = styled(look, parameters ?? "");
    else if (osc?.startsWith("8;")) look = linked(look, osc);
  }
  if (at < line.length) found.push({ text: line.slice(at), look });
  return found;
}

/** Nothing is left out and nothing is followed: every character that is not text, as a sign. */
export function rawPieces(line: string): Piece[] {
  const found: Piece[] = [];
  for (const text of line.split(/([\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff])/)) {
    if (!text) continue;
    found.push(ANY_SPECIAL.test(text) ? { text: visible(text), look: { isMark: true } } : { text, look: PLAIN });
  }
  return found;
}

export function textOf(found: readonly Piece[]): string {
  return found.map((piece) => piece.text).join("");
}

/** As `cat -v` has them: few fonts have the pictures of U+2400 and on. */
function visible(control: string): string {
  const code = control.charCodeAt(0);
  if (code < 0x20 || code === 0x7f) return `^${String.fromCharCode(code ^ 0x40)}`;
  return `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
}

function linked(look: Look, osc: string): Look {
  const address = osc.slice(osc.indexOf(";", 2) + 1);
  const { link: _, ...rest } = look;
  if (address.length > MAX_LINK || !/^https?:\/\/[!-~]+$/i.test(address)) return rest;
  try {
    return { ...rest, link: new URL(address).href };
  } catch {
    return rest;
  }
}

type Flag = "bold" | "faint" | "italic" | "underline" | "strike" | "inverse";
const ON: Record<number, Flag> = { 1: "bold", 2: "faint", 3: "italic", 4: "underline", 7: "inverse", 9: "strike", 21: "underline" };
const OFF: Record<number, Flag[]> = { 22: ["bold", "faint"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"] };

function styled(before: Look, parameters: string): Look {
  let look: Look = { ...before };
  const groups = parameters.split(";");
  for (let at = 0; at < groups.length; at++) {
    const parts = (groups[at] ?? "").split(":");
    const code = Number(parts[0] || 0);
    if (code === 0) look = look.link ? { link: look.link } : {};
    else if (code === 4 && parts.length > 1) look.underline = parts[1] !== "0";
    else if (ON[code]) look[ON[code]] = true;
    else if (OFF[code]) for (const flag of OFF[code]) delete look[flag];
    else if (code === 38 || code === 48 || code === 58) {
      let colour: Colour | null;
      if (parts.length > 1) colour = colonColour(parts);
      else {
        const mode = groups[at + 1];
        colour = colourOf(mode, groups.slice(at + 2, at + 5));
        at += mode === "5" ? 2 : mode === "2" ? 4 : 1;
      }
      if (colour !== null && code === 38) look.foreground = colour;
      if (colour !== null && code === 48) look.background = colour;
    } else if (code >= 30 && code <= 37) look.foreground = code - 30;
    else if (code >= 90 && code <= 97) look.foreground = code - 82;
    else if (code >= 40 && code <= 47) look.background = code - 40;
    else if (code >= 100 && code <= 107) look.background = code - 92;
    else if (code === 39) delete look.foreground;
    else if (code === 49) delete look.background;
  }
  return look;
}

/** 38:5:n, 38:2:r:g:b as many write it, 38:2:<colour space>:r:g:b as T.416 has it. */
function colonColour(parts: string[]): Colour | null {
  return colourOf(parts[1], parts[1] === "2" && parts.length >= 6 ? parts.slice(3, 6) : parts.slice(2, 5));
}

function colourOf(mode: string | undefined, values: string[]): Colour | null {
  const numbers = values.map((value) => Number(value || 0));
  const isOne = (value: number | undefined): value is number => value !== undefined && value >= 0 && value <= 255;
  const [r, g, b] = numbers;
  if (mode === "5" && isOne(r)) return r;
  if (mode === "2" && isOne(r) && isOne(g) && isOne(b)) return [r, g, b];
  return null;
}
