"""The page's sessions in a real browser."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.records import GapCause, Kind, encode, gap
from tests.support.browser import (
    browser,
    context,
    link_to,
    needs_chromium,
    serious_violations,
    take_picture,
)
from tests.support.server import Server, Shipper, exit_record, output, running_server, start_record
from tests.support.sessions import opening, write
from tests.support.tokens import make_token

__all__ = ["browser", "context"]
HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
SEEN = ".sessions tbody tr"

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a session in each state but running."""
    with running_server(tmp_path_factory.mktemp("page")) as server:
        for hostname, command, end in (
            ("web-0", ["nginx", "-g", "daemon off;"], exit_record(0)),
            ("web-1", ["python", "manage.py", "runserver"], exit_record(3)),
            ("worker-0", ["celery", HOSTILE], exit_record(0, 9)),
            (
                "worker-1",
                ["bash"],
                encode(Kind.GAP, 6, gap(33, 30, GapCause.CORRUPT)) + exit_record(),
            ),
        ):
            shipper = Shipper(
                server,
                os.urandom(16),
                hostname=hostname,
                command=command,
                deployment_id=7 if hostname.startswith("web") else 8,
                tty=command == ["bash"],
            )
            shipper.ship(start_record() + output(b"hello\n") + end)
            shipper.socket.close()
        yield server


@pytest.fixture
def page(context: BrowserContext, backend: Server) -> Page:
    """Logged in, with the sessions on it."""
    opened = context.new_page()
    opened.goto(link_to(backend))
    expect(opened.locator(SEEN)).not_to_have_count(0)
    return opened


def test_sessions_are_told_with_what_became_of_them(page: Page) -> None:
    """A command that is HTML is shown as it is."""
    expect(page.locator(SEEN)).to_have_count(4)
    states = page.locator("td.state").all_text_contents()
    assert states == ["exited 0", "SIGKILL", "exited 3", "exited 0"]
    assert page.locator("td.gaps").first.text_content() == "1 (30 B)"
    assert HOSTILE in page.locator("td.command").all_text_contents()[1]
    assert page.title() == "Sessions · ptyshipper"
    take_picture(page, "sessions")


def test_new_session_appears_and_changes_by_itself(page: Page, backend: Server) -> None:
    page.get_by_label("Pod").fill("late-0")
    expect(page.locator(".empty")).to_have_text("No session fits these filters.")
    shipper = Shipper(backend, os.urandom(16), hostname="late-0", deployment_id=9)
    shipper.ship(start_record() + output(b"x\n"))
    expect(page.locator("td.state")).to_have_text("running")
    take_picture(page, "sessions-running")
    shipper.ship(exit_record(5))
    expect(page.locator("td.state")).to_have_text("exited 5")
    shipper.socket.close()


def test_filters_stand_in_an_address_that_can_be_shared(
    page: Page, context: BrowserContext
) -> None:
    page.get_by_label("State").select_option("failed")
    page.get_by_label("Deployment").fill("8")
    expect(page.locator("td.state")).to_have_text(["SIGKILL"])
    other = context.new_page()
    other.goto(page.url)
    expect(other.locator("td.state")).to_have_text(["SIGKILL"])
    expect(other.get_by_label("State")).to_have_value("failed")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_everybody_can_read_it(page: Page, scheme: Any, width: int) -> None:
    """In light and dark, on a telephone: axe-core finds nothing serious, and nothing sticks out."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 720})
    assert serious_violations(page) == []
    assert page.locator("main").evaluate("(main) => main.scrollWidth") <= width
    take_picture(page, f"sessions-{scheme}-{width}")


def test_who_is_not_logged_in_is_told_how_to(context: BrowserContext, backend: Server) -> None:
    page = context.new_page()
    page.goto(backend.state.url)
    expect(page.get_by_role("status")).to_contain_text("You are not logged in")
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()
    assert serious_violations(page) == []
    take_picture(page, "not-logged-in")


def test_login_that_has_gone_is_called_expired(
    page: Page, context: BrowserContext, backend: Server
) -> None:
    """At the latest when the stream begins anew; what was to be seen is not any more."""
    context.clear_cookies()
    backend.stop()
    backend.start()
    expect(page.get_by_role("status")).to_contain_text("Your login has expired")
    expect(page.locator(".sessions")).to_be_hidden()
    take_picture(page, "expired")


def test_log_out_ends_the_login(page: Page) -> None:
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("status")).to_contain_text("You are not logged in")


def test_backend_that_restarts_is_found_again(page: Page, backend: Server) -> None:
    """What is on the page stays, and is told to be old meanwhile."""
    backend.kill()
    expect(page.get_by_role("status")).to_contain_text("Disconnected")
    expect(page.locator(".sessions")).to_be_visible()
    take_picture(page, "disconnected")
    backend.start()
    expect(page.get_by_role("status")).to_be_hidden()
    shipper = Shipper(backend, os.urandom(16), hostname="after")
    expect(page.locator("td.pod").first).to_have_text("after")
    shipper.socket.close()


def test_injected_script_does_not_run(page: Page) -> None:
    """The policy forbids it, whoever got it into the document."""
    refused = page.evaluate(
        """() => new Promise((resolve) => {
            document.addEventListener("securitypolicyviolation", (e) => resolve(e.violatedDirective));
            const script = document.createElement("script");
            script.textContent = "document.title = 'owned'";
            document.body.append(script);
        })"""
    )
    assert refused == "script-src-elem"
    assert page.title() == "Sessions · ptyshipper"


def test_every_view_has_an_address(page: Page, context: BrowserContext) -> None:
    """A link of the list leads there, in this tab and in another, and back again."""
    session = page.locator("td.command a").first
    address = session.get_attribute("href")
    with context.expect_page() as opened:
        session.click(button="middle")
    expect(opened.value).to_have_url(re.compile(f"{address}$"))
    session.click()
    expect(page).to_have_url(re.compile(f"{address}$"))
    page.go_back()
    expect(page.locator(SEEN)).not_to_have_count(0)


def test_what_has_no_address_is_not_there(page: Page) -> None:
    page.goto(f"{page.url.rstrip('/')}/apps/x")
    expect(page.locator("main")).to_contain_text("There is no such page.")
    page.get_by_role("link", name="All sessions").last.click()
    expect(page.locator(SEEN)).not_to_have_count(0)


def test_theme_is_as_chosen(page: Page) -> None:
    """Also after a reload; the system's own until somebody chooses."""
    page.emulate_media(color_scheme="light")
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(paper)
    for words in ("light", "dark"):
        page.get_by_role("button", name="Theme").click()
        expect(page.get_by_role("button", name=f"Theme: {words}")).to_be_visible()
    assert page.evaluate(paper) != light
    page.reload()
    assert page.evaluate(paper) != light
    page.get_by_role("button", name="Theme").click()
    assert page.evaluate(paper) == light


