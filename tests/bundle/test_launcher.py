"""The launcher, from outside: what the wrapper gets, what the program keeps, and what runs without it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import shutil
import signal
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ptyshipper.bundle.compile import compile_program
from ptyshipper.child.spawn import failure_to_start
from ptyshipper.variables import PRIVATE_PREFIX
from tests.bundle.conftest import SOURCES, compiled
from tests.support.executing import Ended, Executing, become, execute
from tests.support.patience import until
from tests.support.volumes import (
    LOADER,
    OTHER_UID,
    PROBE_STATUS,
    TREES,
    Report,
    Version,
    Volume,
    mounted,
    needs_root,
)

TOKEN = PRIVATE_PREFIX.encode() + b"_LOG_TOKEN=secret"
RAN = Ended(PROBE_STATUS, b"", "")
ENTRY_LIMIT = 131_071
"""Bytes in one entry: the kernel's MAX_ARG_STRLEN, less the NUL."""

ENVIRONMENTS = {
    "none": [],
    "usual": [b"PATH=/bin:/usr/bin", b"HOME=/root", TOKEN],
    "hostile": [
        b"LD_PRELOAD=/nonexistent.so",
        b"LD_LIBRARY_PATH=/nonexistent",
        b"GLIBC_TUNABLES=glibc.malloc.check=3",
        b"PYTHONHOME=/nonexistent",
        b"_PYI_ARCHIVE_FILE=/etc/passwd",
        b"PTYSHIPPER_LAUNCH=0 0 0 x /",
        b"TZ=Mars/Olympus",
    ],
    "twice": [b"A=1", b"B=2", b"A=3", b"A=1"],
    "no equals": [b"A", b"PATH", b"B=2"],
    "no name": [b"=1", b"=", b"", b"A=1", b""],
    "no text": [b"A=\xff\xfe", b"\x80=1", b"N=a\nb"],
    "1.5 MB": [b"%02d=" % i + b"x" * (ENTRY_LIMIT - 3) for i in range(12)],
}
environments = pytest.mark.parametrize("environ", ENVIRONMENTS.values(), ids=ENVIRONMENTS)


def as_handed_over(environ: list[bytes]) -> bytes:
    """As /proc/<pid>/environ has it."""
    return b"".join(entry + b"\0" for entry in environ)


def is_locked(tree: Path) -> bool:
    """Whether an installer has to leave the tree alone."""
    fd = os.open(tree, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


# ---- What the wrapper gets ----


@environments
def test_the_environment_is_handed_over_byte_for_byte(volume: Volume, environ: list[bytes]) -> None:
    """Through the descriptor; in the wrapper's own environment and arguments is nothing of it."""
    assert execute(volume.launcher, ["log-shipper", "program"], environ) == RAN
    report = volume.report
    assert report.handed_over == as_handed_over(environ)
    tree = bytes(volume.tree)
    env_fd, tree_fd = report.launch[:2]
    assert report.environ == [
        b"LC_ALL=C",
        b"TZ=UTC0",
        b"GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0",
        b"OPENSSL_CONF=" + tree + b"/openssl.cnf",
        b"PTYSHIPPER_LAUNCH=" + env_fd + b" " + tree_fd + b" 0 0 log-shipper " + bytes(volume.path),
    ]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["program"],
        ["program", "--", "-x", "", "a b", b"\xff\n", "--argv0", "--library-path"],
        ["x" * 131_071, *["y"] * 20_000],
    ],
    ids=["none", "one", "odd", "many"],
)
def test_the_command_is_handed_over_as_it_is(volume: Volume, words: list[str | bytes]) -> None:
    assert execute(volume.launcher, ["log-shipper", *words]) == RAN
    tree = bytes(volume.tree)
    loader, app = tree + b"/" + LOADER.encode(), tree + b"/app"
    report = volume.report
    options = [loader, b"--inhibit-cache", b"--library-path", tree, b"--argv0", app, app]
    assert report.argv[:7] == options
    assert report.arguments == [os.fsencode(word) for word in words]


@pytest.mark.parametrize(
    ("called", "name"),
    [
        (["log-shipper"], b"log-shipper"),
        (["/bin/ptyshipper"], b"ptyshipper"),
        (["ptyshipper"], b"ptyshipper"),
        (["ptyshipper2"], b"log-shipper"),
        (["ptyshipper/"], b"log-shipper"),
        ([""], b"log-shipper"),
        ([], b"log-shipper"),
    ],
)
def test_the_name_is_what_it_was_called(volume: Volume, called: list[str], name: bytes) -> None:
    assert execute(volume.launcher, called) == RAN
    report = volume.report
    assert report.launch[4] == name


