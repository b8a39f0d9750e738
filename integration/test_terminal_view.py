"""The terminal view in a real browser: live, recorded, and what keeps it from either."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from ptyshipper import records
from ptyshipper.backend.page.build import MODULES
from ptyshipper.records import GapCause, Kind, encode
from tests.support.browser import (
    browser,
    context,
    link_to,
    needs_chromium,
    serious_violations,
    take_picture,
)
from tests.support.patience import until
from tests.support.server import Server, Shipper, exit_record, output, running_server, start_record
from tests.support.terminal import Terminal

__all__ = ["browser", "context"]
PLAYER = MODULES / "asciinema-player" / "dist" / "bundle" / "asciinema-player.min.js"
SCREEN = ".ap-term-text"
TIMES = "\N{MULTIPLICATION SIGN}"
HOSTILE = (
    "\x1b]52;c;b3duZWQ=\x07"
    "\x1b]0;owned\x07\x1b]2;owned\x1b\\"
    "\x1b]8;;javascript:document.title='owned'\x1b\\click\x1b]8;;\x1b\\"
    "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    f"\x1bP{'q' * 1_000_000}\x1b\\"
    "\x1b[c\x1b[6n\x1b[8;999;999t\x1b[?1049h\x1b[?1049l"
    "still here"
)

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


def height_of(element: Locator) -> float:
    box = element.bounding_box()
    return box["height"] if box else 0


Start = Callable[..., Shipper]


def test_live_screen_is_joined_late_and_followed(
    page: Page, backend: Server, started: Start
) -> None:
    """What is on it, what happens on it, what happens beside; and the end, with the screen still there."""
    shipper = started(100, 30, app_id=None)
    shipper.ship(tty("\x1b[31mbefore\x1b[0m joined\r\n"))
    show(page, backend, shipper)
    expect(page.locator(SCREEN)).to_contain_text("before joined")
    expect(page.locator(".tools")).to_contain_text(f"100 {TIMES} 30")
    expect(page.locator(".mood")).to_have_text("running")
    shipper.ship(tty("then ") + output(b"\xe4\xb8", Kind.TTY))
    shipper.ship(output(b"\x96\r\n", Kind.TTY))
    expect(page.locator(SCREEN)).to_contain_text("世")
    take_picture(page, "terminal-live")
    shipper.ship(resized(60, 20))
    expect(page.locator(".tools")).to_contain_text(f"60 {TIMES} 20")
    shipper.ship(encode(Kind.SIGNALLED, 6, records.signalled(15)))
    shipper.ship(encode(Kind.GAP, 7, records.gap(33, 30, GapCause.OVERFLOW)))
    marks = page.locator(".marks li")
    expect(marks).to_have_count(3)
    shipper.ship(tty("the last line") + exit_record(3))
    expect(page.locator(".mood")).to_have_text("exited 3")
    expect(marks).to_have_count(4)
    told = [each.split(" ", 1)[1] for each in marks.all_text_contents()]
    assert told == [
        f"resized to 60 {TIMES} 20",
        "SIGTERM sent",
        "30 bytes lost: the spool was full",
        "exited 3",
    ]
    expect(page.locator(SCREEN)).to_contain_text("the last line")
    expect(page.locator(".ap-overlay-info")).to_be_hidden()
    take_picture(page, "terminal-live-ended")


PROGRAMS: dict[str, tuple[list[str], list[tuple[bytes, bytes]]]] = {
    "a shell, vim, and back": (
        ["bash", "--norc", "-i"],
        [
            (b"ls --color=always -l /usr/bin | head -40; echo o$((1))\r", b"o1"),
            (b"vim -u NONE -N -n services\r", b"service-"),
            (b":split\r", b"service-"),
            (b":set number\r\x06", b"service-"),
            (b":qa!\r", b"$ "),
            (b"printf '\\033[7mreverse\\033[0m\\n'; echo o$((2))\r", b"o2"),
            (b"less services\r", b"services"),
            (b"q", b"$ "),
            (b"clear; echo o$((3))\r", b"o3"),
            (b"vim -u NONE -N -n services\r", b"service-"),
        ],
    ),
    "top": (
        ["top", "-d", "0.1"],
        [(b"", b"\x1b[H")] * 3
        + [(b"h", b"Help"), (b"q", b"load average")]
        + [(b"", b"\x1b[H")] * 3,
    ),
}


def painted(page: Page) -> tuple[str, str]:
    """What the player shows: the text with its styles, and what is drawn under it."""
    return page.evaluate(
        f"""() => [
            document.querySelector("{SCREEN}").innerHTML,
            document.querySelector(".ap-term canvas").toDataURL(),
        ]"""
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_late_viewer_sees_what_the_first_one_sees(
    page: Page, backend: Server, started: Start, name: str, tmp_path: Path
) -> None:
    """By the player's own terminal, wherever one joins; and so it stays."""
    argv, steps = PROGRAMS[name]
    if shutil.which(argv[0]) is None or shutil.which("vim") is None:
        pytest.skip("vim or top is missing")
    services = "".join(f"service-{number}\t{number}/tcp\t# of them\n" for number in range(2_000))
    (tmp_path / "services").write_text(services)
    environ = {**os.environ, "TERM": "xterm-256color", "PS1": "$ ", "LC_ALL": "C.UTF-8"}
    shipper, viewers = started(), [page]
    show(page, backend, shipper)
    with Terminal(argv, environ, cwd=str(tmp_path)) as terminal:
        begin = 0
        for at, (keys, sign) in enumerate(steps):
            terminal.type(keys)
            terminal.expect(sign)
            # Wherever it is by now, also in the middle of a sequence.
            shown = bytes(terminal.shown[begin:])
            begin += len(shown)
            for cut in range(0, len(shown), 60_000):
                shipper.ship(output(shown[cut : cut + 60_000], Kind.TTY))
            if at % 2 or at == len(steps) - 1:
                viewers.append(page.context.new_page())
                show(viewers[-1], backend, shipper)
                expect(viewers[-1].locator(SCREEN)).to_be_visible()
            for viewer in viewers[1:]:
                until(lambda viewer=viewer: painted(viewer) == painted(page), "both show the same")


