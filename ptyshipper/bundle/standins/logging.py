"""In place of ``logging``: the wrapper has no log, and websockets may believe that it has."""

from __future__ import annotations

DEBUG = 10


class Logger:
    """Takes nothing and says so."""

    def isEnabledFor(self, level: int) -> bool:
        return False

    def debug(self, message: str, *args: object, **kwargs: object) -> None:
        pass

    info = warning = error = debug


class LoggerAdapter(Logger):
    """Named in a type, with a parameter."""

    def __class_getitem__(cls, parameter: object) -> type[LoggerAdapter]:
        return cls


_LOGGER = Logger()


def getLogger(name: str = "") -> Logger:
    return _LOGGER
