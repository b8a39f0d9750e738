"""The log view in a real browser: what is seen of a log, live and of the past, and what keeps it from that."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from ptyshipper import records
from ptyshipper.records import GapCause, Kind, encode
from tests.support.browser import (
    browser,
    context,
    link_to,
    needs_chromium,
    serious_violations,
    take_picture,
)
from tests.support.server import Server, Shipper, exit_record, output, running_server, start_record

__all__ = ["browser", "context"]
ROWS = ".log .row"
TEXTS = ".log .row .text"
BATCH_LINES = 2_000

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("log")) as server:
        yield server


@pytest.fixture
def page(context: BrowserContext, backend: Server) -> Iterator[Page]:
    """Logged in; an error of a script fails the test."""
    opened = context.new_page()
    errors = list[str]()
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(link_to(backend))
    yield opened
    assert errors == []


@pytest.fixture
def started(backend: Server) -> Iterator[Callable[..., Shipper]]:
    """Makes shippers of sessions that have begun."""
    made = list[Shipper]()

    def start(**description: Any) -> Shipper:
        made.append(Shipper(backend, os.urandom(16), **description))
        made[-1].ship(start_record())
        return made[-1]

    yield start
    for shipper in made:
        shipper.socket.close()


Start = Callable[..., Shipper]


def show(page: Page, backend: Server, shipper: Shipper, more: str = "") -> Locator:
    """The texts of the rows of the session's log."""
    page.goto(f"{backend.state.url}/sessions/{shipper.session_id.hex()}{more}")
    expect(page.locator(".loading")).to_be_hidden()
    return page.locator(TEXTS)


def ship_lines(shipper: Shipper, first: int, last: int) -> None:
    """``line N``, a millisecond apart, as many at a time as a batch holds."""
    for begin in range(first, last + 1, BATCH_LINES):
        lines = range(begin, min(begin + BATCH_LINES, last + 1))
        shipper.send(b"".join(output(b"line %d\n" % n, time_us=n * 1_000) for n in lines))
        shipper.wait_acknowledged()


def shown(page: Page) -> list[str]:
    """The texts that are in the window, from its upper to its lower edge."""
    found: list[str] = page.evaluate(
        """() => {
            const box = document.querySelector(".log").getBoundingClientRect();
            return [...document.querySelectorAll(".log .row")].filter((row) => {
                const at = row.getBoundingClientRect();
                return at.bottom > box.top + 1 && at.top < box.bottom - 1;
            }).map((row) => row.querySelector(".text").textContent);
        }"""
    )
    return found


def expect_seen(page: Page, text: str) -> None:
    """The row with exactly this text comes into the window."""
    expect(page.locator(TEXTS, has_text=re.compile(f"^{re.escape(text)}$"))).to_be_in_viewport()


def test_lines_come_live_with_time_and_stream_and_the_end(
    page: Page, backend: Server, started: Start
) -> None:
    shipper = started(command=["serve", "--all"])
    texts = show(page, backend, shipper)
    expect(page.locator(".empty")).to_have_text("Nothing has been printed yet.")
    expect(page.locator(".connection")).to_have_text("live")
    take_picture(page, "log-empty")
    shipper.ship(output(b"one\n", time_us=61_001_000) + output(b"two\n", Kind.STDERR, 62_000_000))
    expect(texts).to_have_text(["one", "two"])
    expect(page.locator(".row.stderr .text")).to_have_text("two")
    expect(page.locator(".log .no")).to_have_text(["1", "2"])
    shipper.ship(output(b"half a li", time_us=63_000_000))
    expect(page.locator(".row.open .text")).to_have_text("half a li")
    shipper.ship(output(b"ne\n", time_us=64_000_000))
    expect(texts).to_have_text(["one", "two", "half a line"])
    page.get_by_label("Times").select_option("relative")
    expect(page.locator(".log time")).to_have_text(["+01:01.001", "+01:02.000", "+01:03.000"])
    page.get_by_label("Times").select_option("utc")
    expect(page.locator(".log time").first).to_have_text("2023-11-14 22:14:21.001")
    shipper.ship(
        encode(Kind.RESIZED, 65_000_000, records.resized(100, 30))
        + encode(Kind.SIGNALLED, 65_000_000, records.signalled(15))
        + encode(Kind.GAP, 66_000_000, records.gap(33, 30, GapCause.OVERFLOW))
        + exit_record(3, time_us=67_000_000)
    )
    expect(page.locator(".tools .mood")).to_have_text("exited 3")
    expect(texts).to_have_count(7)
    assert texts.all_text_contents()[3:] == [
        "window 100 x 30",
        "SIGTERM sent",
        "30 bytes lost: the spool was full",
        "exited with 3",
    ]
    assert "serve --all" in page.title()
    take_picture(page, "log-ended")
    assert serious_violations(page) == []
