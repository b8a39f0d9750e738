"""Records to lines: however the output was cut into records, the same lines; and nothing is lost."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptyshipper import records
from ptyshipper.records import HEADER_BYTES, GapCause, Kind, Record, encode
from ptyshipper.uplink.posting.lines import (
    CHANGING_SILENCE_US,
    MAX_PIECE_BYTES,
    NEVER_US,
    SILENCE_US,
    Line,
    LineAssembler,
)
from ptyshipper.uplink.posting.progress import Progress

START = Progress()
STREAMS = ("stdout", "stderr", "tty", "own")


class Given:
    """The records of a session at their offsets, and the lines that come of them."""

    def __init__(self, *made: Record, progress: Progress = START, **options: object) -> None:
        self.assembler = LineAssembler(progress, **{"colours": False, **options})  # type: ignore[arg-type]
        self.offset = 0
        self.lines: list[Line] = []
        self.records: list[tuple[int, Record]] = []
        for record in made:
            self.feed(record)

    def feed(self, record: Record) -> list[Line]:
        self.records.append((self.offset, record))
        lines = list(self.assembler.feed(record, self.offset))
        is_gap = record.kind == Kind.GAP
        self.offset += records.read_gap(record.payload).span if is_gap else record.size
        self.lines += lines
        return lines

    def finish(self) -> list[Line]:
        self.lines += self.assembler.finish()
        return self.lines


def out(content: bytes, kind: Kind = Kind.STDOUT, time_us: int = 0) -> Record:
    return Record(kind, time_us, content)


def texts(*made: Record, **options: object) -> list[str]:
    return [line.text for line in Given(*made, **options).finish()]


def rejoined(lines: list[Line], source: int) -> str:
    """What a stream's lines come to."""
    return "".join(line.text + "\n" * line.is_whole for line in lines if line.source == source)


def test_lines_of_a_pipe() -> None:
    assert texts(out(b"one\ntw"), out(b"o\r\n\nthree")) == ["one", "two", "", "three"]


def test_streams_are_told_apart() -> None:
    given = Given(out(b"o"), out(b"e\n", Kind.STDERR), out(b"t\n", Kind.TTY), out(b"\n"))
    found = [(STREAMS[line.source], line.text) for line in given.lines]
    assert found == [("stderr", "e"), ("tty", "t"), ("stdout", "o")]


@pytest.mark.parametrize(
    ("printed", "text"),
    [
        (b"caf\xc3\xa9", "café"),
        (b"a\xff\xfeb", "a\ufffd\ufffdb"),
        (b"cut \xe6\x97", "cut \ufffd"),
        (b"\xed\xa0\x80", "\ufffd" * 3),  # a lone surrogate, as some encoders write it
        (b"a\0b", "a\ufffdb"),
        (b"tab\tand \x1b[31mred\x1b[0m \x07", "tab\tand \x1b[31mred\x1b[0m \x07"),
        (b"10%\r20%", "10%\r20%"),
        (b"x\r\r", "x\r"),
    ],
)
def test_what_a_pipe_carries_is_kept_but_for_what_the_api_does_not_take(
    printed: bytes, text: str
) -> None:
    assert texts(out(printed + b"\n")) == [text]


