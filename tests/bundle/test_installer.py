"""The installer: whole or not at all, beside running wrappers, beside other installers, killed."""

from __future__ import annotations

import fcntl
import os
import random
import resource
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.executing import Ended, Executing, become, execute
from tests.support.patience import until
from tests.support.volumes import (
    LOADER,
    OTHER_UID,
    PROBE_STATUS,
    TREES,
    Report,
    Version,
    contents,
    mounted,
    needs_root,
)

FORMS = ("packed", "image")
MARK = ".whole"
RAN = Ended(PROBE_STATUS, b"", "")

forms = pytest.mark.parametrize("form", FORMS)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def is_whole(directory: Path, version: Version) -> bool:
    """Whether launcher and tree are of this version, with nothing missing or too much."""
    files = contents(directory / TREES / version.id)
    files.pop(MARK, None)
    return (
        files == version.files
        and (directory / "log-shipper").read_bytes() == (version.tree / "launch").read_bytes()
    )


def assert_installed(directory: Path, version: Version) -> None:
    """It is there, runs, and nothing else is."""
    assert is_whole(directory, version)
    assert names(directory) == {"log-shipper", TREES}
    assert names(directory / TREES) == {version.id}
    assert execute(directory / "log-shipper", ["log-shipper", "quiet"]) == RAN


def running_from(directory: Path, version: Version) -> Executing:
    """A wrapper that runs from the tree until the test kills it."""
    wrapper = Executing(directory / "log-shipper", ["log-shipper", "hold"])
    loader = directory / TREES / version.id / LOADER
    until((loader.parent / f"{LOADER}.report").exists, "the wrapper runs")
    Report(loader)  # takes the report away: a file too much makes a tree damaged
    return wrapper


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


# ---- Installing ----


@forms
def test_it_installs(old: Version, form: str, directory: Path) -> None:
    old.install(form, directory)
    assert_installed(directory, old)


@forms
def test_the_same_again_changes_nothing(old: Version, form: str, directory: Path) -> None:
    old.install(form, directory)
    before = {path: path.lstat() for path in directory.rglob("*")}
    old.install(form, directory)
    after = {path: path.lstat() for path in directory.rglob("*")}
    assert {path: (status.st_ino, status.st_ctime_ns) for path, status in after.items()} == {
        path: (status.st_ino, status.st_ctime_ns) for path, status in before.items()
    }


@forms
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o777, 0])
def test_everybody_may_run_it_whatever_the_umask(
    old: Version, form: str, umask: int, tmp_path: Path
) -> None:
    """The installer's user is not the program's."""
    directory = tmp_path / "made"
    installer = old.installer(form)
    words = ["install-log-shipper", str(directory)]
    assert execute(installer, words, setup=lambda: os.umask(umask)).status == 0
    modes = {
        stat.S_IMODE(path.lstat().st_mode)
        for path in (directory, *directory.rglob("*"))
        if path.is_dir()
    }
    assert modes == {0o755}
    executable = {"app", LOADER, "launch", "log-shipper"}
    for path in directory.rglob("*"):
        if path.is_file():
            mode = 0o755 if path.name in executable else 0o644
            assert stat.S_IMODE(path.stat().st_mode) == mode, path
    assert_installed(directory, old)


@needs_root
@forms
def test_one_user_installs_and_another_runs(old: Version, form: str, open_path: Path) -> None:
    """As in a pod: neither has a capability, and the volume is written by the first alone."""
    everybodys = open_path / "image"
    shutil.copytree(old.image, everybodys)
    installer = everybodys / "install-log-shipper"
    if form == "packed":
        shutil.copy(old.packed, installer)
    directory = open_path / "volume"
    directory.mkdir()
    os.chown(directory, OTHER_UID, OTHER_UID)
    words = ["install-log-shipper", str(directory)]
    assert execute(installer, words, setup=lambda: become(OTHER_UID)).status == 0
    assert {path.lstat().st_uid for path in directory.rglob("*")} == {OTHER_UID}
    ran = execute(directory / "log-shipper", ["log-shipper", "quiet"], setup=lambda: become(1_000))
    assert ran == RAN