def test_signals_are_told_as_they_were_and_all_wait(volume: Volume) -> None:
    """Python ignores some before its first line runs, so nobody could know later. And until it takes
    signals they have to be blocked: as PID 1 it would lose them."""
    ignored = {signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGRTMIN, signal.SIGRTMAX}
    blocked = {signal.SIGUSR1, signal.SIGTERM, signal.SIGXFSZ}

    def setup() -> None:
        for signo in ignored:
            signal.signal(signo, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    assert execute(volume.launcher, ["log-shipper"], setup=setup) == RAN
    report = volume.report
    mask = sum(1 << (signo - 1) for signo in ignored)
    assert int(report.launch[2], 16) == mask == report["ignored"]
    assert int(report.launch[3], 16) == sum(1 << (signo - 1) for signo in blocked)
    never = {signal.SIGKILL, signal.SIGSTOP}
    assert report["blocked"] == sum(1 << (n - 1) for n in range(1, 65) if n not in never)
    assert report["pending"] == 0


def test_umask_limits_and_directory_stay(volume: Volume, tmp_path: Path) -> None:
    def setup() -> None:
        os.umask(0o135)
        os.chdir(tmp_path)
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))

    assert execute(volume.launcher, ["log-shipper"], setup=setup) == RAN
    report = volume.report
    assert (report["umask"], report["nofile"], report.cwd) == (0o135, 200, bytes(tmp_path))


# ---- Descriptors ----


@pytest.mark.parametrize("closed", [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_descriptors_are_inherited_and_closed_ones_stay_closed(
    volume: Volume, closed: tuple[int, ...], tmp_path: Path
) -> None:
    """What is handed over keeps clear of those that a program gives a meaning to."""
    file = tmp_path / "inherited"
    file.touch()
    inherited = [3, 4, 9, 100]

    def setup() -> None:
        os.closerange(3, 200)
        for fd in inherited:
            opened = os.open(file, os.O_RDONLY)
            if opened == fd:
                os.set_inheritable(fd, True)
            else:
                os.dup2(opened, fd)
                os.close(opened)

    assert execute(volume.launcher, ["log-shipper"], [b"A=1"], setup=setup, closed=closed) == RAN
    report = volume.report
    env_fd, tree_fd = (int(field) for field in report.launch[:2])
    assert min(env_fd, tree_fd) > 100
    assert sorted(report.fds) == sorted([*({0, 1, 2} - set(closed)), *inherited, env_fd, tree_fd])
    assert {report.fds[fd] for fd in inherited} == {bytes(file)}
    assert report.fds[tree_fd] == bytes(volume.tree)
    assert report.handed_over == b"A=1\0"


@pytest.mark.parametrize("limit", [200, 101, 100, 50, 8, 5])
def test_a_low_limit_on_descriptors_is_enough(volume: Volume, limit: int) -> None:
    """Then it is the highest two that there are."""

    def setup() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 1_000))

    assert execute(volume.launcher, ["log-shipper"], [b"A=1"], setup=setup) == RAN
    report = volume.report
    highest = {100, 101} if limit > 101 else {limit - 1, limit - 2}
    assert {int(field) for field in report.launch[:2]} == highest
    assert report.handed_over == b"A=1\0"
    assert report["nofile"] == limit


def test_without_a_free_descriptor_the_command_runs_bare(volume: Volume, command: Path) -> None:
    def setup() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 1_000))

    ended = execute(volume.launcher, ["log-shipper", str(command)], setup=setup)
    assert ended.status == PROBE_STATUS
    assert ended.err.startswith("ptyshipper: can't start: opening its directory: ")
    assert Report(command)["nofile"] == 3


def test_what_was_closed_is_not_used_where_nothing_else_is_free(
    volume: Volume, command: Path
) -> None:
    """A tree on the program's stdin would be worse than no wrapper."""

    def setup() -> None:
        os.dup2(2, 3)
        resource.setrlimit(resource.RLIMIT_NOFILE, (4, 1_000))

    ended = execute(volume.launcher, ["log-shipper", str(command)], setup=setup, closed=(0, 1))
    assert ended.status == PROBE_STATUS
    assert sorted(Report(command).fds) == [2, 3]