def test_backend_that_restarts_is_found_again(page: Page, backend: Server, started: Start) -> None:
    """The screen stays, and is told to be old; then it is as it is, with nothing twice."""
    shipper = started()
    shipper.ship(tty("one\r\n"))
    show(page, backend, shipper)
    expect(page.locator(SCREEN)).to_contain_text("one")
    backend.kill()
    expect(page.locator(".notice")).to_contain_text("Disconnected")
    expect(page.locator(SCREEN)).to_contain_text("one")
    take_picture(page, "terminal-disconnected")
    backend.start()
    again = Shipper(backend, shipper.session_id, tty=True, command=["bash"])
    again.ship(tty("two\r\n"))
    expect(page.locator(SCREEN)).to_contain_text("two")
    expect(page.locator(".notice")).to_be_hidden()
    text = page.locator(SCREEN).inner_text()
    assert text.split() == ["one", "two"]
    again.ship(exit_record())
    expect(page.locator(".mood")).to_have_text("exited 0")
    again.socket.close()


def test_stream_that_does_not_come_is_told(context: BrowserContext, tmp_path: Path) -> None:
    """Though the backend answers: it lets nobody else watch, until somebody leaves."""
    with running_server(tmp_path, max_viewers="1") as server:
        shipper = Shipper(server, os.urandom(16), tty=True, command=["bash"])
        shipper.ship(start_record() + tty("here"))
        path = f"/api/sessions/{shipper.session_id.hex()}/live"
        other = server.connect(server.state.view_token, "v1.alis", path)
        page = context.new_page()
        page.goto(link_to(server))
        show(page, server, shipper)
        expect(page.locator(".notice")).to_contain_text("stream is not there")
        other.close()
        expect(page.locator(SCREEN)).to_contain_text("here")
        expect(page.locator(".notice")).to_be_hidden()
        shipper.socket.close()


def recorded(started: Start) -> Shipper:
    """Two minutes, most of them a pause: a resize, a signal, a gap, a death."""
    shipper = started(80, 24)
    shipper.ship(
        tty("first\r\n", 1_000_000)
        + resized(100, 20, 2_000_000)
        + tty("second\r\n", 3_000_000)
        + encode(Kind.SIGNALLED, 100_000_000, records.signalled(15))
        + encode(Kind.GAP, 101_000_000, records.gap(33, 30, GapCause.OVERFLOW))
        + tty("third", 120_000_000)
        + exit_record(0, 9, 121_000_000)
    )
    return shipper


def test_recording_opens_at_its_end_and_leads_to_what_happened(
    page: Page, backend: Server, started: Start
) -> None:
    """The last screen is there at once; a mark leads to its moment, which has an address."""
    show(page, backend, recorded(started))
    screen, tools = page.locator(SCREEN), page.locator(".tools")
    expect(screen).to_contain_text("third")
    expect(page.locator(".mood")).to_have_text("SIGKILL")
    expect(page.locator(".ap-marker")).to_have_count(3)  # that of the exit is the end
    assert [each.strip() for each in page.locator(".marks li").all_text_contents()] == [
        f"0:02 resized to 100 {TIMES} 20",
        "1:40 SIGTERM sent",
        "1:41 30 bytes lost: the spool was full",
        "2:01 SIGKILL",
    ]
    take_picture(page, "terminal-recording")
    page.get_by_role("button", name="SIGTERM sent").click()
    expect(screen).not_to_contain_text("third")
    expect(screen).to_contain_text("second")
    expect(page).to_have_url(re.compile(r"#t=100\.0$"))
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator(SCREEN)).to_contain_text("second")
    expect(other.locator(SCREEN)).not_to_contain_text("third")
    other.evaluate("location.hash = '#t=1.5'")
    expect(other.locator(SCREEN)).not_to_contain_text("second")
    expect(other.locator(".tools")).to_contain_text(f"80 {TIMES} 24")
    expect(tools).to_contain_text(f"100 {TIMES} 20")


