"""Recorded sessions: played back by asciinema, run again, and compared."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ptyshipper.view.recording import RecordingFile
from tests.support.patience import until
from tests.support.server import Server
from tests.support.terminal import Terminal
from tests.support.tmux import Tmux
from tests.support.wrapping import BARE_ENVIRON, PTYSHIPPER, run

APART_S = 0.4
ASCIINEMA = Path(sys.executable).with_name("asciinema")
SIGNALS = """
import os, signal, sys
def told(number, frame):
    size = os.get_terminal_size(0) if os.isatty(0) else ("-", "-")
    print("got", signal.Signals(number).name, *size, flush=True)
    if number == signal.SIGTERM: sys.exit(7)
for number in (signal.SIGWINCH, signal.SIGUSR1, signal.SIGTERM): signal.signal(number, told)
print("ready", flush=True)
while True: signal.pause()
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Of a machine without a backend."""
    return {**BARE_ENVIRON, "PTYSHIPPER_DATA": str(tmp_path / "data"), "SECRET_KEY": "s3cret"}


def record(path: Path, *command: str, options: tuple[str, ...] = ()) -> list[str]:
    return [*PTYSHIPPER, "run", "--quiet", "--record", str(path), *options, "--", *command]


def repeated(
    path: Path | str, environ: dict[str, str], *options: str, status: int | None = None
) -> tuple[subprocess.CompletedProcess[bytes], dict[str, Any]]:
    """Run it again; the process, and its comparison, which is the last line on stderr."""
    done = run([*PTYSHIPPER, "repro", "--session", str(path), "--json", *options], environ)
    assert done.stderr.endswith(b"}\n"), done.stderr
    if status is not None:
        assert done.returncode == status, done.stderr
    return done, json.loads(done.stderr.splitlines()[-1])


class TestRepetition:
    """The same program in the same surroundings is the same session; another is named."""

    SCRIPT = """