def test_a_running_wrapper_holds_its_tree(volume: Volume) -> None:
    """For as long as it lives, so that an installer leaves the tree alone."""
    assert not is_locked(volume.tree)
    with Executing(volume.launcher, ["log-shipper", "hold"]) as wrapper:
        until((volume.tree / f"{LOADER}.report").exists, "the wrapper runs")
        assert is_locked(volume.tree)
        wrapper.kill()
    assert not is_locked(volume.tree)


# ---- A memfd that is refused ----


@pytest.fixture(scope="session")
def refuse(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A program that runs another where memfd_create is refused."""
    target = tmp_path_factory.mktemp("refuse") / "refuse"
    return compiled(SOURCES / "refuse.c", target, pytestconfig)


@pytest.mark.parametrize("size_bytes", [0, 1, 4_096, 65_536, 120_000])
def test_without_memfd_a_pipe_takes_the_environment(
    volume: Volume, refuse: Path, size_bytes: int
) -> None:
    environ = [b"A=".ljust(size_bytes, b"x")] if size_bytes else []
    launcher = str(volume.launcher)
    assert execute(refuse, ["refuse", launcher, "program"], environ) == RAN
    report = volume.report
    assert report.handed_over == as_handed_over(environ)
    assert report.fds[int(report.launch[0])].startswith(b"pipe:")


@needs_root
def test_what_no_pipe_takes_is_run_bare(volume: Volume, refuse: Path, command: Path) -> None:
    """A user's pipe is limited (pipe(7)), and nobody reads it yet."""
    with open("/proc/sys/fs/pipe-max-size") as file:
        limit_bytes = int(file.read())
    environ = [b"%02d=" % i + b"x" * (ENTRY_LIMIT - 3) for i in range(12)]
    assert limit_bytes < len(as_handed_over(environ))
    words = ["refuse", str(volume.launcher), str(command)]
    everybodys = shutil.copy(refuse, command.parent)
    ended = execute(everybodys, words, environ, setup=lambda: become(OTHER_UID))
    assert ended.status == PROBE_STATUS
    assert ended.err == (
        "ptyshipper: can't start: handing the environment over: Resource temporarily unavailable; "
        "the command runs without it\n"
    )
    report = Report(command)
    assert report.environ == environ
    assert sorted(report.fds) == [0, 1, 2]


def test_a_limit_on_files_does_not_kill(volume: Volume) -> None:
    """A memfd is a file: writing to it beyond RLIMIT_FSIZE raises SIGXFSZ."""

    def setup() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    assert execute(volume.launcher, ["log-shipper"], [b"A=1"], setup=setup) == RAN
    report = volume.report
    assert report.handed_over == b"A=1\0"
    assert report["file_size"] == 0


# ---- Where it lies ----

HOSTILE_NAMES = {
    "space": b"with space",
    "colon": b"a:b",
    "semicolon": b"a;b",
    "origin": b"$ORIGIN",
    "lib": b"x${LIB}y",
    "newline": b"a\nb",
    "no text": b"\xff\xfe",
    "deleted": b"gone (deleted)",
    "options": b"--help",
    "backslash": b"a\\b",
}


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
@pytest.mark.parametrize("called", ["absolute", "relative", "link"])
def test_any_directory_will_do(volume: Volume, name: bytes, called: str) -> None:
    """Where the loader would misread the path, it gets one by the tree's descriptor."""
    path = os.path.join(os.path.dirname(bytes(volume.path)), name)
    os.rename(volume.path, path)
    launcher = path + b"/log-shipper"
    if called == "relative":
        launcher = os.path.relpath(launcher)
    elif called == "link":
        os.symlink(launcher, path + b"-link")
        launcher = path + b"-link"
    assert execute(os.fsdecode(launcher), ["log-shipper", "x"]) == RAN
    report = Report(Path(os.fsdecode(path)) / TREES / "1" / LOADER)
    assert report["finds_app"]
    assert report.launch[5] == path
    library_path = report.argv[3]
    if any(character in name for character in b":;$"):
        assert library_path == b"/proc/self/fd/" + report.launch[1]
    else:
        assert library_path == path + b"/" + TREES.encode() + b"/1"


def test_a_directory_with_a_long_path_will_do(volume: Volume) -> None:
    """Up to what execve(2) takes; the tree's own files then lie beyond PATH_MAX."""
    deep = volume.path.parent
    while len(bytes(deep)) < 4_060 - 250:
        deep /= "d" * 200
    deep /= "d" * (4_060 - len(bytes(deep)) - 1)
    deep.parent.mkdir(parents=True)
    volume.path.rename(deep)
    assert execute(deep / "log-shipper", ["log-shipper"]) == RAN
    report_fd = os.open(deep / TREES, os.O_PATH)
    try:
        report = Report(Path(f"/proc/self/fd/{report_fd}/1") / LOADER)
    finally:
        os.close(report_fd)
    assert report["finds_app"]
    assert report.launch[5] == bytes(deep)


@pytest.fixture(scope="session")
def dynamic_volume(
    tmp_path_factory: pytest.TempPathFactory, versions: tuple[Version, Version]
) -> Path:
    """A volume whose loader is the system's real one, and whose app is a probe that it loads, with a
    library that is nowhere else."""
    old, _ = versions
    volume = tmp_path_factory.mktemp("dynamic") / "volume"
    tree = volume / TREES / old.id
    tree.mkdir(parents=True)
    source, library = volume.parent / "here.c", tree / "libhere.so"
    source.write_text("int here = 1;\n")
    named = ["-shared", "-Wl,-soname,libhere.so"]
    compile_program([source], library, defines={}, cc=["gcc"], flags=named)
    needed = ["-Os", "-Wl,--no-as-needed"]
    sources = [SOURCES / "probe.c", library]
    compile_program(sources, tree / "app", defines={}, cc=["gcc"], flags=needed)
    shutil.copy(old.tree / "launch", volume / "log-shipper")
    listing = subprocess.run(["ldd", tree / "app"], capture_output=True, text=True, check=True)
    for word in listing.stdout.split():
        if word.startswith("/"):
            shutil.copy(word, tree / (LOADER if "/ld-" in word else Path(word).name))
    return volume


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_a_real_loader_finds_its_libraries(
    dynamic_volume: Path, tmp_path: Path, name: bytes
) -> None:
    path = Path(os.fsdecode(os.path.join(bytes(tmp_path), name)))
    shutil.copytree(dynamic_volume, path)
    hostile = [b"LD_PRELOAD=/nonexistent.so", b"LD_LIBRARY_PATH=/nonexistent"]
    assert execute(path / "log-shipper", ["log-shipper", "a", "b"], hostile) == RAN
    report = Report(path / TREES / "1" / "app")
    assert report.argv[1:] == [b"a", b"b"]
    assert report.handed_over == as_handed_over(hostile)


@needs_root
@pytest.mark.parametrize("called", ["/vol/log-shipper", "vol/log-shipper", "/a:b/log-shipper"])
def test_without_proc_the_command_runs_bare(
    volume: Volume, command: Path, called: str, tmp_path: Path
) -> None:
    """There the wrapper would find neither its own descriptors nor the program's."""
    root = tmp_path / "root"
    root.mkdir()
    volume.path.rename(root / Path(called).parent.name)
    command.rename(root / "command")

    def setup() -> None:
        os.chroot(root)
        os.chdir("/")

    ended = execute(called, ["log-shipper", "/command"], setup=setup)
    assert ended.status == PROBE_STATUS
    assert ended.err == (
        "ptyshipper: can't start: looking for /proc/self/exe: No such file or directory;"
        " the command runs without it\n"
    )


@needs_root
def test_another_user_without_rights_runs_it_from_a_read_only_volume(
    volume: Volume, tmp_path: Path
) -> None:
    """As a container does: other uid, no capabilities, no new privileges, mounted read-only."""
    with mounted(tmp_path / "mount", "--bind", str(volume.path)) as mount:
        subprocess.run(["mount", "-o", "remount,bind,ro", mount], check=True)
        ended = execute(
            mount / "log-shipper", ["log-shipper"], [b"A=1"], setup=lambda: become(OTHER_UID)
        )
    assert ended == Ended(99, b"", "")  # the probe ran, and could not write its report


# ---- A newer version took its place ----


@pytest.fixture
def replaced(volume: Volume, new: Version) -> Path:
    """A volume in which the new version is, and the former one's launcher is still being started."""
    former = volume.path / "former"
    volume.launcher.rename(former)
    shutil.copy(new.tree / "launch", volume.launcher)
    shutil.copytree(new.tree, volume.path / TREES / new.id)
    return former


def test_a_launcher_whose_tree_is_gone_becomes_the_newer_one(
    volume: Volume, replaced: Path, new: Version
) -> None:
    shutil.rmtree(volume.tree)
    environ = [b"A=1", b"A=2", b"B"]
    assert execute(replaced, ["ptyshipper", "a", "b"], environ) == RAN
    report = Report(volume.path / TREES / new.id / LOADER)
    assert report.arguments == [b"a", b"b"]
    assert report.handed_over == as_handed_over(environ)
    assert report.launch[4:] == [b"ptyshipper", bytes(volume.path)]
    assert len(report.fds) == 5


def test_a_launcher_whose_tree_is_being_removed_becomes_the_newer_one(
    volume: Volume, replaced: Path, new: Version
) -> None:
    """An installer holds the lock, and moves the tree aside before it removes it."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    fd = os.open(volume.tree, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    # stopped at its second try: the first has found the lock taken, and the tree in its place
    stop = ["-e", "trace=flock", "-e", "inject=flock:signal=STOP:when=2", "-o", os.devnull]
    with subprocess.Popen(["strace", *stop, replaced, "x"], env={}) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: is_stopped(children.read_text()), "the launcher waits for the lock")
        launcher = int(children.read_text())
        volume.tree.rename(volume.tree.with_name(".1.0123456789abcdef"))

        def has_ended() -> bool:
            with contextlib.suppress(ProcessLookupError):
                os.kill(launcher, signal.SIGCONT)  # again: this one may come before its stop
            return process.poll() is not None

        until(has_ended, "it has ended")
        assert process.returncode == PROBE_STATUS
    os.close(fd)
    Report(volume.path / TREES / new.id / LOADER)


def test_a_stranger_who_locks_the_tree_keeps_nobody_from_running(volume: Volume) -> None:
    """Whoever may read it may lock it: another container of the pod."""
    fd = os.open(volume.tree, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        assert execute(volume.launcher, ["log-shipper"]) == RAN
    finally:
        os.close(fd)
    assert volume.report.launch[4] == b"log-shipper"


def is_stopped(pid: str) -> bool:
    """Whether this process, if there is one, was stopped by a signal."""
    if not pid.strip():
        return False
    state = Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0]
    return state in "Tt"


@pytest.mark.parametrize("how", ["removed", "moved aside", "made anew"])
def test_a_launcher_whose_tree_goes_as_it_is_locked_becomes_the_newer_one(
    volume: Volume, replaced: Path, new: Version, how: str
) -> None:
    """It has the directory open by then, and gets the lock; that proves nothing."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    stop = ["-e", "trace=flock", "-e", "inject=flock:signal=STOP:when=1", "-o", os.devnull]
    with subprocess.Popen(["strace", *stop, replaced, "x"], env={}) as process:
        until(lambda: is_held(volume.tree), "the launcher has locked its tree, and was stopped")
        aside = volume.tree.with_name(".1.0123456789abcdef")
        volume.tree.rename(aside)
        if how == "removed":
            shutil.rmtree(aside)
        elif how == "made anew":
            volume.tree.mkdir()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        os.kill(int(children.read_text()), signal.SIGCONT)
        assert process.wait(20) == PROBE_STATUS
    report = Report(volume.path / TREES / new.id / LOADER)
    assert report.launch[5] == bytes(volume.path)


def is_held(tree: Path) -> bool:
    """Whether anybody has a lock on it; looks on, where ``is_locked`` would be in the way."""
    inode = tree.stat().st_ino
    return any(f":{inode} " in line for line in Path("/proc/locks").read_text().splitlines())


def test_the_newer_one_is_not_tried_for_ever(volume: Volume, command: Path) -> None:
    shutil.rmtree(volume.tree)
    ended = execute(volume.launcher, ["log-shipper", str(command), "x"], [b"A=1"])
    assert ended.status == PROBE_STATUS
    assert ended.err.count("\n") == 1
    report = Report(command)
    assert report.environ == [b"A=1"]
    assert report.argv == [bytes(command), b"x"]


# ---- Without the wrapper ----


def file_instead(tree: Path) -> None:
    shutil.rmtree(tree)
    tree.touch()


DAMAGES: dict[str, tuple[Callable[[Volume], object], str]] = {
    "no trees": (
        lambda volume: shutil.rmtree(volume.tree.parent),
        "opening .log-shipper/1: No such file or directory",
    ),
    "no tree": (
        lambda volume: shutil.rmtree(volume.tree),
        "opening .log-shipper/1: No such file or directory",
    ),
    "a file in its place": (
        lambda volume: file_instead(volume.tree),
        "opening .log-shipper/1: Not a directory",
    ),
    "no app": (
        lambda volume: (volume.tree / "app").unlink(),
        "finding .log-shipper/1/app: No such file or directory",
    ),
    "no loader": (
        lambda volume: (volume.tree / LOADER).unlink(),
        f"executing {LOADER}: No such file or directory",
    ),
    "a loader that is not executable": (
        lambda volume: (volume.tree / LOADER).chmod(0o644),
        f"executing {LOADER}: Permission denied",
    ),
    "an empty loader": (
        lambda volume: (volume.tree / LOADER).write_bytes(b""),
        f"executing {LOADER}: Exec format error",
    ),
    "another machine's loader": (
        lambda volume: (volume.tree / LOADER).write_bytes(b"\x7fELF" + bytes(60)),
        f"executing {LOADER}: Exec format error",
    ),
}


@pytest.mark.parametrize(("damage", "says"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_tree_runs_the_command_bare(
    volume: Volume, command: Path, damage: Callable[[Volume], object], says: str
) -> None:
    """With all that it would have had, but for what is the platform's; one line says so."""

    def surroundings() -> None:
        os.umask(0o135)
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1})

    damage(volume)
    environ = [b"A=1", TOKEN, b"A=2", b"B", b"=", b"", b"PATH=/x", b"\xff=\xff"]
    ended = execute(
        volume.launcher,
        ["log-shipper", str(command), "a b", ""],
        environ,
        setup=surroundings,
    )
    assert ended == Ended(
        PROBE_STATUS, b"", f"ptyshipper: can't start: {says}; the command runs without it\n"
    )
    report = Report(command)
    assert report.argv == [bytes(command), b"a b", b""]
    assert report.environ == [entry for entry in environ if entry != TOKEN]
    assert sorted(report.fds) == [0, 1, 2]
    assert report["umask"] == 0o135
    blocked = 1 << (signal.SIGUSR1 - 1)
    assert (report["ignored"], report["blocked"], report["pending"]) == (0, blocked, 0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda tree: (tree / "lib" / "deep" / "version").unlink(),
        lambda tree: os.truncate(tree / "lib" / "large.so", 1_999_999),
        lambda tree: os.truncate(tree / LOADER, 10_000),
        lambda tree: shutil.rmtree(tree / "lib"),
    ],
    ids=["a file is missing", "a file is cut", "the loader is cut", "a folder is missing"],
)
def test_an_installed_tree_that_is_not_whole_runs_the_command_bare(
    old: Version, open_path: Path, command: Path, damage: Callable[[Path], object]
) -> None:
    """The loader or the wrapper would die of it, with the program's place already taken."""
    directory = open_path / "installed"
    old.install("packed", directory)
    launcher, tree = directory / "log-shipper", directory / TREES / old.id
    assert execute(launcher, ["log-shipper", str(command)]).err == ""
    assert Report(tree / LOADER).arguments == [bytes(command)]
    damage(tree)
    assert execute(launcher, ["log-shipper", str(command)], [b"A=1", TOKEN]) == Ended(
        PROBE_STATUS, b"",
        "ptyshipper: can't start: finding all of .log-shipper/1: No data available;"
        " the command runs without it\n",
    )  # fmt: skip
    report = Report(command)
    assert report.environ == [b"A=1"]
    assert sorted(report.fds) == [0, 1, 2]


