/** The bar above every view: where one is, light or dark, and the way out. */

import type { Session } from "./api.ts";
import { byId, h } from "./dom.ts";
import { logOut, onLogin } from "./login.ts";
import { appPath, sessionPath, sessionsPath } from "./router.ts";
import { described, nextTheme, theme } from "./theme.ts";

const trail = h("ol");

export function showHeader(): void {
  const themes = h("button", { type: "button", class: "quiet sign", click: () => tellTheme(nextTheme()) });
  const tellTheme = (now: ReturnType<typeof theme>) => {
    const { sign, words } = described(now);
    themes.textContent = sign;
    themes.title = words;
    themes.setAttribute("aria-label", words);
  };
  tellTheme(theme());
  const out = h("button", { type: "button", class: "quiet", hidden: true, click: () => void logOut() }, "Log out");
  onLogin((isIn) => (out.hidden = !isIn));
  byId("bar").append(
    h("a", { href: "/", class: "brand", title: "All sessions" }, "ptyshipper"),
    h("nav", { class: "trail", "aria-label": "Where this is" }, trail),
    themes,
    out,
  );
}

/** App, deployment, pod, session, and the view of it where that is not its log. */
export function showTrail(session: Session, view: "log" | "terminal"): void {
  const { app_id: app, deployment_id: deployment, hostname } = session;
  const words = session.command.join(" ") || "(no command)";
  const log = sessionPath(session.id);
  show([
    ...(app === null ? [] : [{ words: `app ${app}`, href: appPath(app) }]),
    ...(deployment === null ? [] : [{ words: `deployment ${deployment}`, href: sessionsPath("deployment", deployment) }]),
    ...(hostname ? [{ words: hostname, href: sessionsPath("hostname", hostname) }] : []),
    { words, href: log, command: true },
    ...(view === "terminal" ? [{ words: "terminal", href: location.pathname }] : []),
  ]);
}

export function showAppTrail(app: number): void {
  show([{ words: `app ${app}`, href: appPath(app) }]);
}

interface Step {
  words: string;
  href: string;
  command?: boolean;
}

function show(steps: Step[]): void {
  const told = steps.map((step) => `${step.href} ${step.words}`).join("\n");
  if (told === trail.dataset.told) return; // what has the focus keeps it
  trail.dataset.told = told;
  trail.replaceChildren(
    ...steps.map(({ words, href, command }, at) => {
      const attributes = { href, title: words, ...(at === steps.length - 1 ? { "aria-current": "page" } : {}) };
      return h("li", command ? { class: "command" } : {}, h("a", attributes, words));
    }),
  );
}
