import { deepEqual, equal, throws } from "node:assert/strict";
import { test } from "node:test";
import { Chain, KEPT_PAGES } from "../../../ptyshipper/backend/page/src/chain.ts";
import type { Entry, Page } from "../../../ptyshipper/backend/page/src/entry.ts";
import { hashOf, linesOf } from "../../../ptyshipper/backend/page/src/permalink.ts";
import { placeOf } from "../../../ptyshipper/backend/page/src/place.ts";
import { finder } from "../../../ptyshipper/backend/page/src/search.ts";
import { EventParser } from "../../../ptyshipper/backend/page/src/sse.ts";

const entry = (number: number): Entry => ({ number, time_us: number, id: number, kind: "line", text: `line ${number}` });

function pageOf(begin: number, end: number, isLast = false): Page {
  const entries = Array.from({ length: end - begin }, (_, at) => entry(begin + at));
  return { entries, unfinished: [], before: begin ? String(begin) : null, after: String(end), isLast };
}

const numbers = (chain: Chain) => Array.from({ length: chain.length }, (_, at) => chain.at(chain.begin + at)?.number);

test("an entry keeps its index while pages come and go at both ends", () => {
  const chain = new Chain();
  chain.append(pageOf(1000, 1010));
  equal(chain.at(3)?.number, 1003);
  for (let begin = 1010; begin < 1000 + 10 * KEPT_PAGES; begin += 10) chain.append(pageOf(begin, begin + 10));
  equal(chain.at(3)?.number, 1003);
  chain.append(pageOf(1000 + 10 * KEPT_PAGES, 1010 + 10 * KEPT_PAGES, true));
  equal(chain.at(3), undefined, "the furthest page is dropped");
  equal(chain.at(13)?.number, 1013);
  equal(chain.before, "1010");
  chain.prepend(pageOf(1000, 1010));
  equal(chain.at(3)?.number, 1003);
  equal(chain.isLast, false, "the last page was dropped in its place");
  deepEqual([chain.begin, chain.after], [0, String(1000 + 10 * KEPT_PAGES)]);
});

test("what comes live follows the last page, by pages of its own", () => {
  const chain = new Chain();
  chain.append(pageOf(0, 490, true));
  chain.grow([490, 491].map(entry), "490", "492");
  chain.grow(Array.from({ length: 20 }, (_, at) => entry(492 + at)), "492", "512");
  deepEqual(numbers(chain), Array.from({ length: 512 }, (_, at) => at));
  equal(chain.after, "512");
  chain.unfinished = [{ ...entry(0), number: null }];
  equal(chain.shownEnd, 513);
  equal(chain.shown(512)?.number, null);
  chain.noteMore();
  deepEqual([chain.isLast, chain.shownEnd], [false, 512]);
  equal(chain.find((each) => (each.number ?? 0) >= 77), 77);
  equal(chain.find(() => false), null);
});

test("events are read however they are cut", () => {
  const text = 'retry: 1000\n\nid: 7\nevent: entries\ndata: [1]\n\n:\n\nevent: end\ndata: {"a":\ndata: 2}\n\n';
  const wanted = [{ name: "entries", data: "[1]", id: "7" }, { name: "end", data: '{"a":\n2}', id: "" }];
  for (let cut = 0; cut <= text.length; cut++) {
    const parser = new EventParser();
    deepEqual([...parser.feed(text.slice(0, cut)), ...parser.feed(text.slice(cut))], wanted);
  }
  throws(() => new EventParser().feed("data: " + "x".repeat((64 << 20) + 1)), RangeError);
});

test("permalinks are read as they are written", () => {
  const session = "0123456789abcdef0123456789abcdef";
  for (const lines of [{ session: null, first: 5, last: 5 }, { session: null, first: 5, last: 12 }, { session, first: 1, last: 2 }]) {
    deepEqual(linesOf(hashOf(lines)), lines);
  }
  deepEqual(linesOf("#L9-L3"), { session: null, first: 3, last: 9 });
  for (const none of ["", "#", "#L", "#L0", "#L1-", "#l5", "#L1-L0", "#x.L5", "#L1234567890123456"]) equal(linesOf(none), null, none);
});

test("a place is a line, a time of the day, or one since the start", () => {
  const started = Date.UTC(2026, 10, 25, 12, 0, 0) * 1000;
  const at = (typed: string) => placeOf(typed, "utc", started + 3_600e6, started);
  const us = (...time: [number, number, number, number, number, number?]) => ({ timeUs: Date.UTC(...time) * 1000 });
  deepEqual(at("12,345"), { number: 12345 });
  deepEqual(at("#L7"), { number: 7 });
  deepEqual(at("13:14"), us(2026, 10, 25, 13, 14));
  deepEqual(at("13:14:15.5"), { timeUs: Date.UTC(2026, 10, 25, 13, 14, 15, 500) * 1000 });
  deepEqual(at("2026-11-24 1:02"), us(2026, 10, 24, 1, 2));
  deepEqual(at("2026-11-24"), us(2026, 10, 24, 0, 0));
  deepEqual(at("2026-11-24T01:02:03Z"), us(2026, 10, 24, 1, 2, 3));
  deepEqual(at("+1:30"), { timeUs: started + 90e6 });
  deepEqual(at("+100:00:00"), { timeUs: started + 360_000e6 });
  deepEqual(placeOf("13:14", "local", started, started), { timeUs: new Date(2026, 10, new Date(started / 1000).getDate(), 13, 14).getTime() * 1000 });
  for (const none of ["", "0", "noon", "25:00", "12:60", "12:00:60", "2026-13-01", "1:2:3:4", "-5"]) equal(at(none), null, none);
});

test("a text is found as it is written, whatever is in it", () => {
  for (let code = 32; code < 127; code++) {
    const text = `x${String.fromCharCode(code)}y`;
    deepEqual(finder(text, true)(`a ${text} b`), [[2, 5]], text);
  }
  deepEqual(finder("2026-11-25 --FLAG", false)("on 2026-11-25 --flag"), [[3, 20]]);
});