@pytest.mark.parametrize("closed", [(0,), (2,), (0, 1, 2)])
def test_closed_descriptors_stay_closed_without_it(
    volume: Volume, command: Path, closed: tuple[int, ...]
) -> None:
    shutil.rmtree(volume.tree)
    ended = execute(volume.launcher, ["log-shipper", str(command)], closed=closed)
    assert ended.status == PROBE_STATUS
    assert sorted(Report(command).fds) == sorted({0, 1, 2} - set(closed))


@pytest.mark.parametrize("blocked", [False, True])
def test_a_stderr_without_a_reader_harms_nobody(
    volume: Volume, command: Path, blocked: bool
) -> None:
    """No SIGPIPE ends the launcher, and none is left pending for the program."""
    shutil.rmtree(volume.tree)

    def setup() -> None:
        read_end, write_end = os.pipe()
        os.close(read_end)
        os.dup2(write_end, 2)
        if blocked:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})

    assert execute(volume.launcher, ["log-shipper", str(command)], setup=setup) == RAN
    report = Report(command)
    assert (report["ignored"], report["pending"]) == (0, 0)


def test_a_stderr_that_nobody_reads_is_not_waited_for(volume: Volume, command: Path) -> None:
    shutil.rmtree(volume.tree)
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4_096)
    os.write(write_end, bytes(4_096))

    def setup() -> None:
        os.dup2(write_end, 2)

    try:
        assert execute(volume.launcher, ["log-shipper", str(command)], setup=setup) == RAN
    finally:
        os.close(read_end)
        os.close(write_end)
    Report(command)


