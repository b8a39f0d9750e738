"""The log view in a real browser: what goes wrong under an open page, and is told or overcome."""

from __future__ import annotations

import os
import re
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from tests.support.browser import (
    browser,
    context,
    link_to,
    needs_chromium,
    serious_violations,
    take_picture,
)
from tests.support.log_page import (
    ROWS,
    TEXTS,
    Start,
    backend,
    expect_seen,
    page,
    ship_lines,
    show,
    shown,
    started,
)
from tests.support.patience import until
from tests.support.server import Server, Shipper, output, running_server, start_record

__all__ = ["backend", "browser", "context", "page", "started"]

pytestmark = needs_chromium


def test_backend_that_restarts_under_an_open_page_loses_and_doubles_nothing(
    page: Page, tmp_path: Any
) -> None:
    with running_server(tmp_path) as server:
        page.goto(link_to(server))
        shipper = Shipper(server, os.urandom(16))
        shipper.ship(start_record())
        show(page, server, shipper)
        expect(page.locator(".connection")).to_have_text("live")
        ship_lines(shipper, 1, 20)
        expect_seen(page, "line 20")
        for restart in range(3):
            server.kill()
            expect(page.locator(".connection")).to_have_text(re.compile("reconnecting"))
            expect(page.locator(".notice")).to_contain_text("Disconnected")
            if restart == 0:
                take_picture(page, "log-disconnected")
            server.start()
            again = Shipper(server, shipper.session_id)
            ship_lines(again, 21 + 20 * restart, 40 + 20 * restart)
            expect_seen(page, f"line {40 + 20 * restart}")
            expect(page.locator(".notice")).to_be_hidden()
        page.evaluate("document.querySelector('.log').scrollTop = 0")
        expect_seen(page, "line 1")
        seen = shown(page)
        page.keyboard.press("G")
        expect_seen(page, "line 80")
        seen += shown(page)
        page.locator(".volume").focus()
        told = page.evaluate(
            "[...document.querySelectorAll('.log .row .no')].map((no) => no.textContent)"
        )
        assert len(set(told)) == len(told)
        assert set(seen) <= {f"line {n}" for n in range(1, 81)}
        page.set_viewport_size({"width": 1280, "height": 1900})
        expect(page.locator(TEXTS)).to_have_text([f"line {n}" for n in range(1, 81)])


def test_who_may_not_look_is_told(
    page: Page, context: BrowserContext, backend: Server, started: Start
) -> None:
    shipper = started()
    shipper.ship(output(b"secret\n"))
    page.goto(f"{backend.state.url}/sessions/{'0' * 32}")
    expect(page.get_by_role("status").first).to_contain_text("No such session")
    take_picture(page, "log-none")
    show(page, backend, shipper)
    expect_seen(page, "secret")
    context.clear_cookies()
    page.reload()
    expect(page.get_by_role("status").first).to_contain_text("Your login has expired")
    expect(page.locator(ROWS)).to_have_count(0)
    assert serious_violations(page) == []


def test_what_retention_has_taken_is_told(page: Page, tmp_path: Any) -> None:
    """In the place of the first lines; and by whom a link leads there."""
    quick = "from ptyshipper.backend import retention\nretention.LOOK_EVERY_S = 0.02\n"
    with running_server(tmp_path, preamble=quick, retain_bytes="1M") as server:
        page.goto(link_to(server))
        shipper = Shipper(server, os.urandom(16))
        shipper.ship(start_record())
        for number in range(1, 201):
            shipper.ship(output(b"line %d %b\n" % (number, b"x" * 20_000), time_us=number * 1_000))
        path = f"/api/sessions/{shipper.session_id.hex()}/lines?limit=1"
        until(lambda: server.get(path)[1]["first"] > 100, "most of it is deleted")
        show(page, server, shipper)
        first = server.get(path)[1]["first"] + 1
        page.keyboard.press("w")
        page.keyboard.press("g")
        told = page.locator(".row.gap .text")
        expect(told).to_have_text(f"lines before {first} are no longer kept")
        expect(told).to_be_in_viewport()
        expect(page.locator(".log .no").nth(1)).to_have_text(str(first))
        take_picture(page, "log-trimmed")
        page.evaluate("location.hash = '#L5'")
        expect(page.locator(".notice")).to_contain_text(f"The first that is kept is {first}.")
        shipper.socket.close()


def test_open_page_whose_login_ends_says_so(
    page: Page, context: BrowserContext, tmp_path: Any
) -> None:
    """And does not ask for ever."""
    with running_server(tmp_path) as server:
        page.goto(link_to(server))
        shipper = Shipper(server, os.urandom(16))
        shipper.ship(start_record() + output(b"seen\n"))
        show(page, server, shipper)
        expect(page.locator(".connection")).to_have_text("live")
        context.clear_cookies()
        server.kill()
        server.start()
        expect(page.locator(".notice")).to_contain_text("Your login has expired")
        expect(page.locator(".connection")).to_have_text("disconnected")
        take_picture(page, "log-expired")


def test_flood_is_followed_and_read_in(page: Page, backend: Server, started: Start) -> None:
    """More than is kept comes while one looks, at the end and in the middle: no hole, no line twice."""
    shipper = started()
    ship_lines(shipper, 1, 100)
    show(page, backend, shipper)
    expect_seen(page, "line 100")

    def check_shown() -> int:
        here = [int(each.split()[1]) for each in shown(page)]
        assert here == list(range(here[0], here[0] + len(here)))
        return here[0]

    for begin in range(101, 30_000, 5_000):
        ship_lines(shipper, begin, begin + 4_999)
        check_shown()
    expect_seen(page, "line 30100")
    page.locator(".log").hover()
    page.mouse.wheel(0, -2_000)
    expect(page.get_by_role("button", name="Follow")).to_have_attribute("aria-pressed", "false")
    page.wait_for_timeout(300)
    before = check_shown()
    for begin in range(30_101, 60_000, 5_000):
        ship_lines(shipper, begin, begin + 4_999)
        assert check_shown() == before, "what is read stays where it is"
    expect(page.locator(".more")).to_have_text("↓ 30,000 new lines")
    for _ in range(100):
        page.mouse.wheel(0, 1_000)
        page.wait_for_timeout(10)
        here = check_shown()
        assert 0 <= here - before <= 120, "and goes on from there"
        before = here
    page.keyboard.press("G")
    expect_seen(page, "line 60100")
