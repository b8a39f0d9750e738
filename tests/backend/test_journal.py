"""The backend's own log: a line for a person, an object for a machine."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from io import StringIO

import pytest

from ptyshipper.backend import journal
from ptyshipper.backend.journal import NAME, told


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    log = logging.getLogger(NAME)
    before = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.level, log.propagate = before


def logged(log_format: str) -> str:
    stream = StringIO()
    journal.begin(log_format, stream)  # type: ignore[arg-type]
    log = logging.getLogger(NAME)
    log.info("listening", extra=told(url="http://x"))
    log.warning("a %s was refused", "shipper", extra=told(cause="token", others_since=3))
    try:
        raise KeyError("k")
    except KeyError:
        log.exception("it failed")
    log.error("line one\nline two")
    return stream.getvalue()


def test_text_says_nothing_of_what_did_not_happen() -> None:
    """A person need not be told that nobody else was refused; a machine's fields are always there."""
    stream = StringIO()
    journal.begin("text", stream)
    logging.getLogger(NAME).warning("refused", extra=told(cause="token", others_since=0))
    assert stream.getvalue() == "ptyshipper: refused (cause token)\n"


def test_text_is_for_a_person_and_tells_what_went_wrong() -> None:
    first, second, *rest = logged("text").splitlines()
    assert first == "ptyshipper: a shipper was refused (cause token, others since 3)"
    assert second.startswith("ptyshipper: it failed: KeyError: 'k' at test_journal.py:")
    assert rest == ["ptyshipper: line one", "line two"]


def test_json_is_an_object_a_line_whatever_is_told() -> None:
    lines = [json.loads(line) for line in logged("json").splitlines()]
    assert [set(line) for line in lines] == [{"time", "level", "message", "fields"}] * 4
    assert [line["level"] for line in lines] == ["info", "warning", "error", "error"]
    assert lines[0]["message"] == "listening"
    assert lines[0]["fields"] == {"url": "http://x"}
    assert lines[1]["fields"] == {"cause": "token", "others_since": 3}
    assert "Traceback" not in lines[2]["message"]
    assert lines[3]["message"] == "line one\nline two"
    assert all(datetime.fromisoformat(line["time"]).tzinfo is not None for line in lines)


def test_begun_again_it_tells_everything_once() -> None:
    logged("json")
    assert logged("text").count("it failed") == 1