import os, sys
print([os.isatty(fd) for fd in range(3)], os.getcwd(), oct(os.umask(0)), os.environ.get("LC_ALL"))
print(os.environ.get("SECRET_KEY"), sys.argv[1:])
if os.isatty(2): print(os.get_terminal_size(2))
print("to stderr", file=sys.stderr)
sys.exit(5)
"""

    def program(self, tmp_path: Path) -> list[str]:
        path = tmp_path / "program.py"
        path.write_text(self.SCRIPT)
        return [sys.executable, "-I", str(path), "", "a b", "$HOME"]

    def test_on_pipes(self, environ: dict[str, str], tmp_path: Path) -> None:
        """Each stream by itself; what is withheld is missing, and given by --env."""
        path, place = tmp_path / "a.rec", tmp_path / "place"
        place.mkdir()
        argv = record(path, *self.program(tmp_path))
        first = run(argv, environ | {"LC_ALL": "C"}, cwd=place, umask=0o27)
        assert (first.returncode, first.stderr) == (5, b"to stderr\n")
        assert b"s3cret" in first.stdout
        assert b"s3cret" not in path.read_bytes().partition(b"[False")[0]
        done, comparison = repeated(path, environ, status=5)
        assert done.stdout == first.stdout.replace(b"s3cret", b"None")
        assert comparison["streams"]["stdout"]["first"]["line"] == 2
        given = ("--env", "SECRET_KEY", "--check")
        done, comparison = repeated(path, environ, *given, status=0)
        assert (done.stdout, comparison["equal"]) == (first.stdout, True)
        shown = run([*PTYSHIPPER, "repro", "--session", str(path), "--print", *given[:2]], environ)
        assert b"s3cret" not in shown.stdout + shown.stderr

    def test_the_session_itself_is_not_written_over(
        self, environ: dict[str, str], tmp_path: Path
    ) -> None:
        path = tmp_path / "a.rec"
        assert run(record(path, "echo", "x"), environ).returncode == 0
        before = path.read_bytes()
        (tmp_path / "b.rec").symlink_to(path)
        for other in ("a.rec", "b.rec"):
            words = ["--session", str(path), "--record", str(tmp_path / other), "--force"]
            done = run([*PTYSHIPPER, "repro", *words], environ)
            assert done.returncode == 2
            assert b"is the session itself" in done.stderr.splitlines()[-1]
            assert path.read_bytes() == before

    @pytest.mark.parametrize("mode", ["auto", "always", "never"])
    @pytest.mark.parametrize("redirect", ["", "> out", "2> err", "2>&1 | cat", "< /dev/null"])
    def test_on_a_terminal(
        self, environ: dict[str, str], tmp_path: Path, mode: str, redirect: str
    ) -> None:
        """Whatever of it was one, of the size that it had, from where there is none."""
        path = tmp_path / "a.rec"
        argv = record(path, *self.program(tmp_path), options=("--tty", mode))
        shell = ["sh", "-c", f"{shlex.join(argv)} {redirect}"]
        with Terminal(shell, environ, rows=31, cols=97, cwd=str(tmp_path)) as terminal:
            terminal.wait()
        _, comparison = repeated(path, environ, "--env", "SECRET_KEY", "--check", status=0)
        assert comparison["exit"]["recorded"] == {"code": 5}
        assert sum(one["recorded_bytes"] for one in comparison["streams"].values()) > 50

    def test_a_changed_program_is_named_with_the_place(
        self, environ: dict[str, str], tmp_path: Path
    ) -> None:
        path, program = tmp_path / "a.rec", self.program(tmp_path)
        assert run(record(path, *program), environ, cwd=tmp_path).returncode == 5
        script = tmp_path / "program.py"
        script.write_text(
            script.read_text().replace('stderr"', 'std\\x1berr"').replace("(5)", "(6)")
        )
        words = ["repro", "--session", str(path), "--env", "SECRET_KEY"]
        done = run([*PTYSHIPPER, *words], environ)
        assert done.returncode == 6
        shown = done.stderr.decode()
        assert "not as recorded\n" in shown
        assert "exit    status 6, recorded status 5\n" in shown
        assert "stderr  differs first in line 1, column 7 (offset 6)" in shown
        assert 'recorded "to stderr\\n"' in shown
        assert 'repeated "to std\\u001berr\\n"' in shown
        assert run([*PTYSHIPPER, *words, "--check", "--quiet"], environ).returncode == 1

    def test_of_a_session_that_a_backend_has(
        self, server: Server, environ: dict[str, str], tmp_path: Path
    ) -> None:
        """It knows the command; the rest is from here. The repetition is a session there, too."""
        environ = environ | {"PTYSHIPPER_DATA": str(server.data_dir)}
        command = ["sh", "-c", "echo out; echo err >&2; kill -TERM $$"]

        def stored() -> list[dict[str, Any]]:
            # Not just the latest: another test's may have begun meanwhile, by its own account.
            found = server.get("/api/sessions")[1]["sessions"]
            return [each for each in found if each["command"] == command]

        assert run([*PTYSHIPPER, "run", "--", *command], environ).returncode == 143
        (session,) = (each["id"] for each in stored())
        done, comparison = repeated(session[:12], environ, status=143)
        assert (done.stdout, comparison["equal"]) == (b"out\n", True)
        assert comparison["exit"]["repeated"] == {"signal": 15}
        until(lambda: len(stored()) == 2, "the repetition is stored")

    @pytest.mark.parametrize(
        ("argv", "said"),
        [
            (["--session", "nothing/here"], "can't read nothing/here: No such file"),
            (["--session", "a.rec", "--ignore", "("], "is no regular expression"),
            (["--session", "a.rec", "pod.yaml"], "FILE or --session, not both"),
            (["--session", "a.rec", "--env", "=x"], "--env must be NAME=VALUE"),
            ([], "give a FILE or --session"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_what_is_wrong_is_said_in_a_line(
        self, environ: dict[str, str], tmp_path: Path, argv: list[str], said: str
    ) -> None:
        assert run(record(tmp_path / "a.rec", "true"), environ).returncode == 0
        done = run([*PTYSHIPPER, "repro", *argv], environ, cwd=tmp_path)
        assert done.returncode in (1, 2)
        assert (done.stdout, done.stderr.count(b"\n")) == (b"", 1)
        assert said in done.stderr.decode()

    def test_where_its_directory_is_gone_nothing_runs(
        self, environ: dict[str, str], tmp_path: Path
    ) -> None:
        place = tmp_path / "place"
        place.mkdir()
        assert run(record(tmp_path / "a.rec", "echo", "x"), environ, cwd=place).returncode == 0
        place.rmdir()
        done = run([*PTYSHIPPER, "repro", "--session", str(tmp_path / "a.rec")], environ)
        assert (done.returncode, done.stdout) == (2, b"")
        assert f"can't run in {place}: No such file" in done.stderr.decode()


class TestStage:
    """The terminal that it is repeated on, and the person before it."""

    def test_what_is_typed_is_the_programs_and_the_terminal_is_left_as_it_was(
        self, environ: dict[str, str], tmp_path: Path
    ) -> None:
        """Its size is the recorded one whatever the window here has, and it is restored at the end."""
        path = tmp_path / "a.rec"
        script = "stty -echo; echo ready; read x; stty echo; echo got $x; stty size; exit 4"
        with Terminal(record(path, "sh", "-c", script), environ, rows=31, cols=97) as terminal:
            terminal.expect("ready")
            terminal.type("words\n")
            assert terminal.wait() == 4
        argv = [*PTYSHIPPER, "repro", "--session", str(path)]
        for typed, verdict in (("words\n", "as recorded"), ("other\n", "not as recorded")):
            with Terminal(argv, environ, shell=True, rows=20, cols=70) as terminal:
                before = terminal.attributes()
                terminal.expect("\nready")
                assert terminal.attributes() != before
                terminal.type(typed)
                terminal.expect(f"got {typed.strip()}\r\n31 97\r\n")
                terminal.expect(f"ptyshipper: {verdict}\r\n")
                assert terminal.wait() == 4
                assert terminal.attributes() == before
        with Terminal(argv, environ, shell=True) as terminal:
            terminal.expect("\nready")
            terminal.type("\x03")
            terminal.expect("exit    SIGINT, recorded status 4")
            assert terminal.wait() == 130

    def test_where_nobody_types_the_input_ends(
        self, environ: dict[str, str], tmp_path: Path
    ) -> None:
        path = tmp_path / "a.rec"
        argv = record(path, "sh", "-c", "read x; echo got $x; read y || echo end")
        with Terminal(argv, environ) as terminal:
            terminal.type("words\n")
            terminal.expect("got words")
            terminal.type("\x04")
            terminal.wait()
        words = [*PTYSHIPPER, "repro", "--session", str(path), "--quiet"]
        done = run(words, environ, data=b"words\n")
        assert (done.returncode, done.stdout) == (0, b"words\r\ngot words\r\nend\r\n")
        assert run(words, environ).stdout == b"got\r\nend\r\n"

    def test_a_signal_to_it_is_one_to_the_program(
        self, environ: dict[str, str], tmp_path: Path
    ) -> None:
        path = tmp_path / "a.rec"
        script = "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
        again = [*PTYSHIPPER, "repro", "--session", str(path), "--check", "--quiet"]
        for argv, status in ((record(path, "sh", "-c", script), 3), (again, 0)):
            with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
                process.terminate()
                assert process.stdout.read() == b"told\n"
                assert process.wait(20) == status


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_disk_that_is_full_is_nothing_to_the_program(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """One warning, every byte, its own status; and what is recorded can be read."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=True)
    try:
        path = disk / "a.rec"
        script = "seq 100000; exit 9"
        done = run(record(path, "sh", "-c", script), environ)
        assert (done.returncode, len(done.stdout.splitlines())) == (9, 100_000)
        assert done.stderr.decode() == (
            f"ptyshipper: the recording {path} ends here: No space left on device;"
            " the program is not affected\n"
        )
        read = run([*PTYSHIPPER, "logs", "--raw", str(path)], environ)
        assert done.stdout.startswith(read.stdout)
        assert len(read.stdout) > 100_000
        assert b"was cut off" in read.stderr
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_wrapper_that_was_killed_leaves_what_it_had_shown(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """Nothing is shown that a kill -9 takes from the file."""
    path = tmp_path / "a.rec"
    script = "i=0; while :; do i=$((i+1)); echo line $i; done"
    for _ in range(5):
        argv = record(path, "sh", "-c", script, options=("--force",))
        with subprocess.Popen(
            argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            shown = process.stdout.read(50_000)
            process.kill()
            shown += process.stdout.read()
        read = run([*PTYSHIPPER, "logs", "--raw", str(path)], environ)
        assert read.stdout.startswith(shown)
        assert b"was cut off" in read.stderr


def test_what_repro_runs_is_recorded_as_well(environ: dict[str, str], tmp_path: Path) -> None:
    """A manifest's container, and a session's."""
    manifest = tmp_path / "pod.yaml"
    manifest.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n"
        "    - {name: web, image: none, command: [sh, -c, 'echo out; exit 6']}\n"
    )
    first, second = tmp_path / "first.rec", tmp_path / "second.rec"
    words = ["repro", str(manifest), "--where", "host", "--quiet", "--record", str(first)]
    done = run([*PTYSHIPPER, *words], environ)
    assert (done.returncode, done.stdout) == (6, b"out\n"), done.stderr
    words = ["repro", "--session", str(first), "--quiet", "--record", str(second)]
    assert run([*PTYSHIPPER, *words], environ).returncode == 6
    for path in (first, second):
        with closing(RecordingFile(path)) as recording:
            assert (recording.session["exit_code"], recording.session["bytes"]) == (6, 4)


class TestTimeline:
    """What happened to the program happens again, in its order and at its moments."""

    @pytest.mark.parametrize("has_terminal", [True, False])
    def test_resizes_and_signals(
        self, environ: dict[str, str], tmp_path: Path, has_terminal: bool
    ) -> None:
        path = tmp_path / "a.rec"
        argv = record(path, sys.executable, "-I", "-c", SIGNALS)
        if not has_terminal:
            argv = ["sh", "-c", f"exec {shlex.join(argv)} < /dev/null 2>&1 | cat"]
        with Terminal(argv, environ, rows=24, cols=80) as terminal:
            terminal.expect("ready")
            pid = wrapper_of(path)
            for number, rows in ((signal.SIGUSR1, 0), (signal.SIGWINCH, 40), (signal.SIGUSR1, 0)):
                time.sleep(APART_S)  # the moments are what is repeated
                if rows and has_terminal:
                    terminal.resize(rows, 100)
                else:
                    os.kill(pid, number)
                terminal.expect(f"got {number.name}")
            time.sleep(APART_S)  # likewise
            os.kill(pid, signal.SIGTERM)
            terminal.wait()
        _, comparison = repeated(path, environ, "--timeline", "--check", status=0)
        assert comparison["exit"]["repeated"] == {"code": 7}
        events = comparison["timeline"]
        assert len(events) == 4
        assert events[1]["what"] == ("resize to 100x40" if has_terminal else "SIGWINCH")
        # Never too early, and on a busy machine still nearer to its own moment than to the next one.
        assert all(0 <= event["late_s"] < APART_S for event in events), events


def wrapper_of(path: Path) -> int:
    """The process that has the recording open for writing."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == str(path) and int(link.parts[2]) != os.getpid():
                return int(link.parts[2])
        except OSError:
            continue
    raise AssertionError(f"nobody writes {path}")


@pytest.mark.skipif(
    not ASCIINEMA.exists() or not all(map(shutil.which, ("tmux", "vim"))),
    reason="needs asciinema, tmux and vim",
)
class TestPlayback:
    """An interactive session, typed; what asciinema shows of it is what was seen."""

    COLS, ROWS = 76, 22
    VIM = 'vim -u NONE -N -i NONE -n -c "set noruler" text'

    def test_what_was_typed_in_a_terminal_is_shown_again(
        self, environ: dict[str, str], tmp_path: Path
    ) -> None:
        """bash, vim, a resize, ^C, ^Z, exit: the screens at four moments."""
        path = tmp_path / "typed.rec"
        (tmp_path / "text").write_text("".join(f"line {n}\n" for n in range(60)))
        bash = ("env", "PS1=READY>", "HISTFILE=/dev/null", "bash", "--norc", "--noprofile", "-i")
        tmux = Tmux(tmp_path / "one.sock", shlex.join(record(path, *bash)), environ, tmp_path)
        moments: list[tuple[float, str]] = []

        def look(pattern: str) -> None:
            tmux.shows(pattern)
            moments.append((seconds_so_far(path), tmux.screen()))

        try:
            tmux.shows(r"READY>")
            tmux.keys("echo begun", "Enter")
            tmux.shows(r"\nbegun\n")
            tmux.resize(self.COLS, self.ROWS)
            tmux.keys("clear; sleep 60", "Enter")
            tmux.shows(r"^(?!.*begun)")
            tmux.keys("C-c")
            tmux.shows(r"\^C\n")
            tmux.keys("echo $LINES $COLUMNS", "Enter")
            look(rf"\n{self.ROWS} {self.COLS}\n")
            tmux.keys(self.VIM, "Enter")
            tmux.shows(r"line 1\b")
            tmux.keys("G", "o", "typed in vim", "Escape", "10k", "dd")
            look(r"typed in vim")
            tmux.keys("C-z")
            look(r"Stopped")
            tmux.keys("fg", "Enter")
            tmux.shows(r"typed in vim")
            tmux.keys(":wq", "Enter")
            tmux.shows(r"READY>\s*$")
            tmux.keys("tail -n 2 text", "Enter")
            look(r"\nline 59\ntyped in vim\n")
            tmux.keys("exit 3", "Enter")
            tmux.shows(r"ended with 3")
        finally:
            tmux.close()
        assert len(moments) == 4
        with closing(RecordingFile(path)) as recording:
            session = recording.session
        assert (session["state"], session["exit_code"], session["gaps"]) == ("exited", 3, 0)
        cast = run([*PTYSHIPPER, "export", str(path), "--format", "cast2"], environ).stdout
        for number, (until_s, seen) in enumerate(moments):
            part = tmp_path / f"{number}.cast"
            part.write_bytes(up_to(cast, until_s))
            assert self.played(part, environ, tmp_path, seen) == seen

    def played(self, cast: Path, environ: dict[str, str], tmp_path: Path, seen: str) -> str:
        """The screen behind asciinema when it has played all of it."""
        command = f"{ASCIINEMA} play -s 100000 -i 0.001 {cast} && sleep 60"
        home = {"HOME": str(tmp_path), "ASCIINEMA_CONFIG_HOME": str(tmp_path)}
        player = Tmux(
            tmp_path / f"{cast.stem}.sock",
            command,
            environ | home,
            tmp_path,
            cols=self.COLS,
            rows=self.ROWS,
        )
        try:
            last = ""
            for _ in range(100):
                if (last := player.screen()) == seen:
                    break
                time.sleep(0.1)
            return last
        finally:
            player.close()


def seconds_so_far(path: Path) -> float:
    """When the last thing happened that is recorded by now, in seconds from the beginning."""
    with closing(RecordingFile(path)) as recording:
        records = [item for item in recording.records() if not isinstance(item, dict)]
    return records[-1].time_us / 1e6


def up_to(cast: bytes, until_s: float) -> bytes:
    """The beginning of a version 2 cast."""
    header, *events = cast.splitlines(keepends=True)
    return header + b"".join(event for event in events if json.loads(event)[0] <= until_s)
