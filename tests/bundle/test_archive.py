"""The archive behind the installer is hostile until every byte of it was checked."""

from __future__ import annotations

import io
import os
import random
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ptyshipper.bundle import pack
from ptyshipper.bundle.compile import INSTALLER, CompileError, compile_program
from tests.support.executing import Ended, execute
from tests.support.volumes import TREES, Version, contents

BLOCK = 512
END = bytes(2 * BLOCK)


def entry(
    name: bytes,
    data: bytes = b"",
    *,
    kind: bytes = b"0",
    mode: bytes = b"0000644\0",
    size: bytes | None = None,
    link: bytes = b"",
    magic: bytes = b"ustar\00000",
    prefix: bytes = b"",
    checksum_off_by: int = 0,
) -> bytes:
    """One entry of a ustar archive (POSIX, pax), made by hand so that it can be made wrong."""
    fields = struct.pack(
        "100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x",
        name,
        mode,
        b"0000000\0",
        b"0000000\0",
        b"%011o\0" % len(data) if size is None else size,
        b"00000000000\0",
        b" " * 8,
        kind,
        link,
        magic,
        b"",
        b"",
        b"0000000\0",
        b"0000000\0",
        prefix,
    )
    checksum = b"%06o\0 " % (sum(fields) + checksum_off_by)
    return fields[:148] + checksum + fields[156:] + data + bytes(-len(data) % BLOCK)


def frame(tar: bytes, *options: str) -> bytes:
    """One zstd frame of it, with a checksum if no option says otherwise."""
    command = ["zstd", "-q", "-c", *options]
    return subprocess.run(command, input=tar, capture_output=True, check=True).stdout


LAUNCH = entry(b"launch", b"launcher", mode=b"0000755\0")
"""Without it there is nothing to install."""

PLAIN = LAUNCH + entry(b"lib", kind=b"5") + entry(b"lib/file", b"x" * 700)
WHOLE = PLAIN + END


class Unpacking:
    """An installer with an archive of the test's own, and a folder with a volume in it."""

    def __init__(self, installer: Path, folder: Path) -> None:
        self._installer = installer.read_bytes()
        self._packed = folder / "install-log-shipper"
        self.volume = folder / "volume"
        self.volume.mkdir()
        self._folder = folder

    def install(self, behind: bytes, environ: list[bytes] | None = None) -> Ended:
        """Install with these bytes behind the installer; nothing outside the volume changes."""
        self._packed.write_bytes(self._installer + behind)
        self._packed.chmod(0o755)
        words = ["install-log-shipper", str(self.volume)]
        ended = execute(self._packed, words, environ or [], setup=lambda: os.chdir(self._folder))
        assert {path.name for path in self._folder.iterdir()} == {self._packed.name, "volume"}
        return ended

    def unpack(self, tar: bytes) -> Ended:
        """Install with this archive, well compressed."""
        return self.install(pack.append(b"", frame(tar)))

    def empty(self) -> None:
        """An empty volume again."""
        shutil.rmtree(self.volume)
        self.volume.mkdir()

    @property
    def unpacked(self) -> dict[str, bytes]:
        """What is in the tree, and what is left of trees that did not become one."""
        trees = self.volume / TREES
        return {
            str(path.relative_to(trees)): path.read_bytes() if path.is_file() else b""
            for path in trees.rglob("*")
        }


@pytest.fixture
def unpacking(old: Version, tmp_path: Path) -> Unpacking:
    return Unpacking(old.image / "install-log-shipper", tmp_path)


def refused(unpacking: Unpacking, ended: Ended, why: str) -> None:
    assert ended == Ended(
        1,
        b"",
        f"ptyshipper: can't install into {unpacking.volume}: unpacking {why}; "
        "get this program anew\n",
    )
    assert unpacking.unpacked == {}
    assert not (unpacking.volume / "log-shipper").exists()


# ---- What is taken ----


def test_files_and_directories_are_unpacked(unpacking: Unpacking) -> None:
    assert unpacking.unpack(PLAIN + END).status == 0
    assert (unpacking.volume / "log-shipper").read_bytes() == b"launcher"
    assert unpacking.unpacked == {
        "1": b"",
        "1/.whole": b"3 708\n",
        "1/launch": b"launcher",
        "1/lib": b"",
        "1/lib/file": b"x" * 700,
    }


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 131_071, 131_072, 131_073, 1_000_000])
def test_every_size_is_unpacked(unpacking: Unpacking, size: int) -> None:
    """Also where blocks, the decoder's buffers and files don't end together."""
    first, second = os.urandom(size), os.urandom(3)
    assert unpacking.unpack(LAUNCH + entry(b"a", first) + entry(b"b", second) + END).status == 0
    assert unpacking.unpacked["1/a"] == first
    assert unpacking.unpacked["1/b"] == second


