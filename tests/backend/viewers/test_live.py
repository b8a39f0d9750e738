"""Entries while they come: every one once, in order, whenever and however often a reader comes."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from ptyshipper.records import Kind
from ptyshipper.wire.messages import ByeReason
from tests.support.patience import until
from tests.support.server import (
    Server,
    Shipper,
    exit_record,
    output,
    running_server,
    start_record,
)
from tests.support.streams import Event, asked


def path(shipper: Shipper, query: str = "from=0") -> str:
    return f"/api/sessions/{shipper.session_id.hex()}/lines/live?{query}"


def texts(events: list[Event]) -> list[str]:
    return [entry["text"] for event in events if event.name == "entries" for entry in event.data]


def test_what_was_and_what_comes(server: Server) -> None:
    """History, then each line as it is shipped, then the end; ids are the entries' numbers."""
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record() + output(b"one\ntwo\n"))
    with asked(server, path(shipper)) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        events = answer.events()
        history = [next(events)]
        if history[0].id == 0:  # a reader whose turn is over after a line goes on in the next
            history.append(next(events))
        state = next(events)
        assert (texts(history), history[-1].id) == (["one", "two"], 1)
        assert (state.name, state.data["state"], state.id) == ("state", "running", None)
        shipper.ship(output(b"three\n"))
        third = next(events)
        assert (texts([third]), third.id) == (["three"], 2)
        shipper.ship(exit_record(3))
        exited, end = next(events), next(events)
        assert (texts([exited]), exited.id) == (["exited with 3"], 3)
        assert (end.name, end.data["exit_code"]) == ("end", 3)
        assert list(events) == []
    shipper.socket.close()


def test_line_that_grows_is_replaced(server: Server) -> None:
    """What is open is told as it is by now, and no more once it is complete."""
    shipper = Shipper(server, os.urandom(16), tty=True)
    shipper.ship(start_record() + output(b"  0%", Kind.TTY))
    with asked(server, path(shipper)) as answer:
        events = (event for event in answer.events() if event.name != "state")

        def shown() -> list[str]:
            event = next(events)
            assert event.name == "unfinished"
            return [entry["text"] for entry in event.data]

        assert shown() == ["  0%"]
        shipper.ship(output(b"\r 50%", Kind.TTY))
        assert shown() == [" 50%"]
        shipper.ship(output(b"\r100%\n$ ", Kind.TTY))
        assert texts([next(events)]) == ["100%"]
        assert shown() == ["$ "]
        shipper.ship(output(b"exit\n", Kind.TTY))
        assert texts([next(events)]) == ["$ exit"]
        assert shown() == []
    shipper.socket.close()


def test_without_a_number_only_what_comes(server: Server) -> None:
    """The line that is open then is whole."""
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record() + output(b"old\n" * 20 + b"be"))
    with asked(server, path(shipper, "")) as answer:
        events = answer.events()
        assert [entry["text"] for entry in next(events).data] == ["be"]
        assert next(events).name == "state"
        shipper.ship(output(b"gun\n"))
        assert texts([next(events)]) == ["begun"]
    shipper.socket.close()


def test_reader_who_comes_back_goes_on_behind_what_was_seen(server: Server) -> None:
    """By Last-Event-ID, which is later than the address; when nothing is left, it is told to stay away."""
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record() + output(b"one\ntwo\nthree\n") + exit_record())
    shipper.socket.close()
    with asked(server, path(shipper), {"Last-Event-ID": "1"}) as answer:
        assert texts(list(answer.events())) == ["three", "exited with 0"]
    with asked(server, path(shipper), {"Last-Event-ID": "3"}) as answer:
        assert (answer.status, answer.response.read()) == (204, b"")
    with asked(server, path(shipper), {"Last-Event-ID": "nonsense"}) as answer:
        assert len(texts(list(answer.events()))) == 4


def test_one_stream_alone(server: Server) -> None:
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record() + output(b"out\n") + output(b"err\n", Kind.STDERR) + exit_record())
    shipper.socket.close()
    with asked(server, path(shipper, "from=0&stream=stderr")) as answer:
        assert texts(list(answer.events())) == ["err", "exited with 0"]


def test_readers_of_a_busy_session_see_every_line_once(server: Server) -> None:
    """Eight of them come while it runs, one of which reads nothing until the end."""
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record())
    seen: list[list[int]] = []
    is_over = threading.Event()

    def read(*, is_late: bool) -> None:
        with asked(server, path(shipper)) as answer:
            if is_late:
                is_over.wait(30)
            events = [event for event in answer.events() if event.name == "entries"]
            seen.append([entry["number"] for event in events for entry in event.data])

    readers = list[threading.Thread]()
    for number in range(80):
        if number % 10 == 0:
            readers.append(threading.Thread(target=read, kwargs={"is_late": number == 20}))
            readers[-1].start()
        shipper.send(output(b"%d\n" % number * (1 if number % 3 else 3_000)))
        if number % 7 == 0:
            shipper.wait_acknowledged()
    shipper.wait_acknowledged()
    shipper.ship(exit_record())
    is_over.set()
    for reader in readers:
        reader.join(30)
    count = sum(1 if number % 3 else 3_000 for number in range(80)) + 1
    assert [len(each) for each in seen] == [count] * 8
    assert all(each == list(range(count)) for each in seen)
    shipper.socket.close()


def test_reader_is_told_that_a_session_was_cut(server: Server) -> None:
    """And reads on: it may come back."""
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record())
    with asked(server, path(shipper)) as answer:
        events = answer.events()
        assert next(events).data["state"] == "running"
        shipper.say_goodbye(ByeReason.CUT)
        assert next(events).data["state"] == "cut"
        again = Shipper(server, shipper.session_id)
        again.ship(output(b"back\n"))
        assert texts([next(events)]) == ["back"]
        again.socket.close()


def test_backend_that_ends_ends_its_readers(tmp_path: Path) -> None:
    """At once: a stop does not wait for readers who stay."""
    with running_server(tmp_path) as server:
        shipper = Shipper(server, os.urandom(16))
        shipper.ship(start_record())
        with asked(server, path(shipper)) as answer:
            events = answer.events()
            next(events)
            ended: list[Any] = []
            reader = threading.Thread(target=lambda: ended.extend(events))
            reader.start()
            assert server.stop() == 0
            reader.join(10)
            assert not reader.is_alive()
        shipper.socket.close()


def test_reader_who_leaves_is_forgotten(server: Server) -> None:
    """Its descriptor, too, while the session is quiet."""
    assert server.process is not None
    descriptors = Path(f"/proc/{server.process.pid}/fd")
    shipper = Shipper(server, os.urandom(16))
    shipper.ship(start_record())
    before = len(list(descriptors.iterdir()))
    for _ in range(20):
        with asked(server, path(shipper)) as answer:
            next(answer.events())
    until(lambda: len(list(descriptors.iterdir())) <= before, "all of them are gone")
    shipper.socket.close()
