"""What a person is told at the end."""

from __future__ import annotations

import pytest

from ptyshipper.closing_line import closing_line

ID = bytes.fromhex("5824babf93a5") + bytes(10)


@pytest.mark.parametrize(
    ("session_id", "delivered", "recording", "line"),
    [
        (None, False, None, ""),
        (ID, True, None,
         "session 5824babf93a5; next: ptyshipper logs 5824babf93a5, ptyshipper export 5824babf93a5"
         " or ptyshipper repro --session 5824babf93a5"),
        (ID, False, None,
         "session 5824babf93a5; not all of it delivered yet; the next run here sends the rest"),
        (None, False, "a b",
         "recorded in './a b'; next: ptyshipper logs './a b', ptyshipper export './a b'"
         " or ptyshipper repro --session './a b'"),
        (ID, True, "/x/a", "session 5824babf93a5; recorded in /x/a; next: ptyshipper logs 5824babf93a5,"
         " ptyshipper export 5824babf93a5 or ptyshipper repro --session 5824babf93a5"),
        (ID, False, "a", "session 5824babf93a5; recorded in ./a; not all of it delivered yet;"
         " the next run here sends the rest; next: ptyshipper logs ./a, ptyshipper export ./a"
         " or ptyshipper repro --session ./a"),
    ],
)  # fmt: skip
def test_it_names_what_there_is(
    session_id: bytes | None, delivered: bool, recording: str | None, line: str
) -> None:
    assert closing_line(session_id, delivered, recording) == line
