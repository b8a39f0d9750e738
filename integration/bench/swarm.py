"""Many shippers in one process, as the wire sees them: ``python -m integration.bench.swarm JSON``.

They speak the protocol and pace themselves as the uplink does: what there is goes out at once, and
gathers while something is unacknowledged. The frames are made by hand, with a mask of zeros: a real
client's would have taken all of the core that this process has.

The one argument is a JSON object, the fields of ``Task``; the answer, a line of JSON, has those of
``Outcome``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from dataclasses import asdict, dataclass
from functools import partial
from time import monotonic, time_ns
from typing import cast

import uvloop

from ptyshipper.records import Kind, encode, exited, started
from ptyshipper.wire import messages
from tests.support.server import describe

_CONNECT_AT_A_TIME = 200
_ACK, _WELCOME = 0x82, 0x81
LINE_BYTES = 100
_BATCH_BYTES = 65_000
_HEARTBEAT_EVERY_S = 20.0
_OPENED_WITHIN_S, _DONE_WITHIN_S = 30.0, 120.0


@dataclass
class Task:
    """What to do. ``line_rate`` lines a second from each for ``seconds``; 0: ``lines`` from each, as fast
    as they are taken. ``lines`` 0 and ``line_rate`` 0: connect and hold still. ``is_spread``: each has a
    deployment of its own, from that one on."""

    host: str
    port: int
    token: str
    connections: int
    deployment_id: int = 7
    is_spread: bool = False
    line_rate: float = 0.0
    seconds: float = 0.0
    lines: int = 0


@dataclass
class Outcome:
    """``p50_ms`` and ``p99_ms``: a line's time from send to acknowledgement; of a flood, a batch's.
    ``started_ms`` and ``exited_ms``: until the last of all starts or exits, sent at one instant, was
    acknowledged. ``sent_lines`` were all acknowledged."""

    sent_lines: int
    acknowledged_bytes: int
    seconds: float
    p50_ms: float
    p99_ms: float
    started_ms: float
    exited_ms: float
    session_ids: list[str]


class Shipper(asyncio.Protocol):
    """One connection: upgrade, HELLO, batches, ACKs."""

    def __init__(self, task: Task, number: int, latencies_s: list[float]) -> None:
        self._task = task
        self._deployment_id = task.deployment_id + number * task.is_spread
        self._latencies_s = latencies_s
        self.session_id = os.urandom(16)
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._received = bytearray()
        self._is_upgraded = False
        self._waiting = list[bytes]()
        self._waiting_bytes = 0
        self._offset = self._acknowledged = 0
        self._window_bytes = 0
        self._sent: deque[tuple[int, float]] = deque()
        self._source: deque[bytes] = deque()
        self.is_last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(
            f"GET /api/logs/ingest HTTP/1.1\r\nHost: {self._task.host}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            f"Sec-WebSocket-Version: 13\r\nAuthorization: Bearer {self._task.token}\r\n"
            f"Sec-WebSocket-Protocol: {messages.SHIPPER_SUBPROTOCOL}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._is_upgraded:
            head, end, rest = bytes(self._received).partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._fail(head.split(b"\r\n")[0].decode("latin-1"))
                return
            self._is_upgraded = True
            self._received = bytearray(rest)
            about = describe(deployment_id=self._deployment_id, started_at_us=time_ns() // 1000)
            self._frame(messages.hello(self.session_id, about))
        at = 0
        while len(self._received) - at >= 2 and self._received[at + 1] < 126:
            end_ = at + 2 + self._received[at + 1]
            if len(self._received) < end_:
                break
            self._message(self._received[at], bytes(self._received[at + 2 : end_]))
            at = end_
        del self._received[:at]

    def _message(self, opcode: int, payload: bytes) -> None:
        if opcode != 0x82:
            code = int.from_bytes(payload[:2], "big")
            self._fail(f"closed with {code} {payload[2:].decode('utf-8', 'replace')}")
        elif payload[0] == _WELCOME:
            self._offset = self._acknowledged = int.from_bytes(payload[1:9], "big")
            self._window_bytes = int.from_bytes(payload[9:13], "big")
            self.opened.set_result(None)
        elif payload[0] == _ACK:
            self._acknowledged = int.from_bytes(payload[1:9], "big")
            now_s = monotonic()
            while self._sent and self._sent[0][0] <= self._acknowledged:
                self._latencies_s.append(now_s - self._sent.popleft()[1])
            self._flush()

    def say(self, record: bytes) -> None:
        """Send a record, now or when there is room."""
        self._waiting.append(record)
        self._waiting_bytes += len(record)
        self._flush()

    def pour(self, batches: list[bytes]) -> None:
        """Send these batches as fast as they are taken."""
        self._source.extend(batches)
        self._flush()

    def _flush(self) -> None:
        while self._source and self._unacknowledged + len(self._source[0]) <= self._window_bytes:
            self._batch(self._source.popleft())
        if self._waiting and not self._unacknowledged:
            self._batch(b"".join(self._waiting))
            self._waiting.clear()
        if self.is_last and self.is_settled and not self.finished.done():
            self.finished.set_result(None)

    @property
    def is_settled(self) -> bool:
        """Whether everything was sent and acknowledged."""
        return not (self._unacknowledged or self._source or self._waiting)

    @property
    def _unacknowledged(self) -> int:
        return self._offset - self._acknowledged

    def _batch(self, records: bytes) -> None:
        self._frame(messages.batch(self._offset, records))
        self._offset += len(records)
        self._sent.append((self._offset, monotonic()))

    def beat(self) -> None:
        """A heartbeat."""
        if not self._unacknowledged:
            self._frame(messages.batch(self._offset, b""))

    def finish(self) -> None:
        """The program has ended; ``finished`` is done when everything is acknowledged."""
        self.is_last = True
        self.say(encode(Kind.EXITED, 10**9, exited(0, 0, False)))

    def _frame(self, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            head = bytes((0x82, 0x80 | size))
        elif size < 65_536:
            head = b"\x82\xfe" + size.to_bytes(2, "big")
        else:
            head = b"\x82\xff" + size.to_bytes(8, "big")
        self._transport.write(b"".join((head, b"\0\0\0\0", payload)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection was lost")

    def _fail(self, reason: str) -> None:
        for future in (self.opened, self.finished):
            if not future.done():
                future.set_exception(ConnectionError(reason))

    @property
    def acknowledged(self) -> int:
        return self._acknowledged

    def close(self) -> None:
        self._transport.abort()


async def run(task: Task) -> Outcome:
    """Do it.

    Raises:
        ConnectionError: a shipper was refused or lost.
    """
    latencies_s = list[float]()
    loop = asyncio.get_running_loop()
    shippers = list[Shipper]()
    for at in range(0, task.connections, _CONNECT_AT_A_TIME):
        count = min(_CONNECT_AT_A_TIME, task.connections - at)
        made = await asyncio.gather(
            *(
                loop.create_connection(
                    partial(Shipper, task, number, latencies_s), task.host, task.port
                )
                for number in range(at, at + count)
            )
        )
        shippers += [protocol for _, protocol in made]
        async with asyncio.timeout(_OPENED_WITHIN_S):
            await asyncio.gather(*(shipper.opened for shipper in shippers[at:]))
    began_s, sent = monotonic(), 0
    for shipper in shippers:
        shipper.say(encode(Kind.STARTED, 0, started(time_ns() // 1000, 80, 24, 0)))
    started_ms = 0.0
    if task.line_rate:
        started_ms = await _settled(shippers) * 1000
        latencies_s.clear()
        sent = await _steadily(task, shippers, monotonic())
        await _settled(shippers)
    elif task.lines:
        batches = _batches(task.lines)
        for shipper in shippers:
            shipper.pour(batches)
        sent = task.lines * len(shippers)
    else:
        await _hold(task, shippers)
    ordered_s, exits_s = sorted(latencies_s), monotonic()
    for shipper in shippers:
        shipper.finish()
    async with asyncio.timeout(_DONE_WITHIN_S):
        await asyncio.gather(*(shipper.finished for shipper in shippers))
    seconds = monotonic() - began_s
    exited_ms = (monotonic() - exits_s) * 1000
    if task.lines:  # a flood's batches were under way until the end
        ordered_s = sorted(latencies_s)
    outcome = Outcome(
        sent,
        sum(shipper.acknowledged for shipper in shippers),
        seconds,
        _percentile_ms(ordered_s, 0.5),
        _percentile_ms(ordered_s, 0.99),
        started_ms,
        exited_ms,
        [shipper.session_id.hex() for shipper in shippers],
    )
    for shipper in shippers:
        shipper.close()
    return outcome


async def _settled(shippers: list[Shipper]) -> float:
    """Wait until everything is acknowledged; how long that took, in seconds."""
    began_s = monotonic()
    async with asyncio.timeout(_DONE_WITHIN_S):
        while not all(shipper.is_settled for shipper in shippers):
            await asyncio.sleep(0.001)
    return monotonic() - began_s


async def _steadily(task: Task, shippers: list[Shipper], began_s: float) -> int:
    """Each says a line every so often, all of them spread over the time between."""
    line = b"x" * (LINE_BYTES - 1) + b"\n"
    every_s, sent = 1 / (task.line_rate * len(shippers)), 0
    while True:
        now_s = monotonic()
        if now_s - began_s >= task.seconds:
            return sent
        due = min(int((now_s - began_s) / every_s), int(task.seconds / every_s))
        while sent < due:
            time_us = int((monotonic() - began_s) * 1e6)
            shippers[sent % len(shippers)].say(encode(Kind.STDOUT, time_us, line))
            sent += 1
        await asyncio.sleep(0.0005)


def _batches(lines: int) -> list[bytes]:
    """``lines`` lines as a flood's records: as many as fit a record, a record a batch."""
    a_batch = _BATCH_BYTES // LINE_BYTES
    line = b"x" * (LINE_BYTES - 1) + b"\n"
    full = encode(Kind.STDOUT, 1_000, line * a_batch)
    rest = lines % a_batch
    return [full] * (lines // a_batch) + ([encode(Kind.STDOUT, 2_000, line * rest)] if rest else [])


async def _hold(task: Task, shippers: list[Shipper]) -> None:
    print("holding", flush=True)
    until_s = monotonic() + task.seconds
    while (left_s := until_s - monotonic()) > 0:
        await asyncio.sleep(min(left_s, _HEARTBEAT_EVERY_S))
        for shipper in shippers:
            shipper.beat()


def _percentile_ms(ordered_s: list[float], share: float) -> float:
    if not ordered_s:
        return 0.0
    return ordered_s[min(len(ordered_s) - 1, int(share * len(ordered_s)))] * 1000


def main() -> None:
    task = Task(**json.loads(sys.argv[1]))
    # Shippers are on other machines: with a core of their own they take none of the backend's, and do
    # not wait behind it.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(run(task)))))


if __name__ == "__main__":
    main()