def test_recording_is_played_as_fast_as_one_likes(
    page: Page, backend: Server, started: Start
) -> None:
    """Its pauses too: where it is stays where it is, whatever is changed."""
    show(page, backend, recorded(started), "#t=1.5")
    screen = page.locator(SCREEN)
    expect(screen).to_contain_text("first")
    page.get_by_label("Pauses").select_option("1 s at most")
    expect(screen).to_contain_text("first")
    expect(screen).not_to_contain_text("second")
    page.get_by_label("Speed").select_option("16")
    expect(screen).not_to_contain_text("second")
    page.locator(".ap-wrapper").focus()
    page.keyboard.press("Space")
    expect(screen).to_contain_text("third")
    expect(page).to_have_url(re.compile("/terminal$"))  # it is at its end


@pytest.mark.parametrize("mode", ["live", "recording"])
def test_no_size_is_too_much(page: Page, backend: Server, started: Start, mode: str) -> None:
    """Of a terminal that says it is 65,535 cells wide, or has one, a page shows what it can."""
    shipper = started(65_535, 65_535)
    shipper.ship(
        tty("large ") + resized(1, 1, 2_000_000) + tty("x") + resized(65_535, 65_535, 3_000_000)
    )
    shipper.ship(tty("again", 4_000_000) + exit_record(0, 0, 5_000_000))
    show(page, backend, shipper, f"?mode={mode}")
    expect(page.locator(SCREEN)).to_contain_text("again")
    expect(page.locator(".tools")).to_contain_text(f"500 {TIMES} 200")
    if mode == "recording":
        page.locator(".marks button").first.click()
        expect(page.locator(".tools")).to_contain_text(f"1 {TIMES} 1")
        assert height_of(page.locator(".ap-line").first) < 40, "one cell fills the window"