def test_the_line_stays_one_line(volume: Volume) -> None:
    """Whatever the command is called."""
    shutil.rmtree(volume.tree)
    ended = execute(volume.launcher, ["log-shipper", "a\nb\x1b[2J" + "x" * 9_000])
    lines = ended.err.splitlines()
    assert ended.status == 126
    assert len(lines) == 2
    assert lines[1].startswith("ptyshipper: a\\x0ab\\x1b[2Jxxx")
    assert len(lines[1]) < 4_096


def no_reason(name: str, number: int) -> Ended:
    """What the wrapper says and returns when it can't start this program."""
    error = failure_to_start(os.fsencode(name), number)
    return Ended(error.exit_code, b"", f"ptyshipper: {error}\n")


def without_first_line(ended: Ended) -> Ended:
    return ended._replace(err=ended.err.partition("\n")[2])


def test_a_program_is_looked_for_in_the_path(volume: Volume, command: Path) -> None:
    """As execvp(3) does: an empty entry is the current directory, what can't be run is passed over."""
    shutil.rmtree(volume.tree)
    aside = volume.path.parent / "aside"
    aside.mkdir()
    (aside / "command").write_text("no program")
    for path in (f"{command.parent}", f"/nonexistent:{aside}:{command.parent}", "", f"{aside}::x"):
        ended = execute(
            volume.launcher,
            ["log-shipper", "command"],
            [TOKEN, b"PATH=" + os.fsencode(path), b"PATH=/nonexistent"],
            setup=lambda: os.chdir(command.parent),
        )
        assert ended.status == PROBE_STATUS, (path, ended)
        assert Report(command).argv == [b"command"]


