"""The log view in a real browser: how lines are shown, told apart and taken away."""

from __future__ import annotations

from typing import Any

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
    show,
    started,
)
from tests.support.server import Server, exit_record, output

__all__ = ["backend", "browser", "context", "page", "started"]

pytestmark = needs_chromium


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