@pytest.mark.parametrize("mode", ["live", "recording"])
def test_hostile_output_is_only_shown(
    page: Page, backend: Server, started: Start, mode: str
) -> None:
    """No clipboard, no title, no link, no element; and a script that got in does not run."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shipper = started()
    hostile = HOSTILE.encode()
    for at in range(0, len(hostile), 60_000):
        shipper.ship(output(hostile[at : at + 60_000], Kind.TTY))
    shipper.ship(exit_record())
    show(page, backend, shipper, f"?mode={mode}")
    expect(page.locator(SCREEN)).to_contain_text("still here")
    expect(page.locator(SCREEN)).to_contain_text("<img src=x onerror")
    assert page.title() == "bash · terminal · ptyshipper"
    assert page.evaluate("navigator.clipboard.readText()") == ""
    assert page.locator(f"{SCREEN} a, {SCREEN} img, {SCREEN} script").count() == 0
    refused = page.evaluate(
        """() => new Promise((resolve) => {
            document.addEventListener("securitypolicyviolation", (e) => resolve(e.violatedDirective));
            const script = document.createElement("script");
            script.textContent = "document.title = 'owned'";
            document.body.append(script);
        })"""
    )
    assert refused == "script-src-elem"
    evaluated = page.evaluate(
        """() => new Promise((resolve) => setTimeout(() => {
            try { new Function("return 1"); resolve("ran"); } catch (error) { resolve(error.name); }
        }))"""
    )
    assert evaluated == "EvalError"
    assert page.title() == "bash · terminal · ptyshipper"


def test_of_a_recording_that_is_too_long_the_end_is_there(
    page: Page, backend: Server, started: Start
) -> None:
    """Or the beginning, if one asks for it; and it is said which."""
    shipper = started(60, 20)
    for second in range(680):
        shipper.ship(tty(f"line {second} " + "x" * 60_000 + "\r\n", second * 1_000_000))
    shipper.ship(tty("the end", 680_000_000) + exit_record(0, 0, 700_000_000))
    show(page, backend, shipper)
    expect(page.locator(".remark")).to_contain_text(
        re.compile(r"too long for a page: its last [23]:\d\d, from [89]:\d\d on, are here")
    )
    expect(page.locator(SCREEN)).to_contain_text("the end")
    expect(page.locator(".marks li")).to_have_text(["11:40 exited 0"])
    take_picture(page, "terminal-too-long")
    page.evaluate("location.hash = '#t=600'")
    expect(page.locator(SCREEN)).not_to_contain_text("the end")
    page.get_by_role("link", name="Its first part").click()
    expect(page.locator(".remark")).to_contain_text(
        re.compile(r"too long for a page: its first [89]:\d\d are here")
    )
    expect(page.locator(SCREEN)).to_contain_text("xxx")


def test_login_that_is_taken_away_ends_the_view(
    page: Page, backend: Server, started: Start
) -> None:
    """The player would go on asking; nobody lets it in."""
    shipper = started()
    shipper.ship(tty("secret"))
    show(page, backend, shipper)
    expect(page.locator(SCREEN)).to_contain_text("secret")
    page.evaluate("fetch('/logout', {method: 'POST', redirect: 'manual'})")
    expect(page.locator(".notice")).to_contain_text("Your login has expired")
    expect(page.locator(".stage")).to_be_hidden()
    take_picture(page, "terminal-expired")


def test_who_may_not_see_it_is_told_so(
    page: Page, context: BrowserContext, backend: Server, started: Start
) -> None:
    shipper = started()
    page.goto(f"{backend.state.url}/sessions/{'0' * 32}/terminal")
    expect(page.locator(".notice")).to_contain_text("No such session")
    context.clear_cookies()
    page.evaluate("localStorage.clear()")
    show(page, backend, shipper)
    expect(page.locator(".notice")).to_contain_text("You are not logged in")
    assert serious_violations(page) == []


def test_session_without_a_terminal_leads_to_its_log(
    page: Page, backend: Server, started: Start
) -> None:
    shipper = started(tty=False)
    show(page, backend, shipper)
    expect(page.locator(".empty")).to_contain_text("This program had no terminal")
    expect(page.locator(".empty a")).to_have_attribute(
        "href", f"/sessions/{shipper.session_id.hex()}"
    )
    take_picture(page, "terminal-none")


def test_nothing_printed_is_told(page: Page, backend: Server, started: Start) -> None:
    """Live until something is; of a recording for good."""
    shipper = started()
    show(page, backend, shipper)
    expect(page.locator(".empty.over")).to_have_text("Nothing has been printed yet.")
    take_picture(page, "terminal-empty")
    shipper.ship(tty("x"))
    expect(page.locator(".empty.over")).to_have_count(0)
    silent = started()
    silent.ship(exit_record())
    show(page, backend, silent)
    expect(page.locator(".empty")).to_have_text("It printed nothing.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_everybody_can_read_it(
    page: Page, backend: Server, started: Start, scheme: Any, width: int
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 720})
    show(page, backend, recorded(started))
    expect(page.locator(SCREEN)).to_contain_text("third")
    assert serious_violations(page) == []
    assert page.locator("main").evaluate("(main) => main.scrollWidth") <= width
    take_picture(page, f"terminal-{scheme}-{width}")
    page.get_by_role("button", name="Enlarge").click()
    until(lambda: height_of(page.locator(".ap-line").first) > 15, "letters are large")
    take_picture(page, f"terminal-large-{scheme}-{width}")


@pytest.mark.parametrize("form", ["cast", "cast2"])
def test_downloads_play_in_the_stock_player(
    page: Page, backend: Server, started: Start, form: str
) -> None:
    """As it is anywhere else, with its own reader of casts."""
    shipper = recorded(started)
    page.evaluate(PLAYER.read_text())
    page.evaluate(
        """async (url) => {
            const main = document.querySelector("main");
            main.replaceChildren();
            window.player = AsciinemaPlayer.create(url, main, {preload: true});
            await window.player.seek("100%");
        }""",
        f"/api/sessions/{shipper.session_id.hex()}/download?format={form}",
    )
    expect(page.locator(SCREEN)).to_contain_text("third")
    assert page.evaluate("window.player.getDuration()") == pytest.approx(121, abs=1)
    page.evaluate("window.player.seek(1.5)")
    expect(page.locator(SCREEN)).not_to_contain_text("second")
    expect(page.locator(SCREEN)).to_contain_text("first")


def test_player_comes_with_this_view_alone(page: Page, backend: Server, started: Start) -> None:
    shipper = started()
    show(page, backend, shipper)
    expect(page.locator(SCREEN)).to_be_attached()
    scripts = "performance.getEntriesByType('resource').filter((each) => each.name.endsWith('.js'))"
    assert any("terminal" in name for name in page.evaluate(f"{scripts}.map((each) => each.name)"))
    for path, sign in (
        ("/", ".sessions tbody tr"),
        (f"/sessions/{shipper.session_id.hex()}", ".trail li"),
    ):
        page.goto(f"{backend.state.url}{path}")
        expect(page.locator(sign).first).to_be_visible()
        assert (
            page.evaluate(f"{scripts}.reduce((sum, each) => sum + each.encodedBodySize, 0)")
            < 40_000
        )
