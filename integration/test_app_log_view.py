"""The log view of an app in a real browser: several pods in one log."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.browser import (
    browser,
    context,
    link_to,
    needs_chromium,
    serious_violations,
    take_picture,
)
from tests.support.server import Server, Shipper, output, running_server, start_record
from tests.support.tokens import make_token

__all__ = ["browser", "context"]
APP = 3
TEXTS = ".log .row .text"
LINES = 3_000
PODS = ("web-0", "web-1", "worker-0")

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("app-log")) as server:
        yield server


@pytest.fixture(scope="module")
def pods(backend: Server) -> dict[str, Shipper]:
    """Three, which print in turn: line N is at N milliseconds."""
    with ThreadPoolExecutor(1) as thread:
        token = thread.submit(make_token, backend, "ingest", deployment_id=7, app_id=APP).result()
    made = {pod: Shipper(backend, os.urandom(16), token, hostname=pod) for pod in PODS}
    for turn, shipper in enumerate(made.values()):
        shipper.ship(start_record())
        for begin in range(turn, LINES, 3 * 500):
            numbers = range(begin, min(LINES, begin + 3 * 500), 3)
            shipper.ship(b"".join(output(b"line %d\n" % n, time_us=n * 1_000) for n in numbers))
    return made


@pytest.fixture
def page(context: BrowserContext, backend: Server, pods: dict[str, Shipper]) -> Iterator[Page]:
    """With the app's log in it; an error of a script fails the test."""
    opened = context.new_page()
    errors = list[str]()
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(link_to(backend))
    opened.goto(f"{backend.state.url}/apps/{APP}")
    expect(opened.locator(".loading")).to_be_hidden()
    expect(opened.locator(TEXTS)).not_to_have_count(0)
    yield opened
    assert errors == []


def expect_seen(page: Page, text: str) -> None:
    expect(page.locator(TEXTS, has_text=re.compile(f"^{re.escape(text)}$"))).to_be_in_viewport()


def numbers_shown(page: Page) -> list[int]:
    return [int(text.split()[1]) for text in page.locator(TEXTS).all_text_contents()]


def test_pods_are_one_log_by_time(page: Page) -> None:
    expect_seen(page, f"line {LINES - 1}")
    shown = numbers_shown(page)
    assert shown == list(range(shown[0], LINES))
    pods = page.locator(".row .pod").all_text_contents()
    assert pods == [PODS[n % 3] for n in shown]
    take_picture(page, "app-log")
    assert serious_violations(page) == []
    page.keyboard.press("g")
    expect_seen(page, "line 0")
    page.locator(".log").hover()
    for _ in range(150):
        page.mouse.wheel(0, 500)
        page.wait_for_timeout(20)
        shown = numbers_shown(page)
        assert shown == list(range(shown[0], shown[0] + len(shown))), "no hole and no line twice"
    expect_seen(page, f"line {LINES - 1}")


def test_lines_of_all_pods_come_live(page: Page, pods: dict[str, Shipper]) -> None:
    expect(page.locator(".connection")).to_have_text("live")
    for turn, (pod, shipper) in enumerate(pods.items()):
        text = f"live of {pod}"
        shipper.ship(output(f"{text}\n".encode(), time_us=(5_000 + turn) * 1_000))
        expect_seen(page, text)
    assert page.locator(TEXTS).all_text_contents()[-3:] == [f"live of {pod}" for pod in PODS]
    expect(page.get_by_role("button", name="Follow")).to_have_attribute("aria-pressed", "true")


def test_pod_is_chosen_in_an_address(page: Page, context: BrowserContext) -> None:
    page.get_by_label("Pod").select_option("web-1")
    expect(page.locator(".row .pod", has_text="web-0")).to_have_count(0)
    expect(page.locator(".row .pod").first).to_have_text("web-1")
    assert "pod=web-1" in page.url
    other = context.new_page()
    other.goto(page.url)
    expect(other.locator(".row .pod").first).to_have_text("web-1")
    expect(other.locator(".row .pod", has_text="worker-0")).to_have_count(0)
    expect(other.get_by_label("Pod")).to_have_value("web-1")


def test_permalink_names_session_and_line(
    page: Page, context: BrowserContext, pods: dict[str, Shipper]
) -> None:
    page.keyboard.press("g")
    expect_seen(page, "line 7")
    page.locator(".row", has_text=re.compile(r"line 7$")).locator(".no").click()
    assert page.url.endswith(f"#{pods['web-1'].session_id.hex()}.L3")
    other = context.new_page()
    other.goto(page.url)
    expect(other.locator(".row.selected .text")).to_have_text(["line 7"])
    expect(other.locator(TEXTS).first).to_have_text("line 0")


def test_time_leads_into_the_middle(page: Page) -> None:
    page.keyboard.press("t")
    page.get_by_label("Line or time").fill("+0:01.5")
    page.keyboard.press("Enter")
    expect_seen(page, "line 1500")


def test_app_of_which_nothing_is_known_is_empty(page: Page, backend: Server) -> None:
    page.goto(f"{backend.state.url}/apps/99")
    expect(page.locator(".empty")).to_have_text("Nothing has been printed yet.")


def test_search_goes_through_all_pods(page: Page) -> None:
    page.keyboard.press("g")
    page.keyboard.press("/")
    page.keyboard.type("line 123")
    told = page.locator(".search .told")
    expect(told).to_have_text("1 of 11")
    expect(page.locator(".row.current .text")).to_have_text("line 123")
    page.keyboard.press("Enter")
    expect(page.locator(".row.current .text")).to_have_text("line 1230")
    page.keyboard.press("Enter")
    expect(page.locator(".row.current .text")).to_have_text("line 1231")
    page.get_by_label("Pod").select_option("web-1")
    expect(told).to_have_text(re.compile("of 3$"))


def test_chart_leads_to_the_time_of_all_pods(page: Page) -> None:
    chart = page.locator(".volume")
    expect(chart).to_be_visible()
    chart.focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect_seen(page, "line 0")
    take_picture(page, "app-log-chart")
    log = page.locator(".log")
    log.evaluate("(log) => log.scrollTop = (log.scrollHeight - log.clientHeight) / 3")
    expect(page.locator(TEXTS, has_text=re.compile(r"^line (9|10)\d\d$"))).not_to_have_count(0)