@pytest.mark.parametrize("blocks", [2, 3, 20, 1_000])
def test_padding_behind_the_end_is_taken(unpacking: Unpacking, blocks: int) -> None:
    """tar(1) fills up to a record of 20 blocks, or of more."""
    assert unpacking.unpack(PLAIN + bytes(blocks * BLOCK)).status == 0


@pytest.mark.parametrize(
    "more",
    [
        entry(b"b" * 100, b"data"),
        entry(b"lib/" + b"b" * 96, b"data"),
        entry(b"c" * 100, b"data", prefix=b"lib"),
        entry(b"dir/", kind=b"5"),
        entry(b"old", b"data", kind=b"\0"),
        entry(b"..x", b"data"),
        entry(b"...", b"data"),
        entry(b"a b\n\xff", b"data"),
        entry(b"m", b"data", mode=b"0000000\0"),
        entry(b"s", b"data", mode=b"0006777\0"),
    ],
)
def test_odd_but_harmless_entries_are_taken(unpacking: Unpacking, more: bytes) -> None:
    assert unpacking.unpack(PLAIN + more + END).status == 0
    modes = {
        path.stat().st_mode & 0o7777
        for path in (unpacking.volume / TREES / "1").rglob("*")
        if path.is_file()
    }
    assert modes <= {0o644, 0o755}


@pytest.mark.parametrize("packer", ["python", "tar"])
def test_what_others_pack_is_taken(unpacking: Unpacking, old: Version, packer: str) -> None:
    if packer == "python":
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for path in sorted(old.tree.rglob("*")):
                tar.add(path, path.relative_to(old.tree), recursive=False)
        packed = stream.getvalue()
    else:
        names = [path.name for path in old.tree.iterdir()]
        command = ["tar", "--format=ustar", "-C", str(old.tree), "-c", *names]
        packed = subprocess.run(command, capture_output=True, check=True).stdout
    assert unpacking.unpack(packed).status == 0
    files = contents(unpacking.volume / TREES / old.id)
    del files[".whole"]
    assert files == old.files


# ---- What is refused ----

NO_TAR = "the archive in this file: it is no ustar archive"
ELSEWHERE = "its name leads elsewhere"
ODD = "it is neither a file nor a directory"

BAD_ENTRIES = {
    "absolute": (entry(b"/etc/x"), f"/etc/x: {ELSEWHERE}"),
    "up": (entry(b"../x"), f"../x: {ELSEWHERE}"),
    "up alone": (entry(b"..", kind=b"5"), f"..: {ELSEWHERE}"),
    "up in the middle": (entry(b"lib/../../x"), f"lib/../../x: {ELSEWHERE}"),
    "up at the end": (entry(b"lib/..", kind=b"5"), f"lib/..: {ELSEWHERE}"),
    "up by the prefix": (entry(b"x", prefix=b".."), f"../x: {ELSEWHERE}"),
    "absolute by the prefix": (entry(b"x", prefix=b"/"), f"//x: {ELSEWHERE}"),
    "here": (entry(b"./x"), f"./x: {ELSEWHERE}"),
    "here alone": (entry(b"./", kind=b"5"), f".: {ELSEWHERE}"),
    "no name": (entry(b""), f": {ELSEWHERE}"),
    "no name for a directory": (entry(b"/", kind=b"5"), f": {ELSEWHERE}"),
    "empty part": (entry(b"lib//x"), f"lib//x: {ELSEWHERE}"),
    "file with a slash": (entry(b"x/"), f"x/: {ELSEWHERE}"),
    "deep": (entry(b"d/" * 40 + b"x"), f"{'d/' * 40}x: {ELSEWHERE}"),
    "hard link": (entry(b"x", kind=b"1", link=b"launch"), f"x: {ODD}"),
    "symbolic link": (entry(b"x", kind=b"2", link=b"/etc"), f"x: {ODD}"),
    "character device": (entry(b"x", kind=b"3"), f"x: {ODD}"),
    "block device": (entry(b"x", kind=b"4"), f"x: {ODD}"),
    "fifo": (entry(b"x", kind=b"6"), f"x: {ODD}"),
    "contiguous": (entry(b"x", kind=b"7"), f"x: {ODD}"),
    "pax header": (entry(b"x", b"19 path=../../evil\n", kind=b"x"), f"x: {ODD}"),
    "pax global header": (entry(b"x", b"", kind=b"g"), f"x: {ODD}"),
    "GNU long name": (entry(b"././@LongLink", b"../x", kind=b"L"), f"././@LongLink: {ELSEWHERE}"),
    "GNU sparse": (entry(b"x", kind=b"S"), f"x: {ODD}"),
    "directory with a size": (entry(b"d", b"x", kind=b"5"), "d: a directory has no size"),
    "checksum": (entry(b"x", checksum_off_by=1), NO_TAR),
    "GNU's magic": (entry(b"x", magic=b"ustar  \0"), NO_TAR),
    "no magic": (entry(b"x", magic=b""), NO_TAR),
    "size in binary": (entry(b"x", size=b"\x80" + bytes(10) + b"\1"), NO_TAR),
    "size with a sign": (entry(b"x", size=b"-0000000001\0"), NO_TAR),
    "size of nothing": (entry(b"x", size=b"\0" * 12), NO_TAR),
    "size of 9": (entry(b"x", size=b"00000000009\0"), NO_TAR),
    "size of 2 GiB": (entry(b"x", size=b"20000000000\0"), "x: it is too large"),
    "size of 8 GiB": (entry(b"x", size=b"777777777777"), "x: it is too large"),
    "noise": (os.urandom(BLOCK), NO_TAR),
}