@pytest.mark.parametrize(
    "argv",
    [
        ["install-log-shipper", "made"],
        ["/install-log-shipper", "./made/"],
        ["ptyshipper", "install", "made"],
        ["/usr/bin/ptyshipper", "install", "../here/made"],
    ],
)
def test_a_relative_directory_is_made(old: Version, argv: list[str], tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    ended = execute(old.packed, argv, setup=lambda: os.chdir(here))
    assert ended == (0, f"ptyshipper: installed v1 in {argv[-1]}\n".encode(), "")
    assert_installed(here / "made", old)


@pytest.mark.parametrize(
    "argv",
    [
        ["install-log-shipper"],
        ["install-log-shipper", ""],
        ["install-log-shipper", "a", "b"],
        ["install-log-shipper", "--help"],
        ["ptyshipper", "install"],
        ["ptyshipper", "install", "-x"],
        ["ptyshipper", "install", "a", "b"],
    ],
)
def test_other_words_are_an_error(old: Version, argv: list[str], tmp_path: Path) -> None:
    ended = execute(old.packed, argv, setup=lambda: os.chdir(tmp_path))
    called = "ptyshipper install" if argv[0] == "ptyshipper" else argv[0]
    assert ended == (2, b"", f"ptyshipper: use: {called} DIR\n")
    assert names(tmp_path) == set()


@needs_root
def test_without_proc_it_finds_itself(old: Version, tmp_path: Path) -> None:
    """The image's own root need not have one."""
    root = tmp_path / "root"
    shutil.copytree(old.image, root)

    def setup() -> None:
        os.chroot(root)
        os.chdir("/")

    for called in ("/install-log-shipper", "install-log-shipper"):
        ended = execute(called, ["install-log-shipper", f"/of {called[0]}"], setup=setup)
        assert ended.status == 0
        assert is_whole(root / f"of {called[0]}", old)


def test_nothing_that_was_open_hinders(old: Version, directory: Path) -> None:
    """Nor does a stdout that nobody has or reads; what is written lands in no file of the tree."""
    words = ["install-log-shipper", str(directory)]
    assert execute(old.packed, words, closed=(0, 1, 2)) == (0, b"", "")
    assert_installed(directory, old)
    shutil.rmtree(directory)

    def unread() -> None:
        read_end, write_end = os.pipe()
        os.close(read_end)
        os.dup2(write_end, 1)

    assert execute(old.packed, words, setup=unread) == (0, b"", "")
    assert_installed(directory, old)


@forms
def test_little_memory_is_enough(old: Version, form: str, directory: Path) -> None:
    """The container has 50 MiB for all."""

    def setup() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (16 << 20, 16 << 20))

    words = ["install-log-shipper", str(directory)]
    assert execute(old.installer(form), words, setup=setup).status == 0
    assert_installed(directory, old)


# ---- Another version ----


@forms
def test_a_newer_version_takes_its_place(
    old: Version, new: Version, form: str, directory: Path
) -> None:
    old.install(form, directory)
    new.install(form, directory)
    assert_installed(directory, new)
    old.install(form, directory)
    assert_installed(directory, old)


def test_a_tree_in_use_stays(old: Version, new: Version, directory: Path) -> None:
    """Until the last wrapper that runs from it has ended; a later installer removes it."""
    old.install("packed", directory)
    tree = directory / TREES / old.id
    with running_from(directory, old) as first, running_from(directory, old) as second:
        new.install("packed", directory)
        first.kill()
        new.install("packed", directory)
        assert {**contents(tree), MARK: None} == {**old.files, MARK: None}
        assert is_whole(directory, new)
        second.kill()
    new.install("packed", directory)
    assert_installed(directory, new)


@forms
@pytest.mark.parametrize("damage", ["truncated", "missing", "extra", "unmarked", "empty"])
def test_a_damaged_tree_is_replaced(old: Version, form: str, damage: str, directory: Path) -> None:
    """As a node's loss of power may leave it. The name alone proves nothing."""
    old.install(form, directory)
    tree = directory / TREES / old.id
    large = tree / "lib" / "large.so"
    if damage == "truncated":
        os.truncate(large, 5)
    elif damage == "missing":
        large.unlink()
    elif damage == "extra":
        (tree / "lib" / "extra").touch()
    elif damage == "unmarked":
        (tree / MARK).unlink()
    else:
        shutil.rmtree(tree)
        tree.mkdir()
    old.install(form, directory)
    assert_installed(directory, old)


@pytest.mark.parametrize("instead", ["file", "link"])
def test_what_is_no_tree_is_replaced(old: Version, instead: str, directory: Path) -> None:
    (directory / TREES).mkdir()
    place = directory / TREES / old.id
    elsewhere = directory.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    if instead == "file":
        place.touch()
    else:
        place.symlink_to(elsewhere)
    old.install("packed", directory)
    old.install("packed", directory)
    assert_installed(directory, old)
    assert names(elsewhere) == {"kept"}


def test_a_wrapper_on_a_damaged_tree_finds_the_whole_one(old: Version, directory: Path) -> None:
    """Under the same name: what it loads later is there again, and its own files stay, too."""
    old.install("packed", directory)
    late = directory / TREES / old.id / "lib" / "deep" / "version"
    with running_from(directory, old):
        late.unlink()
        old.install("packed", directory)
        assert late.read_text() == old.id
        assert len(names(directory / TREES)) == 2
    old.install("packed", directory)
    assert_installed(directory, old)


