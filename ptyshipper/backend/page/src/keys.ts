/** What keys do in a view, in one table: it drives them, and `?` shows it. */

import { h } from "./dom.ts";

export interface Key {
  /** As `KeyboardEvent.key` has it. */
  keys: string[];
  words: string;
  run: () => void;
  /** Also with Ctrl or ⌘ held, and only then. */
  isControl?: boolean;
}

const SHOWN: Record<string, string> = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", " ": "Space", Escape: "Esc", PageUp: "PgUp", PageDown: "PgDn" };

export class Keys {
  private readonly dialog: HTMLDialogElement;
  private readonly table: Key[];

  constructor(main: HTMLElement, table: Key[]) {
    this.table = [...table, { keys: ["?"], words: "these keys", run: () => this.help() }];
    this.dialog = h(
      "dialog",
      { class: "keys", "aria-label": "Keys" },
      h("h2", {}, "Keys"),
      h("dl", {}, ...this.table.map(({ keys, words, isControl }) => h("div", {}, h("dt", {}, ...keys.map((key) => h("kbd", {}, (isControl ? "Ctrl " : "") + (SHOWN[key] ?? key)))), h("dd", {}, words)))),
      h("form", { method: "dialog" }, h("button", {}, "Close")),
    );
    main.append(this.dialog);
    document.addEventListener("keydown", (event) => this.press(event));
  }

  help(): void {
    if (!this.dialog.open) this.dialog.showModal();
  }

  private press(event: KeyboardEvent): void {
    const { target } = event;
    if (event.altKey || document.querySelector("dialog[open]")) return;
    const isControl = event.ctrlKey || event.metaKey;
    // Keys that are typed belong to a field; those that a control has, to it.
    const isTyping = target instanceof Element && target.closest("input:not([type=checkbox]), textarea, select") !== null;
    const isButton = target instanceof Element && target.closest("button, a, summary, [role=slider]") !== null;
    const found = this.table.find(({ keys, isControl: needs = false }) => keys.includes(event.key) && needs === isControl);
    if (!found || (isTyping && !isControl && event.key !== "Escape")) return;
    if (isButton && (event.key === " " || event.key === "Enter")) return;
    event.preventDefault();
    found.run();
  }
}
