/** The stock asciinema-player, in the two ways that the terminal view uses it. */

import { create, type Options, type Player, type RecordingEvent } from "asciinema-player";
import playerStyle from "asciinema-player/dist/bundle/asciinema-player.css?url";
import { MAX_COLS, MAX_ROWS } from "./cast.ts";
import type { Timeline } from "./timeline.ts";

/** What it tells beyond its declared events; `reset` and `resize` come before the screen changes. */
interface Told {
  reset: { size: { cols: number; rows: number } };
  resize: { cols: number; rows: number };
  output: unknown;
  marker: { time: number; label: string };
  loading: object;
  ended: { message?: string };
  offline: { message?: string };
  error: object;
  play: object;
  playing: object;
  pause: object;
  seeked: object;
}

const COMMON: Options = {
  controls: true,
  cursorMode: "steady",
  fit: "both",
  terminalFontFamily: '"Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace',
};

/** Its style, loaded before the player measures its font. */
export function loadStyle(): Promise<void> {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = playerStyle;
  return new Promise((resolve) => {
    // Without it the terminal is ugly, and there.
    link.onload = link.onerror = () => resolve();
    document.head.append(link);
  });
}

/** bufferTime 0: each event is painted when it comes. With a buffer the player throws away at the end of
 * a stream what it still holds, and waits 74 ms with the rest of it (measured). */
export function playLive(id: string, holder: HTMLElement): Player {
  const url = new URL(`/api/sessions/${id}/live`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const source = { driver: "websocket", url: url.href, bufferTime: 0 };
  return create(source, holder, { ...COMMON, autoPlay: true });
}

export function playRecording(
  size: { cols: number; rows: number },
  timeline: Timeline,
  holder: HTMLElement,
  how: { speed: number; startAtS: number; plays: boolean },
): Player {
  const recorded = { ...size, events: timeline.events as RecordingEvent[] };
  const player = create({ data: () => ({}), parser: () => recorded }, holder, {
    ...COMMON,
    speed: how.speed,
    preload: true,
  });
  void player.seek(how.startAtS).then(() => (how.plays ? player.play() : undefined));
  return player;
}

/** As the player's own addEventListener, with all of its events. */
export function on<K extends keyof Told>(player: Player, name: K, handler: (told: Told[K]) => void): void {
  (player.addEventListener as unknown as (name: K, handler: (told: Told[K]) => void) => void)(name, handler);
}

/** Keeps the holder of a size that suits the terminal's: small ones are not blown up to fill a window. */
export function fitHolder(holder: HTMLElement, cols: number, rows: number): void {
  holder.style.setProperty("--cols", String(Math.min(cols, MAX_COLS)));
  holder.style.setProperty("--rows", String(Math.min(rows, MAX_ROWS)));
}