@pytest.mark.parametrize("damage", ["other", "mode", "link", "missing"])
def test_a_launcher_that_is_not_ours_is_replaced(
    old: Version, damage: str, directory: Path
) -> None:
    old.install("packed", directory)
    launcher = directory / "log-shipper"
    if damage == "other":
        data = bytearray(launcher.read_bytes())
        data[-1] ^= 1
        launcher.write_bytes(data)
    elif damage == "mode":
        launcher.chmod(0o644)
    elif damage == "missing":
        launcher.unlink()
    else:
        launcher.rename(directory / "y")
        launcher.symlink_to("y")
    old.install("packed", directory)
    assert not launcher.is_symlink()
    assert stat.S_IMODE(launcher.stat().st_mode) == 0o755
    (directory / "y").unlink(missing_ok=True)
    assert_installed(directory, old)


def test_what_is_not_ours_is_left_alone(old: Version, new: Version, directory: Path) -> None:
    """A spool, say, or a tree that no installer made."""
    trees = directory / TREES
    almost_ours = {".x.0123456789abcde", ".x.0123456789abcdeg", ".0123456789abcdef"}
    foreign = {"spool", "spool/segment", ".hidden", "file", *almost_ours}
    for name in foreign:
        (trees / name).parent.mkdir(parents=True, exist_ok=True)
        if name == "spool":
            (trees / name).mkdir(exist_ok=True)
        elif not (trees / name).exists():
            (trees / name).write_text(name)
    (directory / "users.txt").touch()
    old.install("packed", directory)
    new.install("packed", directory)
    kept = {str(path.relative_to(trees)) for path in trees.rglob("*")}
    assert foreign <= kept
    assert old.id not in kept
    assert (directory / "users.txt").exists()


