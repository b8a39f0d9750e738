/** Server-sent events out of a stream of text. Source: WHATWG HTML, "Server-sent events". Pure. */

export interface ServerEvent {
  name: string;
  data: string;
  id: string;
}

/** No event of the backend is near this; what is larger is no stream of ours. */
const MAX_CHARACTERS = 64 << 20;

export class EventParser {
  private rest = "";

  /** The events that `text` completes. Throws RangeError where one never ends. */
  feed(text: string): ServerEvent[] {
    // Our backend ends lines with \n alone.
    const blocks = (this.rest + text).split("\n\n");
    this.rest = blocks.pop() ?? "";
    if (this.rest.length > MAX_CHARACTERS) throw new RangeError("an event without end");
    return blocks.map(eventOf).filter((event) => event !== null);
  }
}

function eventOf(block: string): ServerEvent | null {
  const event = { name: "message", data: "", id: "" };
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const value = line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    const field = line.slice(0, colon);
    if (field === "event") event.name = value;
    else if (field === "id") event.id = value;
    else if (field === "data") data.push(value);
  }
  return data.length ? { ...event, data: data.join("\n") } : null;
}
