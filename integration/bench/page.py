"""The log view in a real Chromium: a session of five million lines, and one that goes on.

Times are the page's own: from the start of the navigation, or of a jump, until behind the paint that shows
it. A line holds the wall time of its write(), so its age is known where it is painted.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from integration.bench.harness import LOG_SHIPPER, Bench, running
from integration.bench.lines import store_lines
from integration.bench.table import Figure, skipped
from ptyshipper.backend.page.serving import BUILT
from tests.support.browser import CHROMIUM, FLAGS

LINES = 5_000_000
ROUNDS = 11
JUMPS = 60
FOLLOWED_S, QUICK_FOLLOWED_S = 40, 10
LINES_PER_S = 2_000
_TICK_S = 0.01
_LARGE = bytes(16)

_WATCH = """
(() => {
    // Behind the paint of a frame in which rows have changed: a task that the frame has queued.
    const channel = new MessageChannel();
    const ages = (window.ages = []);
    let isDue = false;
    channel.port1.onmessage = () => {
        isDue = false;
        const now = performance.timeOrigin + performance.now();
        window.paintedMs = performance.now();
        window.firstMs ??= window.paintedMs;
        const texts = [...document.querySelectorAll(".log .row .text")].slice(-40);
        for (const text of texts) {
            const at = Number(text.textContent.split(" ")[0]) / 1e6;
            if (at > (window.lastAt ?? 0) && at > 1e12) {
                ages.push(now - at);
                window.lastAt = at;
            }
        }
    };
    const changed = () => {
        if (isDue || !document.querySelector(".log .row")) return;
        isDue = true;
        requestAnimationFrame(() => channel.port2.postMessage(0));
    };
    new MutationObserver(changed).observe(document, { childList: true, subtree: true });
})();
"""
_JUMP = """(number) => new Promise((resolve) => {
    const began = performance.now();
    location.hash = `#L${number}`;
    const wanted = String(number);
    const look = () => {
        const numbers = [...document.querySelectorAll(".log .row .no")];
        const found = numbers.some((no) => no.textContent === wanted);
        if (!found) return requestAnimationFrame(look);
        const channel = new MessageChannel();
        channel.port1.onmessage = () => resolve(performance.now() - began);
        requestAnimationFrame(() => channel.port2.postMessage(0));
    };
    look();
})"""
_FRAMES = """() => {
    const frames = (window.frames_ms = []);
    let last = performance.now();
    const next = (now) => {
        frames.push(now - last);
        last = now;
        if (window.frames_ms === frames) requestAnimationFrame(next);
    };
    requestAnimationFrame((now) => { last = now; requestAnimationFrame(next); });
}"""
_WRITER = """
import os, time
every_s, lines = %r, %r
due = time.monotonic()
while True:
    line = b"%%d a line of some length, as programs write them\\n"
    os.write(1, b"".join(line %% time.time_ns() for _ in range(lines)))
    due += every_s
    time.sleep(max(0, due - time.monotonic()))
