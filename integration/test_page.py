"""The page in a real browser, with screenshots in the directory that PTYSHIPPER_SCREENSHOTS names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from ptyshipper.backend.page.build import MODULES
from ptyshipper.records import GapCause, Kind, encode, gap
from tests.backend.test_login import make_link
from tests.support.server import Server, Shipper, exit_record, output, running_server, start_record

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",  # CI is root
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE_MS = 20_000
HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
SEEN = ".sessions tbody tr"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


def link_to(server: Server) -> str:
    """In a thread of its own: Playwright keeps an event loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make_link, server).result()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1280, "height": 720})
    made.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, backend: Server) -> Page:
    """Logged in, with the sessions on it."""
    opened = context.new_page()
    opened.goto(link_to(backend))
    expect(opened.locator(SEEN)).not_to_have_count(0)
    return opened


def take_picture(page: Page, name: str) -> None:
    directory = os.environ.get("PTYSHIPPER_SCREENSHOTS")
    if directory:
        page.screenshot(path=Path(directory) / f"{name}.png")


def serious_violations(page: Page) -> list[Any]:
    """What axe-core finds, of WCAG A and AA."""
    page.evaluate((MODULES / "axe-core" / "axe.min.js").read_text())
    found = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})")
    return [each for each in found["violations"] if each["impact"] in ("serious", "critical")]


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
    assert serious_violations(page) == []
    take_picture(page, "not-logged-in")


def test_login_that_has_gone_is_called_expired(page: Page, context: BrowserContext) -> None:
    context.clear_cookies()
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
