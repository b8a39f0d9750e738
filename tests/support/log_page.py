"""A log in the page of a real browser, for tests: its rows, and shippers that write to it.

A module that tests it imports ``backend``, ``page`` and ``started``, which are fixtures, and those of
``tests.support.browser``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.support.browser import link_to
from tests.support.server import Server, Shipper, output, running_server, start_record

ROWS = ".log .row"
TEXTS = ".log .row .text"
BATCH_LINES = 1_000
Start = Callable[..., Shipper]


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
