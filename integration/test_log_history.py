"""The log view in a real browser: the ways through a long log, and what comes to it meanwhile."""

from __future__ import annotations

import os
import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from ptyshipper import records
from ptyshipper.records import GapCause, Kind, encode
from tests.support.browser import (
    browser,
    context,
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
from tests.support.server import Server, Shipper, exit_record, output, start_record

__all__ = ["backend", "browser", "context", "page", "started"]

pytestmark = needs_chromium


LONG = 60_000


@pytest.fixture(scope="module")
def long(backend: Server) -> Shipper:
    """A session with 60,000 lines, a millisecond apart, that goes on."""
    shipper = Shipper(backend, os.urandom(16), hostname="long-0")
    shipper.ship(start_record())
    ship_lines(shipper, 1, LONG)
    return shipper


def test_long_log_is_walked_from_the_first_line_to_the_last(
    page: Page, backend: Server, long: Shipper
) -> None:
    """By keys, wheel and scroll bar; and only what is seen is in the document."""
    show(page, backend, long)
    expect_seen(page, f"line {LONG}")
    page.keyboard.press("g")
    expect_seen(page, "line 1")
    assert shown(page)[0] == "line 1"
    for key, first in (("ArrowDown", 2), ("j", 3), ("ArrowUp", 2), ("k", 1), ("k", 1)):
        page.keyboard.press(key)
        assert shown(page)[0] == f"line {first}"
    page.keyboard.press("PageDown")
    before = shown(page)
    assert 20 <= int(before[0].split()[1]) <= 40
    page.keyboard.press("PageUp")
    assert shown(page)[0] == "line 1"
    page.keyboard.press("G")
    expect_seen(page, f"line {LONG}")
    log = page.locator(".log")
    log.evaluate("(log) => log.scrollTop = (log.scrollHeight - log.clientHeight) / 2")
    expect(page.locator(TEXTS, has_text=re.compile(f"^line {LONG // 2}"))).not_to_have_count(0)
    middle = [int(each.split()[1]) for each in shown(page)]
    assert abs(middle[0] - LONG / 2) < LONG / 100, middle
    assert middle == list(range(middle[0], middle[0] + len(middle)))
    log.evaluate("(log) => log.scrollTop = 0")
    expect_seen(page, "line 1")
    assert page.locator(ROWS).count() < 100


def test_wheel_passes_every_line_once(page: Page, backend: Server, long: Shipper) -> None:
    """Across the edges of pages, down and up again, further than is kept loaded."""
    show(page, backend, long, "#L30000")
    expect_seen(page, "line 30000")
    page.locator(".log").hover()
    for px, way in ((700, 1), (-700, -1)):
        seen = int(shown(page)[0].split()[1])
        for _ in range(60):
            page.mouse.wheel(0, px)
            page.wait_for_timeout(20)
            here = [int(each.split()[1]) for each in shown(page)]
            assert here == list(range(here[0], here[0] + len(here))), "no hole and no line twice"
            assert 0 <= (here[0] - seen) * way <= 80
            seen = here[0]


def test_follow_stops_when_the_reader_scrolls_up_and_counts_what_waits(
    page: Page, backend: Server, long: Shipper
) -> None:
    global LONG
    show(page, backend, long)
    expect_seen(page, f"line {LONG}")
    follow = page.get_by_role("button", name="Follow")
    expect(follow).to_have_attribute("aria-pressed", "true")
    page.locator(".log").hover()
    page.mouse.wheel(0, -300)
    expect(follow).to_have_attribute("aria-pressed", "false")
    page.wait_for_timeout(300)
    before = shown(page)
    ship_lines(long, LONG + 1, LONG + 1_234)
    LONG += 1_234
    more = page.locator(".more")
    expect(more).to_have_text("↓ 1,234 new lines")
    assert shown(page) == before, "what is read stays where it is"
    take_picture(page, "log-waiting")
    more.click()
    expect_seen(page, f"line {LONG}")
    expect(more).to_be_hidden()
    ship_lines(long, LONG + 1, LONG + 700)
    LONG += 700
    expect_seen(page, f"line {LONG}")
    page.keyboard.press("f")
    expect(follow).to_have_attribute("aria-pressed", "false")
    ship_lines(long, LONG + 1, LONG + 50)
    LONG += 50
    expect(more).to_have_text("↓ 50 new lines")
    page.mouse.wheel(0, 5_000)
    expect_seen(page, f"line {LONG}")
    expect(follow).to_have_attribute("aria-pressed", "true")


def test_place_is_reached_by_line_time_and_chart(
    page: Page, backend: Server, long: Shipper
) -> None:
    show(page, backend, long)
    page.get_by_label("Times").select_option("utc")
    expect_seen(page, f"line {LONG}")
    for typed, wanted in (
        ("12,345", 12_345),
        ("+0:40.5", 40_500),
        ("2023-11-14 22:13:40.5", 20_500),
        ("22:13:50Z", 30_000),
        ("#L7", 7),
    ):
        page.keyboard.press("t")
        page.get_by_label("Line or time").fill(typed)
        if typed == "12,345":
            take_picture(page, "log-go")
            page.get_by_role("button", name="Go", exact=True).click()
        else:
            page.keyboard.press("Enter")
        expect_seen(page, f"line {wanted}")
    page.keyboard.press("t")
    page.get_by_label("Line or time").fill("half past")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("neither the number of a line nor a time")
    page.keyboard.press("Escape")
    chart = page.locator(".volume")
    box = chart.bounding_box()
    assert box is not None
    chart.click(position={"x": box["width"] / 2, "y": 10})
    expect(page.locator(TEXTS, has_text=re.compile(r"^line (29|30|31)\d{3}$"))).not_to_have_count(0)
    chart.focus()
    page.keyboard.press("Home")
    assert "22:13:20" in (chart.get_attribute("aria-valuetext") or "")
    page.keyboard.press("Enter")
    expect_seen(page, "line 1")


def test_search_finds_all_of_the_history_and_shows_each_hit_in_its_place(
    page: Page, backend: Server, long: Shipper
) -> None:
    show(page, backend, long)
    expect_seen(page, f"line {LONG}")
    page.keyboard.press("/")
    page.keyboard.type("LINE 1234")
    told = page.locator(".search .told")
    expect(told).to_have_text("1 of 11")
    expect_seen(page, "line 1234")
    assert "line 1230" in shown(page), "what is around it"
    expect(page.locator(".row.current mark")).to_have_text("line 1234")
    page.keyboard.press("Enter")
    expect(told).to_have_text("2 of 11")
    expect_seen(page, "line 12340")
    take_picture(page, "log-search")
    assert serious_violations(page) == []
    page.keyboard.press("Escape")
    expect(page.locator(".row mark")).to_have_count(0)
    page.keyboard.press("Control+f")
    page.keyboard.type("line 5")
    expect(told).to_have_text(re.compile("of 10,000|10,000|hits"))
    page.get_by_label("Search all of the log").fill("line 59999")
    expect(told).to_have_text("1 of 1")
    page.get_by_label("Upper and lower case differ").check()
    page.get_by_label("Search all of the log").fill("Line")
    expect(told).to_have_text("no hits")


def test_lines_that_come_after_a_search_are_hits_too(
    page: Page, backend: Server, started: Start
) -> None:
    shipper = started()
    shipper.ship(output(b"a needle\nhay\n"))
    show(page, backend, shipper)
    page.keyboard.press("/")
    page.keyboard.type("needle")
    told = page.locator(".search .told")
    expect(told).to_have_text("1 of 1")
    shipper.ship(output(b"hay\nnee\x1b[31mdle\x1b[0m and needle\n"))
    expect(told).to_have_text("1 of 2")
    page.keyboard.press("Enter")
    expect(page.locator(".row.current mark")).to_have_text(["nee", "dle", "needle"])
    page.locator(".log").click()
    page.keyboard.press("n")
    expect(told).to_have_text("1 of 2")
    page.keyboard.press("N")
    expect(told).to_have_text("2 of 2")


def test_permalink_leads_to_its_lines(
    page: Page, context: BrowserContext, backend: Server, long: Shipper
) -> None:
    show(page, backend, long, "#L100")
    expect_seen(page, "line 100")
    expect(page.locator(".row.selected .text")).to_have_text(["line 100"])
    page.get_by_label("Link to line 102", exact=True).click(modifiers=["Shift"])
    assert page.url.endswith("#L100-L102")
    other = context.new_page()
    other.goto(page.url)
    expect(other.locator(".row.selected .text")).to_have_text(["line 100", "line 101", "line 102"])
    take_picture(other, "log-permalink")
    page.get_by_label("Link to line 104", exact=True).click()
    assert page.url.endswith("#L104")
    page.evaluate("location.hash = '#L40000'")
    expect_seen(page, "line 40000")
    page.evaluate("location.hash = '#L99999999'")
    expect(page.locator(".notice")).to_contain_text("There is no line 99,999,999.")
    expect_seen(page, f"line {LONG}")


def test_events_are_gone_through_by_a_key_and_shown_alone(
    page: Page, backend: Server, started: Start
) -> None:
    shipper = started()
    ship_lines(shipper, 1, 1_500)
    shipper.ship(encode(Kind.SIGNALLED, 2_000_000, records.signalled(10)))
    ship_lines(shipper, 2_001, 3_500)
    shipper.ship(
        encode(Kind.GAP, 4_000_000, records.gap(33, 30, GapCause.OVERFLOW))
        + exit_record(0, time_us=4_000_000)
    )
    texts = show(page, backend, shipper)
    expect_seen(page, "exited with 0")
    page.keyboard.press("g")
    expect_seen(page, "line 1")
    selected = page.locator(".row.selected .text")
    events = ["SIGUSR1 sent", "30 bytes lost: the spool was full", "exited with 0"]
    for key, event in (("e", 0), ("e", 1), ("e", 2), ("E", 1), ("E", 0)):
        page.keyboard.press(key)
        expect(selected).to_have_text(events[event])
        expect(selected).to_be_in_viewport()
    page.keyboard.press("E")
    expect(page.get_by_text("No event is before")).to_have_count(1)
    page.get_by_label("Stream").select_option("events only")
    expect(texts).to_have_text(events)
