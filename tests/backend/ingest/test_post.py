"""AnvilOps' posts: what is one, and which records it makes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptyshipper.backend.digest import digest
from ptyshipper.backend.ingest.post import (
    MAX_LINES,
    PostRefused,
    read_post,
    records_of,
    start_record,
)
from ptyshipper.records import Kind, decode

LINE = {"content": "hi", "stream": "stdout", "timestamp": 1_700_000_000_000}


def post(**fields: Any) -> bytes:
    return json.dumps(
        {"type": "runtime", "deploymentId": 7, "hostname": "web-0", "lines": [LINE], **fields}
    ).encode()


def line(**fields: Any) -> bytes:
    return post(lines=[LINE, {**LINE, **fields}])


@pytest.mark.parametrize(
    "body",
    [
        post(),
        post(type="build"),
        post(lines=[]),
        post(surplus=1),
        line(surplus=1),
        line(timestamp=0),
        line(timestamp=-5),
        line(timestamp=1.0),
        line(timestamp=253_402_300_800_000),  # the year 10000: the real one answers 500
        line(content="\0 \ud800 \x1b[2J \r"),
        line(content=""),
        line(stream="stderr"),
    ],
)
def test_taken(body: bytes) -> None:
    """What AnvilOps takes, and what it fails on without a reason."""
    assert read_post(body).deployment_id == 7


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        post(type=""),
        post(type="BUILD"),
        post(type=["build"]),
        post(deploymentId="7"),
        post(deploymentId=True),
        post(deploymentId=0),
        post(deploymentId=2**31),
        post(hostname=5),
        post(hostname=""),
        post(hostname="x" * 256),
        post(lines={}),
        post(lines=[1]),
        post(lines=[LINE] * (MAX_LINES + 1)),
        line(timestamp=1.5),
        line(timestamp="1"),
        line(timestamp=2**60),
        line(timestamp=1e300),
        line(timestamp=float("nan")),
        line(stream="STDOUT"),
        line(stream=["stdout"]),
        line(content=None),
        post(lines=[{"content": "x", "stream": "stdout"}]),
    ],
)
def test_refused(body: bytes) -> None:
    with pytest.raises(PostRefused) as caught:
        read_post(body)
    assert "\n" not in str(caught.value)


def test_posts_of_a_pod_are_one_session() -> None:
    """And no other's: not even of one whose name could be put together from the same letters."""
    bodies = [post(), post(hostname="web-1"), post(deploymentId=8), post(type="build")]
    sessions = {read_post(body).session_id for body in bodies}
    assert len(sessions) == len(bodies)
    assert read_post(post(lines=[])).session_id == read_post(post()).session_id
    about = read_post(post()).description()
    assert (about.deployment_id, about.hostname, about.type) == (7, "web-0", "runtime")
    assert about.started_at_us == 1_700_000_000_000_000


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["stdout", "stderr"]),
            st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])),
            st.integers(-(2**50), 2**50),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 2**40),
)
def test_lines_come_back_from_their_records(
    lines: list[tuple[str, str, int]], from_us: int
) -> None:
    """Byte for byte, in order, at times that never decrease; each is one entry."""
    body = post(lines=[dict(zip(LINE_FIELDS, line, strict=True)) for line in lines])
    read = read_post(body).lines
    records, last_us = records_of(read, read[0].time_us, from_us)
    found = list(decode(records))
    assert [(record.kind, record.payload) for record in found] == [
        ({"stdout": Kind.STDOUT, "stderr": Kind.STDERR}[stream], text.encode() + b"\n")
        for stream, text, _ in lines
    ]
    times = [record.time_us for record in found]
    assert times == sorted(times)
    assert times[0] >= from_us
    assert times[-1] == last_us
    counted = digest(start_record(read) + records, 0)
    assert counted.entries == len(lines)


LINE_FIELDS = ("stream", "content", "timestamp")


def test_long_line_is_several_records_and_one_entry() -> None:
    read = read_post(line(content="x" * 200_000)).lines
    records, _ = records_of(read[1:], 0, 0)
    assert len(list(decode(records))) == 4
    assert digest(records, 0).entries == 1