@pytest.mark.parametrize(("bad", "why"), BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_entries_that_lead_elsewhere_are_refused(
    unpacking: Unpacking, bad: bytes, why: str
) -> None:
    """And with them all that came before."""
    refused(unpacking, unpacking.unpack(PLAIN + bad + END), why)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (entry(b"launch", b"other"), "creating launch: File exists"),
        (entry(b"lib", kind=b"5"), "creating lib: File exists"),
        (entry(b"lib"), "creating lib: File exists"),
        (entry(b"nowhere/x"), "creating nowhere/x: No such file or directory"),
        (entry(b"launch/x"), "creating launch/x: Not a directory"),
        (entry(b".whole", b"1 1\n"), "creating .whole: File exists"),
    ],
)
def test_entries_that_do_not_fit_together_are_refused(
    unpacking: Unpacking, bad: bytes, says: str
) -> None:
    ended = unpacking.unpack(PLAIN + bad + END)
    assert ended.status == 1
    assert ended.err.startswith(f"ptyshipper: can't install into {unpacking.volume}: {says}")
    assert unpacking.unpacked == {}


def test_too_much_is_refused(unpacking: Unpacking) -> None:
    many = b"".join(entry(b"%d" % number) for number in range(5_000))
    ended = unpacking.unpack(LAUNCH + many + END)
    refused(unpacking, ended, "the archive in this file: it has too many entries")


BAD_FRAMES: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "it is no zstd frame with a checksum"),
    "no zstd": (lambda: WHOLE, "it is no zstd frame with a checksum"),
    "no checksum": (lambda: frame(WHOLE, "--no-check"), "it is no zstd frame with a checksum"),
    "skippable frame": (
        lambda: struct.pack("<II", 0x184D2A50, 4) + b"\xff" * 4 + frame(WHOLE),
        "it is no zstd frame with a checksum",
    ),
    "two frames": (lambda: frame(WHOLE) * 2, "something follows it"),
    "parts in two frames": (
        lambda: frame(WHOLE[:BLOCK]) + frame(WHOLE[BLOCK:]),
        "it ends early",
    ),
    "something behind": (lambda: frame(WHOLE) + b"x", "something follows it"),
    "no end": (lambda: frame(PLAIN), "it ends early"),
    "half an end": (lambda: frame(PLAIN + bytes(BLOCK)), "it ends early"),
    "part of a block": (lambda: frame(PLAIN + bytes(BLOCK + 1)), "it ends early"),
    "data behind the end": (lambda: frame(WHOLE + LAUNCH), "something follows its end"),
    "data in the end": (
        lambda: frame(PLAIN + bytes(BLOCK) + LAUNCH + END),
        "something follows its end",
    ),
    "cut in a file": (lambda: frame(PLAIN[: -BLOCK - 100]), "it ends early"),
    "large window": (
        lambda: frame(WHOLE + bytes(20_000_000), "--long=24", "--no-content-size"),
        "Frame requires too much memory for decoding",
    ),
}