@pytest.mark.parametrize(
    ("printed", "text"),
    [
        (b"".join(b"\r%3d%% %s" % (n, b"#" * (n // 10)) for n in range(101)), "100% ##########"),
        (b"\x1b[1;32mgreen\x1b[0m", "green"),
        (b"\x1b]0;a title\x07$ ", "$ "),
        (b"\x1b[?25l\x1b[2Jhello\x1b[3;4H\x1b[A there\x1b[?25h", "hello there"),
        (b"a\0b\x07c\x1b7\x1b(B\x1b", "abc"),
        ("日本\r".encode() + b"X", "X 本"),
        (b"100% of it\r\x1b[Jdone", "done"),
        (b"100% of it\x1b[1G\x1b[0Jdone", "done"),
        (b"working |\b/\b-\bdone", "working done"),
        (b"\x1bPq#0;1;0\x1b\\after", "after"),
    ],
)
def test_of_a_terminal_it_is_what_a_person_would_have_read(printed: bytes, text: str) -> None:
    assert texts(out(printed + b"\r\n", Kind.TTY)) == [text]


def test_colours_are_kept_where_they_are_wanted() -> None:
    line = out(b"\x1b[1;32mok\x1b[0m \x1b[5n\n", Kind.TTY)
    assert texts(line, colours=True) == ["\x1b[1;32mok\x1b[0m "]


def test_a_stream_that_is_a_pty_of_its_own_is_a_terminal() -> None:
    started = Record(Kind.STARTED, 0, records.started(0, 80, 24, 0b110))
    assert texts(started, out(b"10%\r20%\n"), out(b"1\r2\n", Kind.STDERR)) == ["20%", "2"]


def test_a_progress_bar_of_megabytes_is_one_line() -> None:
    """With pauses, in colour, over more than the spool may hold back at once."""
    given = Given(max_span_bytes=2**22)
    for n in range(10_000):
        bar = b"\r\x1b[32m%5d\x1b[0m |%s|" % (n, b"#" * (n // 200))
        given.feed(out(bar * 3, Kind.TTY, n * 5_000_000))
    given.feed(out(b"\r\n", Kind.TTY, 10_000 * 5_000_000))
    assert [line.text for line in given.lines] == ["09999 |".replace("0", " ", 1) + "#" * 49 + "|"]


def test_silence_gives_what_was_begun() -> None:
    given = Given(out(b"Password: ", time_us=1_000))
    assert given.assembler.due_us == 1_000 + SILENCE_US
    assert list(given.assembler.flush_silent(SILENCE_US)) == []
    (line,) = given.assembler.flush_silent(1_000 + SILENCE_US)
    assert (line.text, line.is_whole) == ("Password: ", False)
    assert given.assembler.due_us == NEVER_US
    assert given.feed(out(b"\nnext\n", time_us=9_000_000))[0].text == "next", "no empty line"


def test_a_successor_takes_the_newline_of_what_was_given_for_no_line_of_its_own() -> None:
    given = Given(out(b"Password: "))
    (piece,) = given.assembler.flush_silent(SILENCE_US)
    successor = LineAssembler(START.beyond([piece]), colours=False)
    newline = out(b"\nnext\n", time_us=9_000_000)
    assert [line.text for line in successor.feed(newline, given.offset)] == ["next"]


def test_the_records_own_times_tell_what_silence_is() -> None:
    """So that a successor makes the same lines of the same records."""
    assert texts(out(b"a", time_us=0), out(b"b\n", time_us=SILENCE_US)) == ["a", "b"]
    assert texts(out(b"a", time_us=0), out(b"b\n", time_us=SILENCE_US - 1)) == ["ab"]
    other = [
        out(b"a", time_us=0),
        out(b"e\n", Kind.STDERR, SILENCE_US),
        out(b"b\n", time_us=SILENCE_US),
    ]
    assert texts(*other) == ["a", "e", "b"]


def test_what_is_cut_off_waits_for_the_rest() -> None:
    given = Given(out(b"caf\xc3"), out(b"caf\xc3", Kind.TTY), out(b"x\r", Kind.STDERR))
    given.feed(out(b"!\x1b[3", Kind.TTY))
    assert [line.text for line in given.assembler.flush_silent(SILENCE_US)] == [
        "caf",
        "x",
        "caf\ufffd!",
    ]
    given.lines.clear()
    given.feed(out(b"\xa9\n", time_us=SILENCE_US))
    given.feed(out(b"\n", Kind.STDERR, SILENCE_US))
    given.feed(out(b"1mred\n", Kind.TTY, SILENCE_US))
    assert [line.text for line in given.lines] == ["é", "red"]


def test_what_changes_is_waited_for_longer() -> None:
    given = Given(out(b"\r10%", Kind.TTY), out(b"\r20%", Kind.TTY, SILENCE_US * 2))
    assert given.lines == []
    (line,) = given.assembler.flush_silent(SILENCE_US * 2 + CHANGING_SILENCE_US)
    assert line.text == "20%"


def test_a_line_that_holds_up_the_spool_is_given() -> None:
    """Nothing behind its beginning can be released; another stream may flood meanwhile."""
    given = Given(out(b"begun \xc3"), max_span_bytes=100_000)
    for _ in range(3):
        given.feed(out(b"x" * 49_999 + b"\n", Kind.STDERR))
    assert given.lines[-2].text == "begun \ufffd"
    assert given.assembler.settled_offset == given.offset


def test_gap_is_a_line_and_ends_what_was_begun() -> None:
    gap = Record(Kind.GAP, 9, records.gap(5_000, 4_000, GapCause.OVERFLOW))
    given = Given(out(b"begun"), gap, out(b"rest\n"))
    assert [(STREAMS[line.source], line.text) for line in given.lines] == [
        ("stdout", "begun"),
        ("own", "ptyshipper: 4000 bytes lost: the spool was full"),
        ("stdout", "rest"),
    ]
    assert given.lines[1].settled_offset == HEADER_BYTES + 5 + 5_000


def test_long_line_comes_in_pieces_that_are_cut_between_characters() -> None:
    printed = ("日本語\r" * 40_000).encode() + b"\xa9" * 70_000
    given = Given(*(out(printed[at : at + 50_000]) for at in range(0, len(printed), 50_000)))
    given.feed(out(b"\r\nend\n"))
    pieces = given.lines[:-1]
    assert "".join(line.text for line in pieces) == printed.decode("utf-8", "replace")
    assert [line.is_whole for line in pieces] == [False] * (len(pieces) - 1) + [True]
    assert max(len(line.text.encode()) for line in pieces) <= 3 * MAX_PIECE_BYTES
    assert given.lines[-1].text == "end"


UNITS = {
    "a": b"a", "e": "é".encode(), "j": "日".encode(), "!": b"\xe6", "?": b"\xa9", "n": b"\n",
    "r": b"\r\n", "c": b"\r", "0": b"\0", "b": b"\b", "m": b"\x1b[31m", "K": b"\x1b[2K",
    "t": b"\x1b]0;t\x07", "X": b"x" * 30_000, "w": b"word ",
}  # fmt: skip
PRINTED = st.text(alphabet=list(UNITS), max_size=40)
"""What was printed, a letter for each piece."""
KINDS = st.sampled_from([Kind.STDOUT, Kind.STDERR, Kind.TTY])


def spelt(units: str) -> bytes:
    return b"".join(UNITS[unit] for unit in units)


def cut(data: bytes, seed: int) -> list[bytes]:
    """In random pieces, many of a byte."""
    chance, pieces = random.Random(seed), []
    while data:
        size = chance.choice([1, 1, 2, 5, 40_000])
        pieces.append(data[:size])
        data = data[size:]
    return pieces


@settings(deadline=None)
@given(units=PRINTED, kind=KINDS, seed=st.integers())
def test_however_it_was_cut_the_lines_are_the_same(units: str, kind: Kind, seed: int) -> None:
    printed = spelt(units)
    whole = texts(*(out(piece, kind) for piece in cut(printed, 0) if piece))
    assert texts(*(out(piece, kind) for piece in cut(printed, seed))) == whole


@settings(deadline=None)
@given(units=st.tuples(PRINTED, PRINTED), seed=st.integers(), slow=st.booleans())
def test_of_pipes_nothing_is_lost(units: tuple[str, str], seed: int, slow: bool) -> None:
    """Whatever is cut where, and whoever is silent for how long."""
    streams = tuple(map(spelt, units))
    chance = random.Random(seed)
    waiting = {
        kind: cut(data, seed)
        for kind, data in zip((Kind.STDOUT, Kind.STDERR), streams, strict=True)
    }
    given, time_us = Given(max_span_bytes=2**30), 0
    while kinds := [kind for kind, pieces in waiting.items() if pieces]:
        kind = chance.choice(kinds)
        time_us += chance.choice([0, SILENCE_US // 3, SILENCE_US]) if slow else 0
        given.feed(out(waiting[kind].pop(0), kind, time_us))
    given.finish()
    for source, data in enumerate(streams):
        text = data.replace(b"\r\n", b"\n").decode("utf-8", "replace").replace("\0", "\ufffd")
        got = rejoined(given.lines, source)
        if slow:  # the newline of a line that was given for its silence is no line of its own
            assert got.replace("\n", "") == text.replace("\n", "")
        else:
            assert got.rstrip("\n") == text.rstrip("\n")


@settings(deadline=None)
@given(units=PRINTED, kind=KINDS, seed=st.integers(), stop=st.integers(0, 40))
def test_who_goes_on_after_any_line_gives_the_rest(
    units: str, kind: Kind, seed: int, stop: int
) -> None:
    """A successor, or a post after it: from the last line that was taken, nothing twice."""
    first = Given(*(out(piece, kind) for piece in cut(spelt(units), seed)))
    first.finish()
    taken = first.lines[:stop]
    progress = START
    for line in taken:
        progress = progress.beyond([line])
    second = LineAssembler(progress, colours=False)
    rest: list[Line] = []
    for offset, record in first.records:
        if offset >= progress.offset:
            rest += second.feed(record, offset)
    rest += second.finish()
    assert [line.text for line in taken + rest] == [line.text for line in first.lines]


@settings(deadline=None)
@given(units=PRINTED, seed=st.integers())
def test_what_is_settled_only_grows_and_ends_at_the_end(units: str, seed: int) -> None:
    given = Given(*(out(piece) for piece in cut(spelt(units), seed)))
    given.finish()
    settled = [line.settled_offset for line in given.lines]
    assert all(one <= other for one, other in pairwise([*settled, given.assembler.settled_offset]))
    assert given.assembler.settled_offset == given.offset
    assert sum(len(encode(r.kind, 0, r.payload)) for _, r in given.records) == given.offset
