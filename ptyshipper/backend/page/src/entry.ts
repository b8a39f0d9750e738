/** A line or an event of a log, as the backend tells it. */

export const STREAMS = ["stdout", "stderr", "tty"] as const;
export type Stream = (typeof STREAMS)[number];
/** In place of a stream: what happened beside the output alone. */
export const EVENTS_ALONE = "none" as const;

export interface Entry {
  /** null: a line whose newline is yet to come. The page counts from 1, the backend from 0. */
  number: number | null;
  time_us: number;
  kind: "line" | "resized" | "signalled" | "exited" | "gap";
  text: string;
  stream?: Stream;
  truncated?: boolean;
  /** The session's id, where there are several. */
  session?: string;
  pod?: string;
  /** Behind it, where several sessions are merged. */
  cursor?: string;
  /** Rises in the order in which entries became readable. */
  id: number | null;
  signal?: number | null;
  code?: number | null;
}

/** A piece of a log: what lies between two cursors, which mean something to their source alone. */
export interface Page {
  entries: Entry[];
  /** The lines that are open at the end, where this is it. */
  unfinished: Entry[];
  /** null: this is the beginning. */
  before: string | null;
  after: string;
  isLast: boolean;
  /** Entries with greater ids are in no page yet; where several sessions are merged. */
  horizon?: number;
}

/** Lines are counted from 1. */
export const shownNumber = (number: number) => number + 1;