@pytest.mark.parametrize(("make", "why"), BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_other_frames_are_refused(
    unpacking: Unpacking, make: Callable[[], bytes], why: str
) -> None:
    ended = unpacking.install(pack.append(b"", make()))
    refused(unpacking, ended, f"the archive in this file: {why}")


@pytest.mark.parametrize("length", [1 << 40, (1 << 64) - 1, (1 << 63) - 1])
def test_a_length_beyond_the_file_is_refused(unpacking: Unpacking, length: int) -> None:
    ended = unpacking.install(frame(WHOLE) + struct.pack("<Q", length) + pack.TRAILER_NAME)
    refused(unpacking, ended, "the archive in this file: it is cut short")


def test_a_frame_that_is_cut_anywhere_is_refused(unpacking: Unpacking) -> None:
    whole = frame(LAUNCH + entry(b"noise", os.urandom(200)) + END)
    for length in range(len(whole)):
        ended = unpacking.install(pack.append(b"", whole[:length]))
        assert ended.status == 1, length
        assert unpacking.unpacked == {}, length


def test_a_file_that_is_cut_anywhere_is_refused(unpacking: Unpacking) -> None:
    """As a download that broke off leaves it: then it has no trailer, and no tree."""
    whole = pack.append(b"", frame(WHOLE))
    for length in range(len(whole)):
        ended = unpacking.install(whole[:length])
        assert ended.status == 1, length
        assert "this file holds no tree, and there is none beside it" in ended.err
    assert unpacking.install(whole).status == 0


def test_no_flipped_bit_goes_unnoticed(unpacking: Unpacking) -> None:
    """What comes out is refused, or what it was: a few bits of a frame's header mean nothing."""
    whole = frame(PLAIN + END)
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        ended = unpacking.install(pack.append(b"", bytes(flipped)))
        if ended.status == 0:
            files = unpacking.unpacked
            assert files["1/lib/file"] == b"x" * 700
            assert files["1/launch"] == b"launcher"
            unpacking.empty()
        else:
            assert ended.status == 1
            assert unpacking.unpacked == {}


# ---- Random damage, looked at by the sanitizers ----


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installer with gcc's address and undefined behaviour sanitizers; ends at the first finding."""
    target = tmp_path_factory.mktemp("sanitized") / "install-log-shipper"
    flags = ["-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    defines = {"TREE_ID": "1", "VERSION": "v1"}
    try:
        compile_program(INSTALLER, target, defines=defines, cc=["gcc"], flags=flags)
    except CompileError as error:
        if "cannot find" in str(error) or "missing" in str(error):
            pytest.skip(f"no sanitizers here: {error}")
        raise
    return target


def damage(chance: random.Random, data: bytes) -> bytes:
    """A few bytes changed, or some cut out, doubled or put in."""
    damaged = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(damaged))
        length = chance.choice((1, 1, 1, 4, 100, BLOCK))
        what = chance.randrange(5)
        if what == 0:
            damaged[at] = chance.randrange(256)
        elif what == 1:
            damaged[at : at + length] = b""
        elif what == 2:
            damaged[at:at] = damaged[at : at + length]
        elif what == 3:
            damaged[at : at + length] = chance.randbytes(length)
        else:
            damaged[at] ^= 1 << chance.randrange(8)
        if not damaged:
            damaged.append(0)
    return bytes(damaged)


def with_checksums(tar: bytes) -> bytes:
    """Every block that looks like a header gets the right checksum, so that its fields are believed."""
    blocks = [bytearray(tar[at : at + BLOCK]) for at in range(0, len(tar), BLOCK)]
    for block in blocks:
        if len(block) == BLOCK and block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


@pytest.mark.parametrize("level", ["tar", "headers", "frame", "file"])
def test_random_damage_finds_no_fault(sanitized: Path, tmp_path: Path, level: str) -> None:
    unpacking = Unpacking(sanitized, tmp_path)
    tar = PLAIN + entry(b"x", b"data", prefix=b"lib") + entry(b"empty") + END
    compressed = frame(tar)
    for seed in range(60):
        chance = random.Random(f"{level} {seed}")
        if level == "tar":
            behind = pack.append(b"", frame(damage(chance, tar)))
        elif level == "headers":
            behind = pack.append(b"", frame(with_checksums(damage(chance, tar))))
        elif level == "frame":
            behind = pack.append(b"", damage(chance, compressed))
        else:
            behind = damage(chance, pack.append(b"", compressed))
        ended = unpacking.install(behind)
        assert ended.status in (0, 1), (seed, ended.err)
        assert ended.err.count("\n") == ended.status, (seed, ended.err)
        if ended.status == 0:
            unpacking.empty()


def test_the_sanitizers_find_nothing_where_it_goes_well(sanitized: Path, tmp_path: Path) -> None:
    """Twice: to install, and to find it installed."""
    unpacking = Unpacking(sanitized, tmp_path)
    behind = pack.append(b"", frame(PLAIN + END))
    for _ in range(2):
        ended = unpacking.install(behind)
        assert (ended.status, ended.err) == (0, "")
