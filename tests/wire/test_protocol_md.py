"""PROTOCOL.md is normative: its bytes and tables are what the code writes and reads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ptyshipper import records, wire
from ptyshipper.records import GapCause, Kind, Record
from ptyshipper.wire import messages
from ptyshipper.wire.closing import MEANINGS, asking_to_wait, retry_after_s
from ptyshipper.wire.messages import ByeReason

DOCUMENT = (Path(wire.__file__).parent / "PROTOCOL.md").read_text(encoding="utf-8")


def golden(name: str) -> list[tuple[str, bytes, str]]:
    """The lines of a golden block: direction, bytes, annotation."""
    block = re.search(rf"```golden {name}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert block is not None
    lines = [re.fullmatch(r"([<>]?)([0-9a-f ]+)#\s*(.*)", line) for line in block[1].splitlines()]
    return [(line[1], bytes.fromhex(line[2]), line[3]) for line in lines if line]


def table(heading: str) -> list[list[str]]:
    """The cells of the first table whose heading row contains ``heading``."""
    rows = DOCUMENT[DOCUMENT.index(heading) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


WRITTEN = [
    (Kind.STARTED, 0, records.started(1_700_000_000_000_000, 80, 24, 0)),
    (Kind.STDOUT, 1_500, b"hi\n"),
    (Kind.STDERR, 1_600, b"\xff\x00"),
    (Kind.TTY, 1_700, b"\x1b[0m"),
    (Kind.RESIZED, 1_000, records.resized(120, 40)),
    (Kind.SIGNALLED, 2_000, records.signalled(15)),
    (Kind.EXITED, 2_500, records.exited(0, 0, False)),
    (Kind.EXITED, 2_500, records.exited(0, 11, True)),
    (Kind.GAP, 2_000, records.gap(4_096, 4_000, GapCause.OVERFLOW)),
]


def test_golden_records_are_written_and_read() -> None:
    """Each line's bytes are what its annotation says, in both directions."""
    lines = golden("records")
    assert len(lines) == len(WRITTEN)
    for (_, data, annotation), (kind, time_us, payload) in zip(lines, WRITTEN, strict=True):
        assert records.encode(kind, time_us, payload) == data, annotation
        assert list(records.decode(data)) == [Record(kind, time_us, payload)], annotation
        assert annotation.startswith(f"{kind.name} at "), annotation
        assert f" {time_us} us" in annotation


def test_golden_conversation_is_written_and_read() -> None:
    """Every message of it, by its sender's writer and its receiver's reader."""
    description = {
        "deployment_id": 7,
        "type": "runtime",
        "hostname": "web-0",
        "command": ["echo", "hi"],
        "tty": False,
        "started_at_us": 1_700_000_000_000_000,
        "client": "ptyshipper/0.1.0",
    }
    started, stdout = (records.encode(*WRITTEN[at]) for at in (0, 1))
    exited = records.encode(*WRITTEN[6])
    said = [
        (
            ">",
            messages.hello(bytes(range(16)), description),
            messages.Hello(bytes(range(16)), description),
        ),
        ("<", messages.welcome(0, 1 << 20), messages.Welcome(0, 1 << 20)),
        (">", messages.batch(0, started + stdout), messages.Batch(0, started + stdout)),
        ("<", messages.ack(48), messages.Ack(48)),
        (">", messages.batch(48, exited), messages.Batch(48, exited)),
        ("<", messages.ack(67), messages.Ack(67)),
        (">", messages.bye(ByeReason.ENDED), messages.Bye(ByeReason.ENDED)),
    ]
    lines = golden("conversation")
    assert [(direction, data) for direction, data, _ in lines] == [
        (side, data) for side, data, _ in said
    ]
    for side, data, value in said:
        read = messages.read_shipper_message if side == ">" else messages.read_backend_message
        assert read(data) == value
    assert json.dumps(description, separators=(",", ":")) in lines[0][2]


def test_golden_heartbeat() -> None:
    """The one that stands in the text."""
    found = re.search(r"A heartbeat is .*?`([0-9a-f ]+)`", DOCUMENT)
    assert found is not None
    assert bytes.fromhex(found[1]) == messages.batch(67, b"")


def test_close_codes_are_those_of_the_code() -> None:
    """Number and meaning, row by row."""
    rows = [(int(code), meaning) for code, meaning in table("| code | meaning |")]
    assert rows == [(int(code), meaning) for code, meaning in MEANINGS.items()]


def test_a_reason_that_asks_to_wait_is_as_the_text_says() -> None:
    """Written and read, up to what a close frame holds: 123 bytes (RFC 6455, 5.5)."""
    form = re.search(r"reason of a close MAY end in `(.*?)`", DOCUMENT)
    assert form is not None
    assert asking_to_wait("why", 42) == "why" + form[1].replace("N", "42")
    assert retry_after_s(asking_to_wait("why", 42)) == 42
    assert retry_after_s("why") == 0


def test_message_types_are_those_of_the_code() -> None:
    """Every type has a row."""
    rows = [(int(row[0], 16), row[1]) for row in table("| type | message |")]
    assert rows == [(int(kind), kind.name) for kind in messages.Type]


def test_record_kinds_are_those_of_the_code() -> None:
    """Number, name and payload bounds."""
    for row in table("| kind | name |"):
        kind = Kind[row[1]]
        assert int(row[0]) == kind
        bounds = [int(number.replace(",", "")) for number in row[-1].split(" to ")]
        assert (bounds[0], bounds[-1]) == records.PAYLOAD_BYTES[kind]
    assert len(table("| kind | name |")) == len(Kind)


@pytest.mark.parametrize(
    "limit",
    [
        messages.MAX_BATCH_BYTES,
        messages.MAX_BATCH_RECORDS,
        messages.MAX_DESCRIPTION_BYTES,
        messages.MAX_MESSAGE_BYTES,
    ],
)
def test_limits_stand_in_the_text(limit: int) -> None:
    """A second client is written from the text alone."""
    assert f"{limit:,} " in DOCUMENT
