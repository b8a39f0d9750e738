"""The packed file run directly: it unpacks where it may, reuses it, and else runs the command bare."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptyshipper.variables import PRIVATE_PREFIX
from tests.support.executing import Ended, become, execute
from tests.support.volumes import (
    LOADER,
    OTHER_UID,
    PROBE_STATUS,
    TREES,
    Report,
    Version,
    mounted,
    needs_root,
)

TOKEN = PRIVATE_PREFIX.encode() + b"_LOG_TOKEN=secret"
RAN = Ended(PROBE_STATUS, b"", "")


@pytest.fixture
def packed(old: Version, tmp_path: Path) -> Path:
    """The file, in a folder that its user may write in."""
    (tmp_path / "bin").mkdir()
    return Path(shutil.copy(old.packed, tmp_path / "bin" / "log-shipper"))


def private(place: Path, uid: int | None = None) -> Path:
    return place / f"{TREES}-{os.geteuid() if uid is None else uid}"


def report(place: Path, uid: int | None = None) -> Report:
    return Report(private(place, uid) / TREES / "1" / LOADER)


def test_it_unpacks_beside_itself_and_becomes_the_launcher(packed: Path) -> None:
    """With the words, the environment and all else as they were given."""
    environ = [TOKEN, b"A=1", b"A=2", b"B", b""]
    words: list[str | bytes] = ["log-shipper", "a b", "", b"\xff"]
    for _ in range(2):
        ended = execute(packed, words, environ, setup=lambda: os.umask(0o137), closed=(0,))
        assert ended == RAN
        seen = report(packed.parent)
        assert seen.arguments == [os.fsencode(word) for word in words[1:]]
        assert seen.handed_over == b"".join(entry + b"\0" for entry in environ)
        assert seen["umask"] == 0o137
        assert (seen["ignored"], seen["pending"]) == (0, 0)
        assert 0 not in seen.fds
        assert len(seen.fds) == 4
        assert seen.launch[4:] == [b"log-shipper", bytes(private(packed.parent))]
    assert stat.S_IMODE(private(packed.parent).stat().st_mode) == 0o700


def test_under_the_other_name_it_is_the_other_program(packed: Path) -> None:
    """All its subcommands but install are the wrapper's."""
    assert execute(packed, ["ptyshipper", "run", "--", "x"]) == RAN
    seen = report(packed.parent)
    assert seen.launch[4] == b"ptyshipper"
    assert seen.arguments == [b"run", b"--", b"x"]


def test_a_second_run_unpacks_nothing(packed: Path) -> None:
    assert execute(packed, ["log-shipper", "quiet"]) == RAN
    before = {path: path.lstat().st_ctime_ns for path in private(packed.parent).rglob("*")}
    assert execute(packed, ["log-shipper", "quiet"]) == RAN
    after = {path: path.lstat().st_ctime_ns for path in private(packed.parent).rglob("*")}
    assert after == before


def test_another_version_takes_its_place(packed: Path, new: Version) -> None:
    assert execute(packed, ["log-shipper", "quiet"]) == RAN
    packed.unlink()
    shutil.copy(new.packed, packed)
    assert execute(packed, ["log-shipper", "quiet"]) == RAN
    assert [path.name for path in (private(packed.parent) / TREES).iterdir()] == [new.id]


def test_from_the_image_it_runs_as_well(old: Version, tmp_path: Path) -> None:
    """Without a tree behind it it takes the one beside it."""
    image = tmp_path / "image"
    shutil.copytree(old.image, image)
    assert execute(image / "install-log-shipper", ["log-shipper", "quiet"]) == RAN
    assert (private(image) / TREES / "1" / "app").exists()


# ---- Which place ----


