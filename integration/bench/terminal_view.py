"""From a wrapped program's write() on a terminal to what a browser has painted of it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time

from playwright.sync_api import Page, sync_playwright
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from integration.bench.harness import (
    LOG_SHIPPER,
    REPOSITORY,
    Bench,
    plain_environ,
    running,
)
from integration.bench.table import Figure, skipped
from tests.support.alis import read_event
from tests.support.browser import CHROMIUM, FLAGS

_WRITE_GOAL_MS = 40.0
_SEND_GOAL_MS, _SEND_P95_GOAL_MS = 30.0, 50.0
_WARM_UP = 20
_CALIBRATIONS = 50

CLOCK = """
import os, random, time
while True:
    os.write(1, b"\\x1b[H%019d" % time.monotonic_ns())
    time.sleep(random.uniform(0.04, 0.08))  # at no fixed place of a frame
"""
"""Writes the time of its own write(), and does so at no fixed place of a frame."""

_WATCH = """
() => {
    const screen = document.querySelector(".ap-term-text");
    window.painted = new Map();
    const channel = new MessageChannel();
    const waiting = [];
    channel.port1.onmessage = () => {
        const now = performance.now();
        for (const text of waiting.splice(0)) if (!window.painted.has(text)) window.painted.set(text, now);
    };
    new MutationObserver(() => {
        const text = /\\d{19}/.exec(screen.textContent)?.[0];
        if (!text) return;
        // The player changes its text while a frame is made; a message comes when that is done.
        waiting.push(text);
        channel.port2.postMessage(0);
    }).observe(screen, {childList: true, subtree: true, characterData: true});
}
"""


def terminal_view(bench: Bench) -> list[Figure]:
    """Isolated writes, each to the frame that shows it, all on this machine."""
    name = "write() to painted terminal"
    if CHROMIUM is None:
        return [skipped(name, "chromium is not installed")]
    count = 60 if bench.quick else 300
    known = bench.count_sessions()
    argv = (*LOG_SHIPPER, sys.executable, "-c", CLOCK)
    arrived_ns = dict[int, int]()
    with running(argv, bench.environ(shipping=True), on_pty=True):
        session_id = bench.wait_session(known + 1)["id"]
        other = threading.Thread(
            target=_watch, args=(bench, session_id, count + _WARM_UP, arrived_ns), daemon=True
        )
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(_link(bench))
            page.goto(f"{bench.state.url}/sessions/{session_id}/terminal")
            page.wait_for_selector(".ap-term-text .ap-line")
            page.evaluate(_WATCH)
            other.start()
            other.join(60)
            time.sleep(0.5)  # what was sent last is painted meanwhile
            offset_ns = _offset_ns(page)
            found = page.evaluate("[...window.painted]")
            browser.close()
    bench.forget_spools()
    painted_ns = {int(text): at_ms * 1e6 + offset_ns for text, at_ms in found}
    both = sorted(painted_ns.keys() & arrived_ns.keys())[_WARM_UP:]
    if len(both) < count // 2:
        raise SystemExit(f"of {count} writes {len(both)} were painted")
    written = sorted((painted_ns[each] - each) / 1e6 for each in both)
    sent = sorted((painted_ns[each] - arrived_ns[each]) / 1e6 for each in both)
    median, p95 = statistics.median(written), _p95(written)
    sent_median, sent_p95 = statistics.median(sent), _p95(sent)
    note = (
        f"{len(both)} writes, p95 {p95:.0f} ms, worst {written[-1]:.0f} ms;"
        " until the page has made the frame, not until a screen shows it"
    )
    return [
        Figure(
            f"{name}, median", median, "ms", goal="≤ 40", met=median <= _WRITE_GOAL_MS, note=note
        ),
        Figure(
            "sent to painted terminal, p50",
            sent_median,
            "ms",
            goal="≤ 30",
            met=sent_median <= _SEND_GOAL_MS,
            note="sent: when another viewer of the same protocol has it",
        ),
        Figure(
            "sent to painted terminal, p95",
            sent_p95,
            "ms",
            goal="≤ 50",
            met=sent_p95 <= _SEND_P95_GOAL_MS,
        ),
    ]


def _watch(bench: Bench, session_id: str, count: int, arrived_ns: dict[int, int]) -> None:
    """When each write comes to a viewer that paints nothing."""
    url = bench.state.url.replace("http", "ws", 1)
    try:
        with connect(
            f"{url}/api/sessions/{session_id}/live",
            additional_headers={"Authorization": f"Bearer {bench.state.view_token}"},
            subprotocols=[Subprotocol("v1.alis")],
            compression=None,
            proxy=None,
        ) as viewer:
            viewer.recv(10)  # the magic
            while len(arrived_ns) < count:
                raw = viewer.recv(10)
                now_ns = time.monotonic_ns()
                assert isinstance(raw, bytes)
                event = read_event(raw)
                if event.kind == "output":
                    arrived_ns[int(event.text[-19:])] = now_ns
    except ConnectionClosed as error:
        raise SystemExit(f"the backend closed the viewer's connection: {error}") from None


def _offset_ns(page: Page) -> float:
    """What makes a time of the page one of this process: of many looks the quickest."""
    looks = list[tuple[float, float]]()
    for _ in range(_CALIBRATIONS):
        before_ns = time.monotonic_ns()
        there_ms = page.evaluate("performance.now()")
        after_ns = time.monotonic_ns()
        looks.append((after_ns - before_ns, (before_ns + after_ns) / 2 - there_ms * 1e6))
    return min(looks)[1]


def _link(bench: Bench) -> str:
    argv = [sys.executable, "-m", "ptyshipper", "token", "link", "--data", str(bench.data_dir)]
    return subprocess.run(
        argv, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=plain_environ(), check=True
    ).stdout.strip()


def _p95(ordered: list[float]) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
