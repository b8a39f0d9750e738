/** Values as people read them. Pure. */

import type { Session } from "./api.ts";

const SIGNALS: Record<number, string> = {
  1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
  9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
};

export type Mood = "good" | "bad" | "busy" | "odd";

/** The state in words, and what to feel about it. */
export function stateOf(session: Session): { words: string; mood: Mood } {
  if (session.state === "running") return { words: "running", mood: "busy" };
  if (session.state === "cut") return { words: "cut off", mood: "odd" };
  if (session.state === "quiet") return { words: "quiet", mood: "odd" };
  if (session.exit_signal) {
    return { words: SIGNALS[session.exit_signal] ?? `signal ${session.exit_signal}`, mood: "bad" };
  }
  return { words: `exited ${session.exit_code}`, mood: session.exit_code === 0 ? "good" : "bad" };
}

export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 999.5 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit && count < 9.95 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

export function count(value: number): string {
  return value.toLocaleString("en");
}

export function duration(ms: number): string {
  if (ms < 0) return "0 s";
  if (ms < 59_950) return `${ms < 9_950 ? (ms / 1000).toFixed(1) : Math.round(ms / 1000)} s`;
  const s = Math.round(ms / 1000);
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  const min = Math.floor(s / 60);
  if (min < 1440) return `${Math.floor(min / 60)} h ${min % 60} min`;
  return `${Math.floor(min / 1440)} d ${Math.floor(min / 60) % 24} h`;
}

/** A moment of a recording. */
export function position(ms: number): string {
  const s = Math.floor(ms / 1000);
  const [hours, min] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return hours ? `${hours}:${pad(min)}:${pad(s % 60)}` : `${min}:${pad(s % 60)}`;
}

const pad = (value: number, digits = 2) => String(value).padStart(digits, "0");

export type Clock = "local" | "utc" | "relative" | "none";

/** When it was: with the date only where `dated`, since lines of one day say it once too often. */
export function time(us: number, clock: Clock, startedUs: number, dated = false): string {
  if (clock === "none") return "";
  if (clock === "relative") return since(us - startedUs);
  const date = new Date(us / 1000);
  const [day, ms] = clock === "utc" ? utc(date) : local(date);
  return `${dated ? `${day} ` : ""}${ms}`;
}

function since(us: number): string {
  const ms = Math.trunc(Math.abs(us) / 1000);
  const [s, min, hours] = [Math.trunc(ms / 1000), Math.trunc(ms / 60_000), Math.trunc(ms / 3_600_000)];
  return `${us < 0 ? "-" : "+"}${hours ? `${hours}:` : ""}${pad(min % 60)}:${pad(s % 60)}.${pad(ms % 1000, 3)}`;
}

function local(d: Date): [string, string] {
  return [
    `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())}`,
    `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}.${pad(d.getMilliseconds(), 3)}`,
  ];
}

function utc(d: Date): [string, string] {
  const iso = d.toISOString();
  return [iso.slice(0, 10), iso.slice(11, 23)];
}