class Jail:
    """A root of its own in which nobody but root may write, for a user without rights.

    The file is /own/log-shipper; /reports/command is a probe.
    """

    PLACES = ("own", "temporary", "tmp", "var/tmp", "dev/shm", "run", "here")
    """Where it may unpack, in this order: TMPDIR is /temporary, the current directory is /here."""

    def __init__(self, root: Path, old: Version, probe: Path) -> None:
        self.root = root
        for place in self.PLACES:
            (root / place).mkdir(parents=True)
        shutil.copy(old.packed, root / "own" / "log-shipper")
        (root / "reports").mkdir()
        (root / "reports").chmod(0o777)
        shutil.copy(probe, root / "reports" / "command")

    def open(self, *places: str) -> None:
        """Let the user write there."""
        for place in places:
            (self.root / place).chmod(0o1777)

    def run(
        self,
        *words: str,
        called: str = "log-shipper",
        limit: Callable[[], object] = lambda: None,
        uid: int = OTHER_UID,
    ) -> Ended:
        def setup() -> None:
            os.chroot(self.root)
            os.chdir("/here")
            limit()
            become(uid)

        environ = [b"TMPDIR=/temporary", TOKEN]
        return execute("/own/log-shipper", [called, *words], environ, setup=setup)

    def used(self) -> list[str]:
        """The places in which it was unpacked."""
        return [
            place
            for place in self.PLACES
            if (private(self.root / place, OTHER_UID) / "log-shipper").exists()
        ]


@pytest.fixture
def jail(old: Version, probe: Path, tmp_path: Path) -> Iterator[Jail]:
    jail = Jail(tmp_path / "root", old, probe)
    with mounted(jail.root / "proc", "-t", "proc", "proc"):
        yield jail


@needs_root
@pytest.mark.parametrize("index", range(len(Jail.PLACES)))
def test_the_first_place_that_allows_it_is_taken(jail: Jail, index: int) -> None:
    place = jail.PLACES[index]
    jail.open(*jail.PLACES[index:])
    assert jail.run("x") == RAN
    assert jail.used() == [place]
    seen = report(jail.root / place, OTHER_UID)
    assert seen["uid"] == OTHER_UID
    assert seen["finds_app"]
    assert os.path.normpath(seen.launch[5]) == os.fsencode(f"/{place}/{TREES}-{OTHER_UID}")


@needs_root
def test_a_place_that_is_mounted_noexec_is_passed_over(jail: Jail) -> None:
    jail.open("run")
    with mounted(jail.root / "tmp", "-t", "tmpfs", "-o", "noexec,mode=1777", "tmpfs"):
        assert jail.run("quiet") == RAN
        assert jail.used() == ["run"]
        assert list((jail.root / "tmp").iterdir()) == []


@needs_root
def test_a_place_that_is_full_is_passed_over_and_left_clean(jail: Jail) -> None:
    jail.open("run")
    with mounted(jail.root / "tmp", "-t", "tmpfs", "-o", "size=1m,mode=1777", "tmpfs"):
        assert jail.run("quiet") == RAN
        assert jail.used() == ["run"]
        assert list((jail.root / "tmp").iterdir()) == []


@contextlib.contextmanager
def occupied(jail: Jail, by: str) -> Iterator[Path]:
    """/tmp, in which somebody was first: what our directory would be called is there."""
    jail.open("tmp", "run")
    taken = private(jail.root / "tmp", OTHER_UID)
    elsewhere = jail.root / "elsewhere"
    elsewhere.mkdir(mode=0o777)
    elsewhere.chmod(0o777)
    if by == "file":
        taken.touch()
        os.chown(taken, OTHER_UID, OTHER_UID)
    elif by == "link":
        taken.symlink_to("/elsewhere")
        os.chown(taken, OTHER_UID, OTHER_UID, follow_symlinks=False)
        os.chown(elsewhere, OTHER_UID, OTHER_UID)
        elsewhere.chmod(0o700)
    elif by == "other user":
        taken.mkdir(mode=0o700)
        os.chown(taken, 1_000, 1_000)
    elif by == "open to all":
        taken.mkdir()
        os.chown(taken, OTHER_UID, OTHER_UID)
        taken.chmod(0o777)
    elif by == "open to its group":
        taken.mkdir()
        os.chown(taken, OTHER_UID, 1_000)
        taken.chmod(0o750)
    yield elsewhere
    assert list(elsewhere.iterdir()) == []


