"""The list of sessions, for people and for programs."""

from __future__ import annotations

import io
import json
import os
from datetime import UTC, datetime
from typing import Any

import pytest

from ptyshipper.view.sessions import sessions, table
from tests.support.server import Server, Shipper, exit_record, output, start_record

NOW = datetime(2023, 11, 14, 23, 0, tzinfo=UTC)


def session(**fields: Any) -> dict[str, Any]:
    return {
        "id": "0123456789abcdef0123456789abcdef",
        "hostname": "web-0",
        "command": ["echo", "a b"],
        "started_at": "2023-11-14T22:13:20.000Z",
        "ended_at": "2023-11-14T22:13:22.500Z",
        "state": "exited",
        "exit_code": 0,
        "exit_signal": None,
        "bytes": 1_536,
        "gaps": 0,
        **fields,
    }


def cells(found: dict[str, Any]) -> list[str]:
    heading, row = table([found], NOW, None, colours=False)
    assert heading.split() == [
        "SESSION",
        "STATE",
        "EXIT",
        "STARTED",
        "RAN",
        "OUTPUT",
        "HOST",
        "COMMAND",
    ]
    return row.split()


def test_row_tells_what_a_person_wants_to_know() -> None:
    found = cells(session())
    assert found[:3] == ["0123456789ab", "exited", "0"]
    assert found[5:] == ["2.5s", "1.5", "KiB", "web-0", "echo", "'a", "b'"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"exit_code": None, "exit_signal": 9}, "SIGKILL"),
        ({"exit_code": None, "exit_signal": 99}, "SIG99"),
        ({"exit_code": 127}, "127"),
    ],
)
def test_exit_is_a_code_or_a_signals_name(fields: dict[str, Any], expected: str) -> None:
    assert cells(session(**fields))[2] == expected


@pytest.mark.parametrize(
    ("ended_at", "expected"),
    [
        ("2023-11-14T22:15:21.000Z", "2m01s"),
        ("2023-11-15T01:14:20.000Z", "3h01m"),
        ("2023-11-17T01:14:20.000Z", "2d3h"),
        (None, "46m40s"),
        ("2023-11-14T22:13:19.000Z", "0.0s"),
    ],
)
def test_running_time_is_told_in_fitting_units(ended_at: str | None, expected: str) -> None:
    """Of a running session up to now."""
    assert expected in cells(session(ended_at=ended_at))


def test_gaps_are_told() -> None:
    assert "(2 gaps)" in table([session(gaps=2)], NOW, None, colours=False)[1]


def test_hostile_names_do_not_reach_the_terminal() -> None:
    row = table(
        [session(hostname="\x1b]0;x\x07\x1b[6n\x05", command=["\x1b[31m", "\udcff", "\u202e"])],
        NOW,
        None,
        colours=True,
    )
    assert "\x1b[31m" not in row[1]
    assert "\x1b]" not in row[1]
    assert "^E" in row[1]
    assert "<202e>" in row[1]


def test_columns_line_up_and_lines_fit() -> None:
    found = [
        session(hostname="a"),
        session(hostname="a-much-longer-name", state="running", exit_code=None),
    ]
    lines = table(found, NOW, None, colours=False)
    assert (
        len({line.index("echo") if "echo" in line else line.index("COMMAND") for line in lines})
        == 1
    )
    assert all(len(line) <= 60 for line in table(found, NOW, 60, colours=False))


def test_endless_hostname_leaves_room_for_the_command() -> None:
    lines = table([session(hostname="h" * 8_000), session()], NOW, 120, colours=False)
    assert "h" * 23 + "…  echo 'a b'" in lines[1]
    assert lines[2].endswith("echo 'a b'")


def test_colours_are_for_failures_and_states() -> None:
    found = [session(), session(exit_code=1), session(state="running"), session(state="cut")]
    _, fine, failed, running, cut = table(found, NOW, None, colours=True)
    assert "\x1b" not in fine
    assert [line[:5] for line in (failed, running, cut)] == ["\x1b[31m", "\x1b[32m", "\x1b[33m"]


def test_json_is_an_object_a_line(server: Server) -> None:
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record() + output(b"x") + exit_record(3))
    out = io.StringIO()
    assert sessions(server.data_dir, as_json=True, out=out) == 0
    found = {line["id"]: line for line in map(json.loads, out.getvalue().splitlines())}
    assert found[shipper.session_id.hex()]["exit_code"] == 3
    shipper.socket.close()


def test_table_is_plain_where_nobody_looks(server: Server) -> None:
    out = io.StringIO()
    assert sessions(server.data_dir, as_json=False, out=out) == 0
    assert out.getvalue().startswith("SESSION")
    assert "\x1b" not in out.getvalue()
