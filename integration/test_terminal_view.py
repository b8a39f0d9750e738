"""The terminal view in a real browser: live, recorded, and what keeps it from either."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

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
SCREEN = ".ap-term-text"

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("terminal")) as server:
        yield server


@pytest.fixture
def page(context: BrowserContext, backend: Server) -> Page:
    """Logged in."""
    opened = context.new_page()
    opened.goto(link_to(backend))
    return opened


@pytest.fixture
def started(backend: Server) -> Iterator[Callable[..., Shipper]]:
    """Makes shippers of sessions that have begun on a terminal."""
    made = list[Shipper]()

    def start(cols: int = 80, rows: int = 24, **description: Any) -> Shipper:
        described = {"tty": True, "command": ["bash"], **description}
        made.append(Shipper(backend, os.urandom(16), **described))
        made[-1].ship(start_record(cols, rows))
        return made[-1]

    yield start
    for shipper in made:
        shipper.socket.close()


def show(page: Page, backend: Server, shipper: Shipper, more: str = "") -> None:
    page.goto(f"{backend.state.url}/sessions/{shipper.session_id.hex()}/terminal{more}")


def tty(text: str, time_us: int = 1_000) -> bytes:
    return output(text.encode(), Kind.TTY, time_us)


def resized(cols: int, rows: int, time_us: int = 1_000) -> bytes:
    return encode(Kind.RESIZED, time_us, records.resized(cols, rows))


Start = Callable[..., Shipper]


def test_live_screen_is_joined_late_and_followed(
    page: Page, backend: Server, started: Start
) -> None:
    """What is on it, what happens on it, what happens beside; and the end, with the screen still there."""
    shipper = started(100, 30, app_id=None)
    shipper.ship(tty("\x1b[31mbefore\x1b[0m joined\r\n"))
    show(page, backend, shipper)
    expect(page.locator(SCREEN)).to_contain_text("before joined")
    expect(page.locator(".tools")).to_contain_text("100 × 30")
    expect(page.locator(".mood")).to_have_text("running")
    shipper.ship(tty("then ") + output(b"\xe4\xb8", Kind.TTY))
    shipper.ship(output(b"\x96\r\n", Kind.TTY))
    expect(page.locator(SCREEN)).to_contain_text("世")
    take_picture(page, "terminal-live")
    shipper.ship(resized(60, 20))
    expect(page.locator(".tools")).to_contain_text("60 × 20")
    shipper.ship(encode(Kind.SIGNALLED, 6, records.signalled(15)))
    shipper.ship(encode(Kind.GAP, 7, records.gap(33, 30, GapCause.OVERFLOW)))
    marks = page.locator(".marks li")
    expect(marks).to_have_count(3)
    shipper.ship(tty("the last line") + exit_record(3))
    expect(page.locator(".mood")).to_have_text("exited 3")
    expect(marks).to_have_count(4)
    told = [each.split(" ", 1)[1] for each in marks.all_text_contents()]
    assert told == [
        "resized to 60 × 20",
        "SIGTERM sent",
        "30 bytes lost: the spool was full",
        "exited 3",
    ]
    expect(page.locator(SCREEN)).to_contain_text("the last line")
    expect(page.locator(".ap-overlay-info")).to_be_hidden()
    take_picture(page, "terminal-live-ended")