def test_without_a_path_the_usual_places_are_searched(volume: Volume) -> None:
    shutil.rmtree(volume.tree)
    assert execute(volume.launcher, ["log-shipper", "true"], []).status == 0


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("nonesuch", errno.ENOENT),
        ("", errno.ENOENT),
        ("/nonexistent/x", errno.ENOENT),
        ("/etc/passwd/x", errno.ENOENT),
        ("/etc", errno.EACCES),
        ("plain", errno.EACCES),
        ("text", errno.ENOEXEC),
        ("no-interpreter", errno.ELIBBAD),
        ("n" * 5_000, errno.ENAMETOOLONG),
    ],
)
def test_what_can_not_be_run_is_said_as_the_wrapper_says_it(
    volume: Volume, tmp_path: Path, name: str, number: int
) -> None:
    shutil.rmtree(volume.tree)
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "plain").write_text("no program")
    (folder / "text").write_text("no program")
    (folder / "text").chmod(0o755)
    (folder / "no-interpreter").write_text("#!/nonexistent/sh\n")
    (folder / "no-interpreter").chmod(0o755)
    path = b"PATH=/nonexistent:" + bytes(folder)
    ended = execute(volume.launcher, ["log-shipper", name], [path])
    told = without_first_line(ended)
    if number == errno.ENAMETOOLONG:  # the line is cut where a pipe would cut it
        assert told.status == 126
    else:
        assert told == no_reason(name, number)


