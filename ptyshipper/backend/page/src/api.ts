/** What the backend's viewer API answers; `/api/openapi.json` describes it. */

import { noteLetIn } from "./login.ts";

export interface Session {
  id: string;
  app_id: number | null;
  deployment_id: number | null;
  type: "build" | "runtime";
  hostname: string;
  command: string[];
  tty: boolean;
  started_at: string;
  ended_at: string | null;
  state: "running" | "exited" | "cut" | "quiet";
  exit_code: number | null;
  exit_signal: number | null;
  first_offset: number;
  bytes: number;
  entries: number;
  gaps: number;
  lost_bytes: number;
  cols: number;
  rows: number;
}

export type Parameters = Record<string, string | number | boolean | null | undefined>;

/** The backend answered, and not with what was asked for. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export function address(path: string, parameters: Parameters = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  return query.size ? `${path}?${query}` : path;
}

/** Throws Refused; TypeError where nobody answers. */
export async function open(url: string, signal?: AbortSignal): Promise<Response> {
  const response = await fetch(url, { signal: signal ?? null, cache: "no-store" });
  if (response.ok || response.status === 401) noteLetIn(response.ok);
  if (response.ok) return response;
  const told = (await response.json().catch(() => null)) as { error?: string } | null;
  throw new Refused(response.status, told?.error ?? response.statusText);
}

export async function ask<T>(path: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<T> {
  return (await open(address(path, parameters), signal)).json() as Promise<T>;
}
