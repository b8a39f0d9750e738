/** The keys of the log view. */

import type { Key } from "./keys.ts";
import type { Viewport } from "./viewport.ts";

export interface KeyActions {
  find(): void;
  step(direction: 1 | -1): void;
  follow(): void;
  event(direction: 1 | -1): void;
  first(): void;
  last(): void;
  askPlace(): void;
  toggleWrap(): void;
  toggleRaw(): void;
  escape(): void;
}

const ASIDE_PX = 80;

export function logKeys(actions: KeyActions, viewport: Viewport): Key[] {
  // Two lines stay, to read on from.
  const page = () => viewport.height - 2 * viewport.lineHeight;
  const aside = (px: number) => () => viewport.element.scrollBy(px, 0);
  return [
    { keys: ["/"], words: "search", run: actions.find },
    // The browser's own would find no line that is not shown.
    { keys: ["f"], words: "search", run: actions.find, isControl: true },
    { keys: ["n"], words: "next hit", run: () => actions.step(1) },
    { keys: ["N"], words: "previous hit", run: () => actions.step(-1) },
    { keys: ["f"], words: "follow, or stop it", run: actions.follow },
    { keys: ["e"], words: "next event: a gap, a signal, the exit", run: () => actions.event(1) },
    { keys: ["E"], words: "event before", run: () => actions.event(-1) },
    { keys: ["g", "Home"], words: "first line", run: actions.first },
    { keys: ["G", "End"], words: "last line", run: actions.last },
    { keys: ["t"], words: "go to a line or a time", run: actions.askPlace },
    { keys: ["ArrowUp", "k"], words: "a line up", run: () => viewport.move(-viewport.lineHeight) },
    { keys: ["ArrowDown", "j"], words: "a line down", run: () => viewport.move(viewport.lineHeight) },
    { keys: ["ArrowLeft"], words: "to the left", run: aside(-ASIDE_PX) },
    { keys: ["ArrowRight"], words: "to the right", run: aside(ASIDE_PX) },
    { keys: ["PageUp"], words: "a page up", run: () => viewport.move(-page()) },
    { keys: ["PageDown", " "], words: "a page down", run: () => viewport.move(page()) },
    { keys: ["w"], words: "wrap long lines, or not", run: actions.toggleWrap },
    { keys: ["r"], words: "lines as they were written, or not", run: actions.toggleRaw },
    { keys: ["Escape"], words: "end the search, or the selection", run: actions.escape },
  ];
}
