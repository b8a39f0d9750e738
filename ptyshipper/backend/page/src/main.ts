/** The page: the view that its address names. */

import "./style.css";
import { byId, h } from "./dom.ts";
import { showAppTrail, showHeader } from "./header.ts";
import { routeOf, type Route } from "./router.ts";
import { showSessions } from "./sessions.ts";
import { applyTheme } from "./theme.ts";

applyTheme();
showHeader();
show(byId("main"), routeOf(location.pathname));

function show(main: HTMLElement, route: Route | null): void {
  switch (route?.view) {
    case "sessions":
      showSessions(main);
      return;
    case "log":
      if ("app" in route.source) showAppTrail(route.source.app);
      void import("./log.ts").then(({ showLog }) => showLog(main, route.source));
      return;
    case "terminal":
      void import("./terminal.ts").then(({ showTerminal }) => showTerminal(main, route.id));
      return;
    default:
      main.replaceChildren(h("p", { class: "empty" }, "There is no such page. ", h("a", { href: "/" }, "All sessions")));
  }
}
