/** What comes to a log while one looks: a stream of server-sent events that is opened again where it broke.
 *
 * Through fetch: an EventSource does not tell 401 from a backend that is away.
 */

import { open, Refused } from "./api.ts";
import { EventParser, type ServerEvent } from "./sse.ts";

const FIRST_WAIT_MS = 500;
const MOST_WAIT_MS = 10_000;
/** The backend says something every 15 s. */
const SILENCE_MS = 40_000;

export type Connection =
  | { state: "live" }
  | { state: "waiting"; untilMs: number; error: unknown }
  | { state: "ended" }
  | { state: "refused"; error: unknown };

export class Live {
  private aborting = new AbortController();
  private isOver = false;

  /** `url` is asked for anew for each connection: it says where to go on. `receive` returns true for the
   * last event of all. */
  constructor(
    private readonly url: () => string,
    private readonly receive: (events: ServerEvent[]) => boolean,
    private readonly tell: (connection: Connection) => void,
  ) {}

  async run(): Promise<void> {
    let waitMs = FIRST_WAIT_MS;
    while (!this.isOver) {
      try {
        if (await this.follow(() => (waitMs = FIRST_WAIT_MS))) {
          if (!this.isOver) this.tell({ state: "ended" });
          return;
        }
        throw new TypeError("the stream broke off");
      } catch (error) {
        if (this.isOver) return;
        if (error instanceof Refused && error.status < 500 && error.status !== 408 && error.status !== 429) {
          this.tell({ state: "refused", error });
          return;
        }
        const ms = waitMs * (0.5 + Math.random() / 2); // or all come back at once
        waitMs = Math.min(MOST_WAIT_MS, waitMs * 2);
        this.tell({ state: "waiting", untilMs: Date.now() + ms, error });
        await this.pause(ms);
      }
    }
  }

  stop(): void {
    this.isOver = true;
    this.aborting.abort();
  }

  /** true: that was all there will ever be. */
  private async follow(noteGood: () => void): Promise<boolean> {
    const aborting = (this.aborting = new AbortController());
    let silence = 0;
    const listen = () => {
      clearTimeout(silence);
      silence = window.setTimeout(() => aborting.abort(new TypeError("nothing was heard")), SILENCE_MS);
    };
    listen();
    try {
      const response = await open(this.url(), aborting.signal);
      if (response.status === 204 || !response.body) return true;
      this.tell({ state: "live" });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new EventParser();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return false;
        listen();
        const events = parser.feed(value);
        if (events.length === 0) continue;
        noteGood();
        if (this.receive(events)) return true;
      }
    } finally {
      clearTimeout(silence);
      aborting.abort();
    }
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const signal = (this.aborting = new AbortController()).signal;
      const timer = window.setTimeout(resolve, ms);
      signal.addEventListener("abort", () => {
        clearTimeout(timer);
        resolve();
      });
      window.addEventListener("online", () => resolve(), { once: true, signal });
    });
  }
}
