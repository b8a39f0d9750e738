/** A session's recording, fetched as far as a page can bear it. */

import { address, open } from "./api.ts";
import { CastReader, type Recording } from "./cast.ts";

/** So many characters of a cast at most: some 300 MB in this page's memory, and a second to read. */
export const MAX_CHARACTERS = 32_000_000;
export const MAX_EVENTS = 500_000;

export const castUrl = (id: string) => address(`/api/sessions/${id}/download`, { format: "cast" });

/** Throws as `open` does. `tell` gets how many characters there are by now. */
export async function loadRecording(
  id: string,
  tell: (characters: number) => void,
): Promise<Recording> {
  const enough = new AbortController();
  const response = await open(castUrl(id), enough.signal);
  const reader = new CastReader();
  const decoder = new TextDecoder();
  const body = response.body?.getReader();
  let characters = 0;
  for (;;) {
    const piece = await body?.read();
    if (!piece || piece.done) return reader.recording(false);
    const text = decoder.decode(piece.value, { stream: true });
    reader.feed(text);
    tell((characters += text.length));
    if (characters >= MAX_CHARACTERS || reader.events.length >= MAX_EVENTS) {
      enough.abort();
      return reader.recording(true);
    }
  }
}
