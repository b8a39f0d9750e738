"""How an orchestrator stops a container, as events and what is to be done; does nothing itself.

preStop, the stop signal, the grace period, SIGKILL: in the kubelet's order (kuberuntime_container.go,
killContainer). The grace period runs from the first of these, and however much of it preStop took, a
container gets ``least_s`` after its signal.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from ptyshipper.repro.container import PreStop

STOP_KEY = b"\x03"
KEY_WITHIN_S = 1.0


class Do(Enum):
    """What is to be done now."""

    RUN_PRE_STOP = "run the preStop command"
    SIGNAL = "send the stop signal"
    KILL = "send SIGKILL"


class Stop:
    """One container's way to its end. Times are seconds of one clock."""

    def __init__(self, pre_stop: PreStop | None, grace_s: float, least_s: float) -> None:
        self._pre_stop = pre_stop
        self._grace_s = grace_s
        self._least_s = least_s
        self._ends_s = 0.0
        self._is_killed = False
        self._is_asked = False
        self._waits_for_hook = False
        self.deadline_s: float | None = None
        """When ``tick`` has something to do; None: never."""

    @property
    def is_asked(self) -> bool:
        return self._is_asked

    def ask(self, now_s: float) -> list[Do]:
        """Somebody wants it to stop; who asks again is impatient."""
        if self._is_asked:
            return self._kill()
        self._is_asked = True
        self._ends_s = now_s + self._grace_s
        if self._pre_stop is None:
            return self._signal(now_s)
        self._waits_for_hook = True
        self.deadline_s = self._ends_s
        if self._pre_stop.command:
            return [Do.RUN_PRE_STOP]
        self.deadline_s = min(self._ends_s, now_s + self._pre_stop.sleep_s)
        return []

    def pre_stop_ended(self, now_s: float) -> list[Do]:
        return self._signal(now_s) if self._waits_for_hook else []

    def tick(self, now_s: float) -> list[Do]:
        """What the time that has come asks for."""
        if self.deadline_s is None or now_s < self.deadline_s:
            return []
        return self._signal(now_s) if self._waits_for_hook else self._kill()

    def _signal(self, now_s: float) -> list[Do]:
        self._waits_for_hook = False
        self.deadline_s = max(self._ends_s, now_s + self._least_s)
        return [Do.SIGNAL]

    def _kill(self) -> list[Do]:
        self._waits_for_hook = False
        self.deadline_s = None
        if self._is_killed:
            return []
        self._is_killed = True
        return [Do.KILL]


class StopKeys:
    """^C twice within a second, whether it came as a key or as a signal."""

    def __init__(self) -> None:
        self._last_s: deque[float] = deque(maxlen=1)

    def pressed(self, times: int, now_s: float) -> bool:
        """Whether the container is to be stopped."""
        for _ in range(min(times, 2)):
            if self._last_s and now_s - self._last_s[0] <= KEY_WITHIN_S:
                self._last_s.clear()
                return True
            self._last_s.append(now_s)
        return False
