/** The one place of a page that tells what keeps it from showing what it should. */

import { h } from "./dom.ts";
import type { Trouble } from "./troubles.ts";

export class Notice {
  readonly element = h("div", { class: "notice", role: "status", hidden: true });
  private shown = "";

  show(trouble: Trouble): void {
    const said = `${trouble.title}\n${trouble.help}`;
    if (said === this.shown) return; // told again, it would be read out again
    this.shown = said;
    this.element.replaceChildren(h("strong", {}, trouble.title), " ", trouble.help);
    this.element.classList.toggle("passing", trouble.passes);
    this.element.hidden = false;
  }

  hide(): void {
    this.shown = "";
    this.element.hidden = true;
  }
}