@needs_root
@pytest.mark.parametrize("by", ["file", "link", "other user", "open to all", "open to its group"])
def test_what_others_may_write_is_never_run(jail: Jail, by: str) -> None:
    """/tmp is everybody's: a directory in it counts only if it is this user's alone."""
    with occupied(jail, by):
        assert jail.run("quiet") == RAN
        assert jail.used() == ["run"]


@needs_root
def test_root_does_not_run_what_another_user_may_write(jail: Jail) -> None:
    """Root could open it, where others are kept out by its mode."""
    taken = private(jail.root / "own", 0)
    taken.mkdir(mode=0o700)
    os.chown(taken, OTHER_UID, OTHER_UID)
    assert jail.run("quiet", uid=0) == RAN
    assert list(taken.iterdir()) == []
    assert (private(jail.root / "temporary", 0) / "log-shipper").exists()


# ---- No place ----


@needs_root
def test_without_a_place_the_command_runs_bare(jail: Jail) -> None:
    """And one line says what is wrong with each, and what to do."""
    (jail.root / "var/tmp").rmdir()
    with mounted(jail.root / "run", "-t", "tmpfs", "-o", "noexec,mode=1777", "tmpfs"):
        ended = jail.run("/reports/command", "quiet")
    denied = "Permission denied"
    assert ended == Ended(
        PROBE_STATUS,
        b"",
        f"ptyshipper: can't start: no place to unpack: /own: {denied}; /temporary: {denied}; "
        f"/tmp: {denied}; /var/tmp: No such file or directory; /dev/shm: {denied}; "
        f"/run: it is mounted noexec; .: {denied}; "
        "mount a writable volume, or use install-log-shipper DIR; the command runs without it\n",
    )
    assert jail.used() == []


@needs_root
def test_bare_it_gets_all_but_what_is_private(jail: Jail) -> None:
    assert jail.run("/reports/command", "x").status == PROBE_STATUS
    seen = Report(jail.root / "reports" / "command")
    assert seen.argv == [b"/reports/command", b"x"]
    assert seen.environ == [b"TMPDIR=/temporary"]
    assert sorted(seen.fds) == [0, 1, 2]


@needs_root
def test_a_limit_on_files_does_not_kill(jail: Jail) -> None:
    """Unpacking beyond it would raise SIGXFSZ; the command has the limit and the rest as they were."""
    jail.open("here")  # the last: what is left pending there is not cleared by another attempt

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGXFSZ})
        os.umask(0o137)

    ended = jail.run("/reports/command", limit=limit)
    assert ended.status == PROBE_STATUS
    assert ".: File too large; " in ended.err
    seen = Report(jail.root / "reports" / "command")
    assert (seen["file_size"], seen["umask"]) == (100_000, 0o137)
    blocked = 1 << (signal.SIGXFSZ - 1)
    assert (seen["ignored"], seen["blocked"], seen["pending"]) == (0, blocked, 0)
    assert jail.used() == []


@needs_root
def test_ptyshipper_without_a_place_fails(jail: Jail) -> None:
    ended = jail.run("run", "/reports/command", called="ptyshipper")
    assert ended.status == 1
    assert ended.err.startswith("ptyshipper: can't start: no place to unpack: /own: ")
    assert ended.err.count("\n") == 1


def test_damage_is_not_looked_for_in_seven_places(packed: Path, probe: Path) -> None:
    """An archive that is damaged is so everywhere."""
    data = bytearray(packed.read_bytes())
    data[-2_000] ^= 1
    packed.write_bytes(data)
    command = Path(shutil.copy(probe, packed.parent / "command"))
    ended = execute(packed, ["log-shipper", str(command)], [TOKEN, b"A=1"])
    assert ended.status == PROBE_STATUS
    assert ended.err.count("\n") == 1
    assert ended.err.startswith(f"ptyshipper: can't start: no place to unpack: {packed.parent}: ")
    assert "/tmp:" not in ended.err
    assert Report(command).environ == [b"A=1"]
