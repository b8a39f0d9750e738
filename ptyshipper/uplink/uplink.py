"""The wrapper's threads for shipping. What the network needs is imported in them, not before.

The program runs already and must not notice: whatever goes wrong here ends in one warning.
"""

from __future__ import annotations

import _thread
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ptyshipper.config import SpoolSettings, UplinkSettings
from ptyshipper.errors import UsageError
from ptyshipper.spool.spool import Spool
from ptyshipper.uplink.endpoint import Endpoint, parse_endpoint
from ptyshipper.uplink.turn import Turn

if TYPE_CHECKING:
    from typing import Any

    from ptyshipper.uplink.backoff import AttemptLimit
    from ptyshipper.uplink.consignment import Consignment
    from ptyshipper.uplink.delivery import Delivery

_MAX_LEFTOVER_FAILURES = 5
"""After so many in a row a leftover makes way for the next: it may be the one that can't be taken."""

_GRACE_S = 0.2
"""A thread that can act at the deadline says goodbye itself; this is for one that can't."""


class Uplink:
    """Ships ``spool``, then what earlier sessions left in the same directory for the same backend.

    ``start`` and ``finish`` are the main thread's. ``done_fd`` becomes readable when there is nothing
    more to wait for: everything was delivered, or given up, or the deadline has passed. Then
    ``delivered`` says whether all of this session was acknowledged.
    """

    def __init__(
        self,
        settings: UplinkSettings,
        spool: Spool,
        spool_settings: SpoolSettings,
        warn: Callable[[str], None],
    ) -> None:
        self.done_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._settings = settings
        self._spool = spool
        self._spool_settings = spool_settings
        self._warn = warn
        self._lock = _thread.allocate_lock()
        self._open_jobs = 1  # threads that deliver, under the lock
        self._deliveries: list[Delivery[Any, Any]] = []  # those that run, under the lock
        self._deadline_s: float | None = None  # under the lock
        self._own: Delivery[Any, Any] | None = None
        self._posts = settings.transport == "http"  # what the backend takes, as far as is known
        self._post_turn = Turn()
        self._has_started_leftovers = False
        self._is_over = _thread.allocate_lock()
        self._is_over.acquire()
        self._endpoint: Endpoint | None = None
        try:
            self._endpoint = parse_endpoint(settings.endpoint)
        except UsageError as error:
            warn(f"{error}; nothing is shipped")
        else:
            spool.address(self._endpoint.identity)

    @property
    def delivered(self) -> bool:
        """Every record of this session was acknowledged; final once ``done_fd`` is readable."""
        return self._own is not None and self._own.delivered

    @property
    def is_idle(self) -> bool:
        """No thread delivers any more; with ``done_fd`` alone one may still be at it."""
        return self._open_jobs == 0

    def start(self) -> None:
        """Begin to ship, in a thread; returns at once."""
        try:
            _thread.start_new_thread(self._guard, (self._ship_own,))
        except RuntimeError:
            self._warn(
                "no thread can be started, so nothing is shipped; the program is not affected"
            )
            self._end_own()

    def finish(self) -> None:
        """The exit record was flushed: deliver what is left, for ``flush_timeout_s`` and no longer."""
        with self._lock:
            self._deadline_s = time.monotonic() + self._settings.flush_timeout_s
            for delivery in self._deliveries:
                delivery.finish(self._deadline_s)
        try:
            # Of its own, since a thread that resolves a name can't be told that time is up.
            _thread.start_new_thread(self._keep_time, ())
        except RuntimeError:
            self._set_done()

    def _guard(self, job: Callable[..., None], *args: object) -> None:
        """The last resort of a thread."""
        try:
            job(*args)
        except BaseException as error:
            where = error.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            line = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else "?"
            # Not the error's own text, which may quote anything.
            self._warn(
                f"shipping stopped: unexpected {type(error).__name__} at {line}; "
                "the program is not affected"
            )
        finally:
            if job == self._ship_own:
                self._end_own()
            else:
                self._end_job()

    def _ship_own(self) -> None:
        from ptyshipper.spool import leftovers
        from ptyshipper.uplink.backoff import AttemptLimit
        from ptyshipper.uplink.consignment import Consignment, Plan
        from ptyshipper.wire.messages import ByeReason

        endpoint = self._endpoint
        if endpoint is None:
            return
        spool = self._spool
        for directory in self._spool_settings.directories:
            left_bytes = self._spool_settings.max_bytes - spool.dead_bytes
            spool.dead_bytes += leftovers.prune(directory, left_bytes, time.time())
        limit = AttemptLimit()
        may_post = isinstance(spool.description.get("deployment_id"), int)
        if self._posts and not may_post:
            self._warn(
                f"can't ship to {endpoint.name}: posts need a deployment id; nothing is shipped"
            )
            return
        plan = Plan(
            True,
            ByeReason.ENDED,
            spool.window_bytes,
            spool.spare_bytes,
            None,
            endpoint.name,
            may_post=may_post and self._settings.transport == "auto",
            hindrance="" if may_post else ", and posts need a deployment id",
        )
        consignment = Consignment(
            spool.session_id, spool.description, spool.ledger, spool.data_fd, plan, spool.notes
        )
        self._deliver(
            consignment, endpoint, limit, lambda: self._start_leftovers(endpoint, limit), True
        )

    def _deliver(
        self,
        consignment: Consignment,
        endpoint: Endpoint,
        limit: AttemptLimit,
        on_first: Callable[[], None],
        is_own: bool,
    ) -> bool:
        """Ship one session, the way that the backend takes it; whether all of it was delivered.

        Raises:
            ValueError: it can't be sent that way.
        """
        from ptyshipper.uplink.courier import Courier
        from ptyshipper.uplink.stream import Dialer

        dialer = Dialer(endpoint, self._settings)
        posts = self._posts
        while True:
            delivery: Delivery[Any, Any]
            if posts:
                from ptyshipper.uplink.posting.poster import Poster

                delivery = Poster(
                    consignment,
                    dialer,
                    self._settings,
                    limit,
                    self._post_turn,
                    self._warn,
                    on_first,
                )
            else:
                delivery = Courier(consignment, dialer, self._settings, limit, self._warn, on_first)
            if is_own:
                self._own, self._posts = delivery, posts
            self._run(delivery)
            if not delivery.gives_way:
                return delivery.delivered
            posts = not posts

    def _start_leftovers(self, endpoint: Endpoint, limit: AttemptLimit) -> None:
        """The backend takes what we send: now the sessions before this one."""
        if not self._spool_settings.directories or self._has_started_leftovers:
            return
        self._has_started_leftovers = True
        with self._lock:
            self._open_jobs += 1
        try:
            _thread.start_new_thread(self._guard, (self._ship_leftovers, endpoint, limit))
        except RuntimeError:
            self._end_job()  # they wait for the next start

    def _ship_leftovers(self, endpoint: Endpoint, limit: AttemptLimit) -> None:
        from itertools import chain

        from ptyshipper.spool.leftovers import claim_all
        from ptyshipper.spool.spool import MAX_SUBSTITUTE_BYTES
        from ptyshipper.uplink.consignment import Consignment, Plan
        from ptyshipper.wire.messages import ByeReason

        for leftover in chain.from_iterable(
            claim_all(directory, endpoint.identity)
            for directory in self._spool_settings.directories
        ):
            bye = ByeReason.ENDED if leftover.has_exited else ByeReason.CUT
            plan = Plan(
                False,
                bye,
                MAX_SUBSTITUTE_BYTES // 4,
                0,
                _MAX_LEFTOVER_FAILURES,
                None,
                may_post=self._settings.transport == "auto",
            )
            consignment = Consignment(
                leftover.session_id,
                leftover.description,
                leftover.ledger,
                -1,
                plan,
                leftover.notes,
                leftover.take_up,
            )
            delivered = False
            try:
                delivered = self._deliver(consignment, endpoint, limit, _nothing, False)
            except ValueError:
                pass  # its description is too long or names no deployment: it is pruned with time
            finally:
                if delivered:
                    leftover.delete()
                    left_bytes = self._spool.dead_bytes - leftover.size_bytes
                    self._spool.dead_bytes = max(0, left_bytes)
                else:
                    leftover.close()
            with self._lock:
                if self._deadline_s is not None and not delivered:
                    return

    def _run(self, delivery: Delivery[Any, Any]) -> None:
        with self._lock:
            self._deliveries.append(delivery)
            if self._deadline_s is not None:
                delivery.finish(self._deadline_s)
        try:
            delivery.run()
        finally:
            with self._lock:
                self._deliveries.remove(delivery)

    def _end_own(self) -> None:
        if not self.delivered:
            self._spool.abandon()
        self._end_job()

    def _end_job(self) -> None:
        with self._lock:
            self._open_jobs -= 1
            is_last = self._open_jobs == 0
        if is_last:
            self._set_done()

    def _keep_time(self) -> None:
        self._is_over.acquire(True, self._settings.flush_timeout_s + _GRACE_S)
        os.eventfd_write(self.done_fd, 1)

    def _set_done(self) -> None:
        os.eventfd_write(self.done_fd, 1)
        if self._is_over.locked():
            self._is_over.release()


def _nothing() -> None:
    pass
