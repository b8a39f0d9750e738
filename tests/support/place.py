"""Where the wrapper runs from and where its program runs: two places, with the same tests for both."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.bundle import lay_out
from tests.support.server import Server
from tests.support.static import built
from tests.support.wrapping import LOG_SHIPPER, shipping_environ


class Place:
    """This checkout on this machine; or (see ``EmptyRoot``) another.

    Args:
        directory: a fresh one. The program's working directory is in it.
    """

    name = "source"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cwd = directory / "cwd"
        """The working directory, by the path that this machine has for it."""
        self.cwd.mkdir()
        self.probe = str(built("probe"))
        self._wrapper = LOG_SHIPPER

    def bare(self, *argv: str) -> list[str]:
        """The command line that runs a program there."""
        return list(argv)

    def wrapped(self, *argv: str) -> list[str]:
        """The command line that runs a program there, wrapped."""
        return self.bare(*self._wrapper, *argv)

    def environ(self, server: Server, **settings: str) -> dict[str, str]:
        """The environment of a program whose logs go to ``server``."""
        return shipping_environ(server, self.directory / "spool", **settings)


class EmptyRoot(Place):
    """The bundle, in a root with nothing else but the program that tests run.

    Args:
        installed: where the bundle was installed; it is left as it is.
        enter: options of ``enter.c`` beside the root.
    """

    name = "bundle"

    def __init__(self, directory: Path, installed: Path, enter: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self.cwd = directory / "root"
        lay_out(installed, self.cwd / "volume")
        self.probe = "/probe"
        shutil.copy(built("probe"), self.cwd / "probe")
        self._wrapper = ["/volume/log-shipper"]
        self._enter = [str(built("enter")), *enter, "-r", str(self.cwd)]

    def bare(self, *argv: str) -> list[str]:
        return [*self._enter, *argv]

    def environ(self, server: Server, **settings: str) -> dict[str, str]:
        """As it comes: the spool finds its place by itself."""
        return shipping_environ(server, None, **settings)