"""


def page(bench: Bench) -> list[Figure]:
    """With a backend of its own."""
    if CHROMIUM is None:
        return [skipped("log view", "chromium is not installed")]
    with Bench(quick=bench.quick) as own:
        own.data_dir.mkdir()
        asyncio.run(store_lines(own.data_dir, {_LARGE: LINES}))
        with _browser(own) as browser:
            return [*_history(own, browser), *_live(own, browser), _script()]


def _history(bench: Bench, browser: Browser) -> list[Figure]:
    path = f"/sessions/{_LARGE.hex()}"
    opened = [_open(bench, browser, path) for _ in range(bench.rounds(ROUNDS))]
    shown = _new_page(browser)
    shown.goto(bench.state.url + path)
    shown.wait_for_selector(".log .row")
    source = random.Random(1)
    jumps = [
        float(shown.evaluate(_JUMP, source.randrange(1, LINES))) for _ in range(bench.rounds(JUMPS))
    ]
    frames = _scroll(shown)
    memory = _memory_mb(browser)
    shown.context.close()
    return [
        _figure("5 M lines, opened, median", statistics.median(opened), "ms", 400),
        _figure("5 M lines, jump to any, median", statistics.median(jumps), "ms", 150),
        _figure("5 M lines, jump to any, p95", _p95(jumps), "ms", 150),
        _figure("5 M lines, wheel, frame p95", _p95(frames), "ms", 20),
        _figure("5 M lines, memory of the tab", memory, "MB", 200),
    ]


def _open(bench: Bench, browser: Browser, path: str) -> float:
    """In a context of its own, so that nothing is in its cache."""
    opened = _new_page(browser)
    opened.goto(bench.state.url + path)
    opened.wait_for_selector(".log .row")
    # Asked by hand: the policy forbids what wait_for_function does.
    while (took_ms := opened.evaluate("window.firstMs")) is None:
        opened.wait_for_timeout(20)
    opened.context.close()
    return float(took_ms)


def _scroll(shown: Page) -> list[float]:
    shown.locator(".log").hover()
    shown.evaluate(_FRAMES)
    for step in range(120):
        shown.mouse.wheel(0, 400 if step < 60 else -400)
        shown.wait_for_timeout(25)
    frames: list[float] = shown.evaluate("window.frames_ms")
    return frames


def _live(bench: Bench, browser: Browser) -> list[Figure]:
    seconds = QUICK_FOLLOWED_S if bench.quick else FOLLOWED_S
    with _followed(bench, browser, _WRITER % (0.1, 1)) as shown:
        shown.wait_for_timeout(1_000)
        shown.evaluate("window.ages.length = 0")
        shown.wait_for_timeout(seconds * 500)
        single: list[float] = shown.evaluate("window.ages")
    writer = _WRITER % (_TICK_S, int(LINES_PER_S * _TICK_S))
    with _followed(bench, browser, writer) as shown:
        shown.wait_for_timeout(2_000)
        before_s, began_s = _renderer_cpu_s(browser), time.monotonic()
        shown.evaluate("window.ages.length = 0")
        shown.wait_for_timeout(seconds * 1_000)
        many: list[float] = shown.evaluate("window.ages")
        core = (_renderer_cpu_s(browser) - before_s) / (time.monotonic() - began_s) * 100
        memory = _memory_mb(browser)
        total = shown.locator(".place").text_content()
    bench.forget_spools()
    note = f"{len(single)} lines, one every 100 ms; worst {max(single):.0f} ms"
    return [
        _figure("write() to the painted log, median", statistics.median(single), "ms", 40, note),
        _figure("write() to the painted log, p95", _p95(single), "ms", None),
        _figure(
            f"following {LINES_PER_S:,} lines/s, write() to paint, p95",
            _p95(many),
            "ms",
            60,
            f"{len(many)} lines' ages, median {statistics.median(many):.0f} ms; at the end {total}",
        ),
        _figure(
            f"following {LINES_PER_S:,} lines/s, processor of the tab", core, "% of a core", 40
        ),
        _figure(f"following {LINES_PER_S:,} lines/s, memory of the tab", memory, "MB", 200),
    ]


@contextmanager
def _followed(bench: Bench, browser: Browser, program: str) -> Iterator[Page]:
    """The log of a wrapped program that runs meanwhile."""
    known = bench.count_sessions()
    argv = (*LOG_SHIPPER, sys.executable, "-c", program)
    with running(argv, bench.environ(shipping=True)):
        session = bench.wait_session(known + 1)
        shown = _new_page(browser)
        shown.goto(f"{bench.state.url}/sessions/{session['id']}")
        shown.wait_for_selector(".connection.live")
        yield shown
        shown.context.close()


def _script() -> Figure:
    """What the log view loads: all but the terminal's part."""
    parts = [path for path in BUILT.glob("*.js.gz") if not path.name.startswith("terminal")]
    size = sum(path.stat().st_size for path in parts) / 1_000
    return _figure("script of the log view, packed", size, "kB", 40)


@contextmanager
def _browser(bench: Bench) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        # Entered once: a token in a header saves the way through a login.
        launched.bearer = f"Bearer {bench.state.view_token}"  # type: ignore[attr-defined]
        yield launched
        launched.close()


def _new_page(browser: Browser) -> Page:
    headers = {"Authorization": browser.bearer}  # type: ignore[attr-defined]
    context = browser.new_context(
        viewport={"width": 1280, "height": 720}, extra_http_headers=headers
    )
    context.add_init_script(_WATCH)
    return context.new_page()


def _renderers(browser: Browser) -> list[dict[str, Any]]:
    told = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
    return [each for each in told["processInfo"] if each["type"] == "renderer"]


def _renderer_cpu_s(browser: Browser) -> float:
    return float(sum(each["cpuTime"] for each in _renderers(browser)))


def _memory_mb(browser: Browser) -> float:
    """The largest renderer's, its share of what is shared with others included (PSS)."""
    sizes = []
    for each in _renderers(browser):
        rollup = Path(f"/proc/{each['id']}/smaps_rollup").read_text()
        sizes.append(
            next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        )
    return max(sizes) / 1_000


def _p95(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.95))]


def _figure(name: str, ours: float, unit: str, goal: float | None, note: str = "") -> Figure:
    if goal is None:
        return Figure(name, ours, unit, note=note)
    return Figure(name, ours, unit, goal=f"≤ {goal:g}", met=ours <= goal, note=note)