def test_left_overs_are_removed_and_work_in_progress_is_not(old: Version, directory: Path) -> None:
    """The lock tells one from the other; the kernel gives it back when its holder is killed."""
    trees = directory / TREES
    in_progress, left_over = trees / ".2.00000000deadbeef", trees / ".2.00000000cafecafe"
    for folder in (in_progress, left_over):
        (folder / "lib").mkdir(parents=True)
        (folder / "lib" / "file").touch()
    (trees / ".launch.0123456789abcdef").touch()
    fd = os.open(in_progress, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    old.install("packed", directory)
    assert names(trees) == {old.id, in_progress.name}
    os.close(fd)
    old.install("packed", directory)
    assert_installed(directory, old)


# ---- At once, and killed ----


@forms
def test_many_installers_at_once_all_succeed(
    old: Version, new: Version, form: str, directory: Path
) -> None:
    """Of the same version or of two; the last one's is installed, whole."""
    for round_number in range(4):
        versions = [(old, new)[index % 2 if round_number % 2 else 0] for index in range(6)]
        installers = [
            Executing(version.installer(form), ["install-log-shipper", str(directory)])
            for version in versions
        ]
        ended = [installer.wait() for installer in installers]
        assert [(one.status, one.err) for one in ended] == [(0, "")] * 6
        installed = old if is_whole(directory, old) else new
        assert is_whole(directory, installed)
        installed.install(form, directory)
        assert_installed(directory, installed)


@forms
def test_at_every_moment_a_container_can_start(
    old: Version, new: Version, form: str, directory: Path
) -> None:
    """While versions replace one another, every start of a wrapper finds one that is whole."""
    old.install(form, directory)
    launcher = directory / "log-shipper"
    for version in (new, old) * 8:
        installer = version.installer(form)
        with Executing(installer, ["install-log-shipper", str(directory)]) as installing:
            is_over = False
            while not is_over:
                is_over = not installing.is_running  # asked before: one start at least is in time
                assert execute(launcher, ["log-shipper", "quiet"], [b"A=1"]) == RAN
            assert installing.wait().status == 0
    old.install(
        form, directory
    )  # a wrapper may have held the other tree while the last one cleaned up
    assert_installed(directory, old)


@forms
def test_killed_at_any_moment_one_version_is_whole(
    old: Version, new: Version, form: str, directory: Path
) -> None:
    """And the next installer leaves nothing of what was begun."""
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    words = ["install-log-shipper", str(directory)]
    began_s = time.monotonic()
    old.install(form, directory)
    takes_s = time.monotonic() - began_s
    current, following = old, new
    for _ in range(25):
        with Executing(following.installer(form), words) as installing:
            time.sleep(chance.uniform(0, 1.2 * takes_s))  # the moment is what is tested
            installing.kill()
        if is_whole(directory, following):
            current, following = following, current
        assert is_whole(directory, current), f"seed {seed}"
        ran = execute(directory / "log-shipper", ["log-shipper", "quiet"])
        assert ran == RAN, f"seed {seed}"
    current.install(form, directory)
    assert_installed(directory, current)


# ---- What hinders ----


def cannot(directory: Path | str, why: str) -> Ended:
    return Ended(1, b"", f"ptyshipper: can't install into {directory}: {why}\n")


@forms
def test_a_full_disk_leaves_the_former_version(
    old: Version, new: Version, form: str, tmp_path: Path
) -> None:
    need_bytes = sum(len(data) for _, data in old.files.values())
    size = f"size={int(1.7 * need_bytes)}"
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", size, "tmpfs") as directory:
        old.install(form, directory)
        ended = execute(new.installer(form), ["install-log-shipper", str(directory)])
        assert ended.status == 1
        assert ended.err.startswith(f"ptyshipper: can't install into {directory}: writing ")
        assert ended.err.endswith(": No space left on device; make room there\n")
        assert_installed(directory, old)


@forms
def test_a_read_only_volume_is_named(old: Version, new: Version, form: str, tmp_path: Path) -> None:
    """One that already holds this version is installed."""
    with mounted(tmp_path / "volume", "-t", "tmpfs", "tmpfs") as directory:
        old.install(form, directory)
        subprocess.run(["mount", "-o", "remount,ro", directory], check=True)
        old.install(form, directory)
        ended = execute(new.installer(form), ["install-log-shipper", str(directory)])
        assert ended.status == 1
        assert ended.err.endswith(": Read-only file system; mount it writable\n")
        made = execute(new.installer(form), ["install-log-shipper", f"{directory}/made"])
        why = "creating it: Read-only file system; mount it writable"
        assert made == cannot(f"{directory}/made", why)
        assert_installed(directory, old)


@needs_root
def test_a_directory_without_permission_is_named(old: Version, open_path: Path) -> None:
    directory = open_path / "volume"
    directory.mkdir()
    installer = shutil.copy(old.packed, open_path)
    words = ["install-log-shipper", str(directory)]
    ended = execute(installer, words, setup=lambda: become(OTHER_UID))
    why = f"creating {TREES}: Permission denied; let this user write there"
    assert ended == cannot(directory, why)
    assert names(directory) == set()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing/below", "creating it: No such file or directory; create what it lies in"),
        ("file", "opening it: Not a directory; name a directory"),
        ("file/below", "creating it: Not a directory; name a directory"),
        ("n" * 300, "creating it: Filename too long"),
    ],
)
def test_what_is_no_directory_is_named(old: Version, name: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    directory = tmp_path / name
    ended = execute(old.packed, ["install-log-shipper", str(directory)])
    if len(name) < 256:  # the C libraries have different words for it
        assert ended == cannot(directory, why)
    assert ended.status == 1
    assert ended.err.count("\n") == 1
    assert names(tmp_path) == {"file"}


def test_a_directory_in_the_launchers_place_is_named(old: Version, directory: Path) -> None:
    (directory / "log-shipper").mkdir()
    ended = execute(old.packed, ["install-log-shipper", str(directory)])
    assert ended == cannot(directory, "creating log-shipper: Is a directory")
    assert names(directory / TREES) == {old.id}


def test_a_limit_on_files_is_named(old: Version, directory: Path) -> None:
    """Beyond it a write raises SIGXFSZ, which would end the installer without a word."""

    def setup() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    ended = execute(old.packed, ["install-log-shipper", str(directory)], setup=setup)
    assert ended.status == 1
    assert ended.err.endswith("writing lib/large.so: File too large\n")
    assert names(directory / TREES) == set()


def test_a_stranger_with_the_lock_does_not_keep_it_from_installing(
    old: Version, new: Version, directory: Path
) -> None:
    """Any process that sees the volume can take it. Then nothing is removed, for once."""
    old.install("packed", directory)
    fd = os.open(directory / TREES, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        new.install("packed", directory)
    finally:
        os.close(fd)
    assert is_whole(directory, new)
    assert names(directory / TREES) == {old.id, new.id}
    new.install("packed", directory)
    assert_installed(directory, new)


def test_without_a_tree_it_says_so(old: Version, directory: Path, tmp_path: Path) -> None:
    alone = shutil.copy(old.image / "install-log-shipper", tmp_path)
    ended = execute(alone, ["install-log-shipper", str(directory)])
    why = (
        f"finding {TREES}/1: this file holds no tree, and there is none beside it; "
        "get this program anew"
    )
    assert ended == cannot(directory, why)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("app", path)])
def test_only_files_and_directories_are_copied(
    old: Version, make: Callable[[Path], None], directory: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    shutil.copytree(old.image, image)
    make(image / TREES / old.id / "lib" / "odd")
    ended = execute(image / "install-log-shipper", ["install-log-shipper", str(directory)])
    why = "copying odd: it is neither a file nor a directory; get this program anew"
    assert ended == cannot(directory, why)
    assert names(directory / TREES) == set()