def test_pods_of_an_app_lead_to_their_lines(page: Page, backend: Server) -> None:
    """Merged in its own view, from every row and above the list of the app."""
    secret = made_in_thread(lambda: make_token(backend, "ingest", deployment_id=31, app_id=5))
    state, backend.state = backend.state, replace(backend.state, ingest_token=secret)
    pods = [
        Shipper(backend, os.urandom(16), hostname=f"shop-{n}", deployment_id=31) for n in range(2)
    ]
    backend.state = state
    expect(page.locator("td.app .badge")).to_have_count(2)
    page.keyboard.press("/")
    expect(page.get_by_label("Pod")).to_be_focused()
    page.get_by_label("App").fill("5")
    expect(page.locator("td.pod")).to_have_text(["shop-1", "shop-0"])
    take_picture(page, "sessions-of-an-app")
    page.set_viewport_size({"width": 360, "height": 720})
    assert page.locator("main").evaluate("(main) => main.scrollWidth") <= 360
    assert serious_violations(page) == []
    take_picture(page, "sessions-of-an-app-360")
    page.get_by_role("link", name="Lines of all pods of app 5").click()
    expect(page).to_have_url(re.compile("/apps/5$"))
    for pod in pods:
        pod.socket.close()


def test_many_sessions_are_paged_and_their_changes_seen(page: Page, backend: Server) -> None:
    """A hundred at a time, of 10,000 as of 250; the page of older ones stays as it is."""
    data = backend.data_dir
    backend.stop()
    asyncio_in_thread(lambda: store_many(data, 10_000))
    backend.start()
    page.goto(f"{backend.state.url}/?deployment=77")
    expect(page.locator(SEEN)).to_have_count(100)
    expect(page.locator("td.pod").first).to_have_text("many-9999")
    page.get_by_role("link", name="Older").click()
    expect(page.locator("td.pod").first).to_have_text("many-9899")
    shipper = Shipper(backend, os.urandom(16), hostname="newest", deployment_id=77)
    shipper.ship(start_record() + output(b"x\n"))
    page.get_by_label("State").select_option("running")
    expect(page.locator("td.pod")).to_have_text(["newest"])
    shipper.ship(exit_record(1))
    expect(page.locator(".empty")).to_have_text("No session fits these filters.")
    shipper.socket.close()


async def store_many(data_dir: Path, count: int) -> None:
    """Sessions of deployment 77, straight into the store."""
    store = SqliteStore(data_dir)
    for first in range(0, count, 500):
        asked = [
            opening(10**6 + n, deployment_id=77, hostname=f"many-{n}")
            for n in range(first, first + 500)
        ]
        sessions = [each for each in (await store.commit([], asked)).sessions if each is not None]
        await store.commit([write(each, start_record() + exit_record()) for each in sessions])
    await store.close()


def made_in_thread(make: Callable[[], str]) -> str:
    """Playwright keeps an event loop running in this thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


def asyncio_in_thread(make: Callable[[], Coroutine[None, None, None]]) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(make())).result()
