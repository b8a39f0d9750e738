/** A session's recording, fetched as far as a page can bear it. */

import { address, open, type Session } from "./api.ts";
import { CastReader, type Recording } from "./cast.ts";

/** So many characters of a cast at most: some 300 MB in this page's memory, and a second to read. */
export const MAX_CHARACTERS = 32_000_000;
export const MAX_EVENTS = 500_000;
/** A session with more output than this is begun near its end: so many bytes before it, which become up to
 * four times as many characters. */
export const WHOLE_BYTES = 16_000_000;
export const LAST_BYTES = 8_000_000;

export type Part = "first" | "last";

export const castUrl = (id: string) => address(`/api/sessions/${id}/download`, { format: "cast" });

/** The part of a session that is loaded; the address may ask for its first one. */
export function partOf(session: Session): Part {
  const asked = new URLSearchParams(location.search).get("part");
  return session.bytes > WHOLE_BYTES && asked !== "first" ? "last" : "first";
}

/** Throws as `open` does. `tell` gets how many characters there are by now. */
export async function loadRecording(id: string, part: Part, tell: (characters: number) => void): Promise<Recording> {
  const enough = new AbortController();
  const last = part === "last" ? LAST_BYTES : null;
  const response = await open(address(`/api/sessions/${id}/download`, { format: "cast", last }), enough.signal);
  const reader = new CastReader();
  const decoder = new TextDecoder();
  const body = response.body?.getReader();
  let characters = 0;
  for (;;) {
    const piece = await body?.read();
    if (!piece || piece.done) return reader.recording(false, part === "last");
    const text = decoder.decode(piece.value, { stream: true });
    reader.feed(text);
    tell((characters += text.length));
    if (characters >= MAX_CHARACTERS || reader.events.length >= MAX_EVENTS) {
      enough.abort();
      return reader.recording(true, part === "last");
    }
  }
}
