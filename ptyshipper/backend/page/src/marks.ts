/** What happened beside the output, as a row under the terminal: each leads to its moment. */

import { h } from "./dom.ts";
import * as formats from "./formats.ts";
import { MAX_MARKS, type Mark } from "./timeline.ts";

export class Marks {
  readonly element: HTMLElement;
  private readonly list = h("ol");

  /** `seek` gets a mark that was chosen; null: there is nowhere to go. */
  constructor(private readonly seek: ((mark: Mark) => void) | null) {
    this.element = h("section", { class: "marks", "aria-label": "What happened", hidden: true }, this.list);
  }

  show(marks: readonly Mark[], left = 0): void {
    this.list.replaceChildren();
    if (left) this.list.append(h("li", { class: "left" }, `${formats.count(left)} earlier ones are left out`));
    for (const mark of marks) this.add(mark);
  }

  add(mark: Mark): void {
    const { seek } = this;
    const parts = [h("time", {}, formats.position(mark.ms)), " ", mark.label];
    const item = seek
      ? h("button", { type: "button", class: "quiet", click: () => seek(mark) }, ...parts)
      : h("span", {}, ...parts);
    this.list.append(h("li", {}, item));
    if (this.list.childElementCount > MAX_MARKS) this.list.firstElementChild?.remove();
    this.element.hidden = false;
    item.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}