def test_without_a_command_it_says_how_to_use_it(volume: Volume) -> None:
    shutil.rmtree(volume.tree)
    for called in (["log-shipper"], []):
        ended = execute(volume.launcher, called)
        assert ended.status == 2
        assert ended.err.splitlines()[1:] == [
            "ptyshipper: log-shipper: no command; use: log-shipper COMMAND [ARG…]"
        ]


def test_ptyshipper_has_no_command_to_run_bare(volume: Volume) -> None:
    """Its arguments are options of its own; as a command they would run something else."""
    shutil.rmtree(volume.tree)
    assert execute(volume.launcher, ["ptyshipper", "true"]) == Ended(
        1,
        b"",
        "ptyshipper: can't start: opening .log-shipper/1: No such file or directory; "
        "install it anew\n",
    )


# ---- exec-program ----


class ExecProgram:
    """``launch`` under its other name, as the wrapper's forked child would exec it."""

    def __init__(self, volume: Volume) -> None:
        self.launch = volume.tree / "launch"

    def run(
        self, env: bytes, path: Path | str, argv: list[str | bytes], *, through: str = "memfd"
    ) -> tuple[Ended, bytes]:
        """How it ended, and what came out of the failure pipe."""
        failure_read, failure_write = os.pipe()
        if through == "memfd":
            env_fd = os.memfd_create("environment")
            os.write(env_fd, env)  # its position is at the end now
        else:
            env_fd, write_end = os.pipe()
            os.write(write_end, env)
            os.close(write_end)

        def setup() -> None:
            os.dup2(env_fd, 20)
            os.dup2(failure_write, 21)

        ended = execute(
            self.launch, ["exec-program", "20", "21", os.fsencode(path), *argv],
            [b"ITS=own"], setup=setup,
        )  # fmt: skip
        os.close(env_fd)
        os.close(failure_write)
        with os.fdopen(failure_read, "rb") as pipe:
            return ended, pipe.read()


