"""Bodies within the API's limits, and timestamps in the API's order."""

from __future__ import annotations

import json
from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.uplink.posting.lines import MAX_PIECE_BYTES, Line
from ptyshipper.uplink.posting.post import (
    MAX_BODY_BYTES,
    MAX_LINES,
    MAX_MS,
    Entry,
    Envelope,
    Stamps,
    fits,
)
from tests.support import fake_anvilops
from tests.support.fake_anvilops import YEAR_10000_MS

DESCRIPTION = {
    "deployment_id": 7,
    "type": "runtime",
    "hostname": "pod-1",
    "started_at_us": 5_000_000,
}


def line(text: str, time_us: int = 0, source: int = 0) -> Line:
    return Line(time_us, source, text, True, 100, 200)


def entries(*lines: Line) -> tuple[Entry, ...]:
    envelope = Envelope(DESCRIPTION)
    return tuple(chain.from_iterable(envelope.entries(each) for each in lines))


def test_the_limits_are_the_api_s() -> None:
    assert (MAX_BODY_BYTES, MAX_LINES) == (fake_anvilops.MAX_BODY_BYTES, 500)


def test_a_body_is_what_the_api_asks_for() -> None:
    made = entries(line('say "hé"\t\x1b[0m', 1_999), line("", 2_000, source=1))
    body = Envelope(DESCRIPTION).body(made, Stamps(5_000, 0).of(made))
    assert json.loads(body) == {
        "type": "runtime",
        "deploymentId": 7,
        "hostname": "pod-1",
        "lines": [
            {"content": 'say "hé"\t\x1b[0m', "stream": "stdout", "timestamp": 5_001},
            {"content": "", "stream": "stderr", "timestamp": 5_002},
        ],
    }
    assert json.loads(Envelope(DESCRIPTION).body((), ()))["lines"] == []


def test_a_hostname_is_no_longer_than_one_may_be() -> None:
    body = Envelope(DESCRIPTION | {"hostname": "h" * 5_000}).body((), ())
    assert json.loads(body)["hostname"] == "h" * 253


def test_a_terminal_is_stdout_and_our_own_words_are_stderr() -> None:
    made = entries(*(line("x", source=source) for source in range(4)))
    assert [entry.stream for entry in made] == [b"stdout", b"stderr", b"stdout", b"stderr"]


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b", "\udcff"])
def test_nothing_that_the_api_answers_with_500_is_in_a_body(text: str) -> None:
    for description, made in (
        (DESCRIPTION, entries(line(text))),
        (DESCRIPTION | {"hostname": text}, ()),
    ):
        body = Envelope(description).body(made, (1,) * len(made))
        assert b"\\u0000" not in body
        assert "\ufffd" in body.decode()


@pytest.mark.parametrize(
    "text", ["x" * MAX_PIECE_BYTES, "\x01" * MAX_PIECE_BYTES, '"' * 100_000, "日" * 60_000, "\0" * 60_000]
)  # fmt: skip
def test_a_line_that_takes_more_than_a_post_is_divided(text: str) -> None:
    envelope = Envelope(DESCRIPTION | {"hostname": "h" * 5_000})
    parts = tuple(envelope.entries(line(text)))
    for part in parts:
        assert len(envelope.body((part,), (MAX_MS,))) <= MAX_BODY_BYTES
    assert "".join(json.loads(part.content) for part in parts) == text.replace("\0", "\ufffd")
    assert [part.line is not None for part in parts] == [False] * (len(parts) - 1) + [True]


@given(st.lists(st.text(max_size=60) | st.sampled_from(["x" * 3_000, "\x01" * 900]), max_size=900))
def test_whatever_fits_is_within_the_limits(texts: list[str]) -> None:
    envelope = Envelope(DESCRIPTION)
    taken: list[Entry] = []
    size_bytes = 0
    for entry in entries(*map(line, texts)):
        if fits(len(taken), size_bytes, entry, envelope.room_bytes):
            taken.append(entry)
            size_bytes += entry.size_bytes
    body = envelope.body(tuple(taken), (MAX_MS,) * len(taken))
    assert len(body) <= MAX_BODY_BYTES
    assert len(taken) <= 500
    assert len(taken) == len(texts) or len(taken) == 500 or len(body) > MAX_BODY_BYTES - 6_000


@pytest.mark.parametrize(
    "description",
    [{}, {"deployment_id": None, "type": "runtime"}, {"deployment_id": 1, "type": "other"},
     {"deployment_id": "1", "type": "build"}],
)  # fmt: skip
def test_without_a_deployment_there_is_nothing_to_post_for(description: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="deployment"):
        Envelope(description)


@given(st.lists(st.lists(st.integers(-(2**70), 2**70), max_size=6), max_size=6), st.booleans())
def test_timestamps_never_decrease_and_posts_share_none(
    posts: list[list[int]], apart: bool
) -> None:
    stamps = Stamps(5_000, -1)
    found: list[int] = []
    for times_us in posts:
        made = entries(*(line("x", min(time_us, 2**50)) for time_us in times_us))
        given_ms = stamps.of(made, apart=apart)
        assert all(one <= other for one, other in pairwise(given_ms))
        assert not apart or len(set(given_ms)) == len(given_ms)
        assert not (found and given_ms) or given_ms[0] > found[-1]
        found += given_ms
    assert all(0 <= stamp_ms <= MAX_MS for stamp_ms in found)


def test_timestamps_stay_in_the_years_that_are_taken() -> None:
    assert Stamps(10**20, -1).of(entries(line("x", 5_000_000))) == (MAX_MS,)
    assert MAX_MS == YEAR_10000_MS - 1
    assert Stamps(-(10**20), -1).of(entries(line("x"))) == (0,)


def test_a_successor_goes_on_behind_the_last_timestamp() -> None:
    assert Stamps(0, 900).of(entries(line("x", 1_000))) == (901,)
