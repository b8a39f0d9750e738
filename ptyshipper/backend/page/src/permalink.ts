/** `#L12` and `#L12-L14` in an address: lines that somebody points at; in a log of several sessions with
 * the session's id before it. Numbers are as shown, from 1. Pure. */

export interface Lines {
  /** null: the one whose log it is. */
  session: string | null;
  first: number;
  last: number;
}

export function linesOf(hash: string): Lines | null {
  const found = /^#(?:([0-9a-f]{32})\.)?L(\d{1,15})(?:-L(\d{1,15}))?$/.exec(hash);
  if (!found) return null;
  const [one, other] = [Number(found[2]), Number(found[3] ?? found[2])];
  if (one < 1 || other < 1) return null;
  return { session: found[1] ?? null, first: Math.min(one, other), last: Math.max(one, other) };
}

export function hashOf({ session, first, last }: Lines): string {
  return `#${session === null ? "" : `${session}.`}L${first}${last === first ? "" : `-L${last}`}`;
}
