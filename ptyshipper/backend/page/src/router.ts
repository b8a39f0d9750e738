/** Which view an address is. Every link loads a page, so that history, new tabs and bookmarks are the
 * browser's own; the script is in its cache by then. Pure. */

export type Route =
  | { view: "sessions" }
  | { view: "log"; source: Source }
  | { view: "terminal"; id: string };

/** What a log view is of: one session, or all pods of an app. */
export type Source = { session: string } | { app: number };

/** null: no view has this address. */
export function routeOf(path: string): Route | null {
  if (path === "/") return { view: "sessions" };
  const app = /^\/apps\/(-?\d{1,16})$/.exec(path)?.[1];
  if (Number.isSafeInteger(Number(app))) return { view: "log", source: { app: Number(app) } };
  const [, id, rest] = /^\/sessions\/([0-9a-f]{32})(\/terminal)?$/.exec(path) ?? [];
  if (id === undefined) return null;
  return rest ? { view: "terminal", id } : { view: "log", source: { session: id } };
}

export const sessionPath = (id: string) => `/sessions/${id}`;
export const terminalPath = (id: string) => `/sessions/${id}/terminal`;
export const appPath = (id: number) => `/apps/${id}`;
export const sessionsPath = (filter: "app" | "deployment" | "hostname", value: number | string) =>
  `/?${new URLSearchParams({ [filter]: String(value) })}`;
