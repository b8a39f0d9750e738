"""The log view in a real browser: a log live and of the past, and what keeps one from seeing it."""

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
from tests.support.patience import until
from tests.support.server import Server, Shipper, exit_record, output, running_server, start_record

__all__ = ["browser", "context"]
ROWS = ".log .row"
TEXTS = ".log .row .text"
BATCH_LINES = 1_000

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


def test_copied_lines_have_no_decoration(page: Page, backend: Server, started: Start) -> None:
    shipper = started()
    shipper.ship(output(b"one\n\n\x1b[31mred\x1b[0m\n", Kind.STDERR))
    texts = show(page, backend, shipper)
    expect(texts).to_have_count(3)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.rows'))")
    copied = page.evaluate("getSelection().toString()")
    assert [line.strip("\u200b") for line in copied.split("\n")] == ["one", "", "red"]
    shipper.ship(output(b"more\n"))
    expect(texts).to_have_count(4)
    stays = page.evaluate("getSelection().toString()")
    assert stays.rstrip("\n") == copied, "a selection stays"


def test_filter_by_stream_stands_in_the_address(
    page: Page, context: BrowserContext, backend: Server, started: Start
) -> None:
    shipper = started()
    for number in range(50):
        shipper.ship(output(b"out %d\n" % number) + output(b"err %d\n" % number, Kind.STDERR))
    show(page, backend, shipper)
    expect_seen(page, "err 49")
    page.get_by_label("Stream").select_option("stderr")
    expect_seen(page, "err 49")
    expect(page.locator(TEXTS, has_text="out")).to_have_count(0)
    shipper.ship(output(b"out 50\nout 51\n") + output(b"err 50\n", Kind.STDERR))
    expect_seen(page, "err 50")
    other = context.new_page()
    other.goto(page.url)
    expect(other.get_by_label("Stream")).to_have_value("stderr")
    expect_seen(other, "err 50")
    page.get_by_label("Stream").select_option("tty")
    expect(page.locator(".empty")).to_have_text("No line fits these filters.")


def test_long_lines_wrap_or_not_as_chosen_before(
    page: Page, backend: Server, started: Start
) -> None:
    shipper = started()
    shipper.ship(output(b"word " * 400 + b"\nshort\n"))
    show(page, backend, shipper)
    log = page.locator(".log")
    expect_seen(page, "short")
    assert log.evaluate("(log) => log.scrollWidth - log.clientWidth") == 0
    tall = page.locator(ROWS).first.evaluate("(row) => row.offsetHeight")
    assert tall > 100
    take_picture(page, "log-wrapped")
    page.keyboard.press("w")
    expect(page.get_by_role("button", name="Wrap")).to_have_attribute("aria-pressed", "false")
    assert page.locator(ROWS).first.evaluate("(row) => row.offsetHeight") <= 22
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    scrolled = log.evaluate("(log) => log.scrollLeft")
    assert scrolled > 0
    for number in range(100):
        shipper.ship(output(b"more %d\n" % number))
    expect_seen(page, "more 99")
    assert log.evaluate("(log) => log.scrollLeft") == scrolled, "following leaves it"
    page.reload()
    expect(page.get_by_role("button", name="Wrap")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("w")


def test_colours_are_shown_and_can_be_read(page: Page, backend: Server, started: Start) -> None:
    shipper = started()
    lines = [
        f"\x1b[{code}mcolour {code}\x1b[0m \x1b[1;{code}mbold\x1b[0m" for code in range(30, 48)
    ]
    lines += [
        "\x1b[38;5;208morange\x1b[0m \x1b[38;2;255;255;0myellow\x1b[0m \x1b[38:2::1:2:3mnight\x1b[0m",
        "\x1b[48;2;0;0;128mon navy\x1b[0m \x1b[7minverse\x1b[0m \x1b[4;9mlines\x1b[0m \x1b[2mfaint\x1b[0m",
    ]
    shipper.ship(output("\n".join(lines).encode() + b"\n"))
    texts = show(page, backend, shipper)
    expect(texts).to_have_count(len(lines))
    assert texts.nth(18).text_content() == "orange yellow night"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert serious_violations(page) == []
        take_picture(page, f"log-colours-{scheme}")


def test_hostile_log_does_nothing_but_be_shown(page: Page, backend: Server, started: Start) -> None:
    shipper = started()
    html = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    lines = [
        html,
        "\x1b]0;owned\x07title",
        "\x1b]52;c;b3duZWQ=\x07clipboard",
        "\x1b]8;;javascript:document.title='owned'\x07click\x1b]8;;\x07",
        "\x1b]8;;https://example.com/x\x07good\x1b]8;;\x07",
        "\x1bP" + "q" * 50_000 + "\x1b\\after dcs",
        "\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\after strings",
        "a\u202eb\u2066c \x07bell \x1b[2J\x1b[Hcleared \x9b31mc1",
    ]
    shipper.ship(output("\n".join(lines).encode() + b"\n"))
    dialogs = list[str]()
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    texts = show(page, backend, shipper)
    expect(texts).to_have_text(
        [
            html,
            "title",
            "clipboard",
            "click",
            "good",
            "after dcs",
            "after strings",
            "a<U+202E>b<U+2066>c ^Gbell cleared c1",
        ]
    )
    assert page.locator(".text a").evaluate_all("(all) => all.map((a) => [a.href, a.rel])") == [
        ["https://example.com/x", "noopener noreferrer nofollow"]
    ]
    assert page.locator(".text img, .text script").count() == 0
    take_picture(page, "log-hostile")
    page.keyboard.press("r")
    expect(texts.nth(1)).to_have_text("^[]0;owned^Gtitle")
    take_picture(page, "log-raw")
    assert "owned" not in page.title()
    assert dialogs == []
    assert len(page.context.pages) == 1


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_everybody_can_read_it(
    page: Page, backend: Server, started: Start, scheme: Any, width: int
) -> None:
    """Light and dark, on a telephone: axe-core finds nothing serious, and nothing sticks out."""
    shipper = started(command=["python", "manage.py", "runserver"])
    for n in range(60):
        shipper.ship(
            output(b"GET /items/%d 200 in %d ms\n" % (n, n % 7), time_us=n * 900_000)
            + (output(b"warning: slow\n", Kind.STDERR, n * 900_000) if n % 9 == 0 else b"")
        )
    shipper.ship(encode(Kind.GAP, 55_000_000, records.gap(33, 30, GapCause.OVERFLOW)))
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 720})
    show(page, backend, shipper)
    expect_seen(page, "GET /items/59 200 in 3 ms")
    assert serious_violations(page) == []
    assert page.locator("main").evaluate("(main) => main.scrollWidth") <= width
    take_picture(page, f"log-{scheme}-{width}")


def test_keys_are_listed_by_the_table_that_drives_them(
    page: Page, backend: Server, started: Start
) -> None:
    show(page, backend, started())
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_contain_text("search")
    assert dialog.locator("dt").count() >= 15
    take_picture(page, "log-keys")
    assert serious_violations(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


@pytest.mark.parametrize(
    ("words", "suffix"),
    [("Text", ".txt"), ("JSON lines", ".jsonl"), ("Terminal recording (asciicast)", ".cast")],
)
def test_log_is_taken_away(
    page: Page, backend: Server, started: Start, words: str, suffix: str
) -> None:
    shipper = started()
    shipper.ship(output(b"to take away\n"))
    show(page, backend, shipper)
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as taken:
        page.get_by_role("link", name=words).click()
    assert taken.value.suggested_filename.endswith(suffix)
    assert "to take away" in taken.value.path().read_text()


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