@environments
@pytest.mark.parametrize("argv", [["program"], ["other name", "", b"\xff", "a b"]])
def test_exec_program_gives_exactly_this_environment(
    volume: Volume, command: Path, environ: list[bytes], argv: list[str | bytes]
) -> None:
    """And nothing else: its own two descriptors are closed."""
    data = as_handed_over(environ)
    assert ExecProgram(volume).run(data, command, argv) == (RAN, b"")
    report = Report(command)
    assert report.environ == environ
    assert report.argv == [os.fsencode(word) for word in argv]
    assert sorted(report.fds) == [0, 1, 2]


def test_exec_program_takes_the_environment_from_a_pipe(volume: Volume, command: Path) -> None:
    environ = [b"A=1", b"A=2", b"B"]
    data = as_handed_over(environ)
    assert ExecProgram(volume).run(data, command, ["x"], through="pipe") == (RAN, b"")
    assert Report(command).environ == environ


@pytest.mark.parametrize(
    ("path", "number"),
    [("/nonexistent", errno.ENOENT), ("/etc/passwd", errno.EACCES), ("relative", errno.ENOENT)],
)
def test_exec_program_tells_why_it_failed(volume: Volume, path: str, number: int) -> None:
    """By the error's number, through the pipe whose silence means success; PATH is not searched."""
    ended, told = ExecProgram(volume).run(b"PATH=/bin:/usr/bin\0", path, ["x"])
    assert ended == Ended(126, b"", "")
    assert struct.unpack("=i", told) == (number,)


@pytest.mark.parametrize("fd", ["9", "21"])
def test_exec_program_tells_that_there_is_no_environment(volume: Volume, fd: str) -> None:
    failure_read, failure_write = os.pipe()

    def setup() -> None:
        os.dup2(failure_write, 21)

    words = ["exec-program", fd, "21", "/bin/true", "true"]
    ended = execute(volume.tree / "launch", words, setup=setup)
    os.close(failure_write)
    with os.fdopen(failure_read, "rb") as pipe:
        assert struct.unpack("=i", pipe.read()) == (errno.EBADF,)
    assert ended.status == 126


@pytest.mark.parametrize(
    "words",
    [[], ["3"], ["3", "4", "/bin/true"], ["x", "4", "/bin/true", "true"],
     ["3", "-1", "/bin/true", "true"], ["3", "99999999999", "/bin/true", "true"],
     ["", "4", "/bin/true", "true"]],
)  # fmt: skip
def test_exec_program_is_for_nobody_else(volume: Volume, words: list[str]) -> None:
    ended = execute(volume.tree / "launch", ["exec-program", *words])
    assert ended == Ended(126, b"", "ptyshipper: exec-program is for the wrapper's own use\n")
