/** The page: who one is, and the sessions. */

import "./style.css";
import { byId, h } from "./dom.ts";
import { showSessions } from "./sessions.ts";

const bar = byId("bar");
const main = byId("main");

bar.append(
  h("a", { href: "/", class: "brand" }, "ptyshipper"),
  h("button", { type: "button", class: "quiet", click: () => void logOut() }, "Log out"),
);
showSessions(main);

async function logOut(): Promise<void> {
  await fetch("/logout", { method: "POST", redirect: "manual" }).catch(() => null);
  localStorage.clear();
  location.assign("/");
}
