"""Small programs whose behaviour depends on the container: bare, by repro, and under runc.

The reference is a container that the tests make themselves (``integration.runtimes``), from the config.json
that ``repro --print`` shows for the same manifest; repro on this host has to agree with it, and a bare run
has not to, or the program would show nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from integration.runtimes.container import Runtime, Spec, container
from tests.support.bundle import lacking
from tests.support.patience import until
from tests.support.server import Server
from tests.support.static import COMPILER, built
from tests.support.terminal import Terminal
from tests.support.wrapping import BARE_ENVIRON, PTYSHIPPER, latest_session, run, stored_output

RUNC = Runtime("runc")
ROWS, COLUMNS = 33, 101


@dataclass(frozen=True)
class Printed(Spec):
    """A container by the config.json that repro prints."""

    printed: Mapping[str, Any] = field(default_factory=dict)

    def config(self, name: str) -> dict[str, Any]:
        config = json.loads(json.dumps(self.printed))
        config["linux"]["cgroupsPath"] = f"/{name}"
        return dict(config)


class Case:
    """One program in one manifest, and the three ways to run it."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.directory = directory
        self.probe = directory / "probe"
        self.root = directory / "root"
        self.data = server.data_dir
        self.server = server
        inside = self.root / str(directory)[1:]
        inside.mkdir(parents=True)
        for path in (self.probe, inside / "probe"):
            path.write_bytes(built("probe").read_bytes())
            path.chmod(0o755)
        for path in (
            self.root,
            *inside.parents[: len(inside.parents) - len(self.root.parents) - 1],
        ):
            path.chmod(0o755)
        (self.root / "etc").mkdir()
        (self.root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        self.manifest = directory / "pod.yaml"

    def write(
        self,
        *words: str,
        pod: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **container: Any,
    ) -> Case:
        """The manifest of a pod that runs the probe with these words."""
        about = {"name": "web", "command": [str(self.probe), *words], **container}
        document = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", **(metadata or {})},
            "spec": {"terminationGracePeriodSeconds": 30, **(pod or {}), "containers": [about]},
        }
        self.manifest.write_text(json.dumps(document))
        return self

    def argv(self, *options: str) -> list[str]:
        data = ["--data", str(self.data)]
        return [*PTYSHIPPER, "repro", str(self.manifest), *data, *options]

    def here(self, *options: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        return run(self.argv("--where", "host", "--quiet", *options), BARE_ENVIRON, **more)

    def started(self) -> subprocess.Popen[bytes]:
        argv = self.argv("--where", "host", "--quiet")
        return subprocess.Popen(
            argv, env=BARE_ENVIRON, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )

    def on_terminal(self, *options: str) -> Terminal:
        """On a terminal that is a shell's, and the job in its foreground."""
        argv = self.argv("--where", "host", "--quiet", *options)
        return Terminal(argv, BARE_ENVIRON, shell=True, rows=ROWS, cols=COLUMNS)

    def config(self) -> dict[str, Any]:
        """The config.json for this manifest."""
        printed = run(self.argv("--rootfs", str(self.root), "--print"), BARE_ENVIRON)
        assert printed.returncode == 0, printed.stderr
        text = printed.stdout.decode()
        config: dict[str, Any] = json.JSONDecoder().raw_decode(text, text.index("{"))[0]
        return config

    def under_runc(self, *, stdin: bool = False) -> Any:
        config = self.config()
        tty = config["process"]["terminal"]
        return container(RUNC, Printed(self.root, [], tty=tty, stdin=stdin, printed=config))


@pytest.fixture
def case(server: Server, pytestconfig: pytest.Config) -> Iterator[Case]:
    if not RUNC.is_installed:
        lacking(pytestconfig, "runc, or the right to run it,")
    if COMPILER is None:
        lacking(pytestconfig, "musl-gcc")
    # Not pytest's own: those are for one user alone.
    with tempfile.TemporaryDirectory(prefix="ptyshipper-repro-test-") as directory:
        os.chmod(directory, 0o755)
        yield Case(Path(directory), server)


def report(text: bytes) -> dict[str, Any]:
    """What ``probe report`` says, without what is the machine's own."""
    found: dict[str, Any] = json.loads(text)
    found["environ"] = sorted(bytes.fromhex(entry) for entry in found["environ"])
    return found


SECURED = {
    "runAsUser": 1234,
    "runAsGroup": 2345,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
}
REPORTED: dict[str, dict[str, Any]] = {
    "nothing said": {},
    "a user": {"securityContext": {"runAsUser": 1234}},
    "a user, groups": {
        "securityContext": SECURED,
        "pod": {"securityContext": {"supplementalGroups": [44, 55], "fsGroup": 66}},
    },
    "root without capabilities": {"securityContext": {"capabilities": {"drop": ["ALL"]}}},
    "root with more of them": {
        "securityContext": {"capabilities": {"add": ["SYS_ADMIN"], "drop": ["CHOWN"]}}
    },
    "privileged": {"securityContext": {"privileged": True}},
    "variables": {
        "env": [
            {"name": "A", "value": "1"},
            {"name": "HOME", "value": "/srv"},
            {"name": "B", "value": "$(A) $$(A) $(C)"},
        ]
    },
    "a directory": {"workingDir": "/usr"},
    "an open stdin": {"stdin": True, "stdinOnce": True},
}


@pytest.mark.parametrize("tty", [False, True], ids=["pipes", "terminal"])
@pytest.mark.parametrize("said", list(REPORTED))
def test_a_program_finds_what_it_finds_under_runc(case: Case, said: str, tty: bool) -> None:
    """Ids, groups, capabilities, limits, descriptors, terminal, signals, environment, directory."""
    case.write("report", "-", tty=tty, **REPORTED[said])
    with case.under_runc(stdin=REPORTED[said].get("stdin", False)) as reference:
        assert reference.wait() == 0
        expected = report(reference.out)
    if tty:
        with case.on_terminal() as terminal:
            assert terminal.wait() == 0
            found = report(bytes(terminal.shown))
    else:
        done = case.here(data=b"" if "stdin" in REPORTED[said] else None)
        assert done.returncode == 0, done.stderr
        found = report(done.stdout)
    assert found == expected
    bare = run([str(case.probe), "report", "-"], BARE_ENVIRON)
    assert report(bare.stdout)["environ"] != expected["environ"]


def test_the_named_limits_are_the_programs(case: Case) -> None:
    """Of a compose service, which names them as setrlimit(2) does."""
    compose = {
        "services": {
            "web": {
                "command": [str(case.probe), "report", "-"],
                "ulimits": {"nofile": {"soft": 100, "hard": 200}, "core": 0},
                "mem_limit": "512m",
            }
        }
    }
    case.manifest.write_text(json.dumps(compose))
    with case.under_runc() as reference:
        assert reference.wait() == 0
        expected = report(reference.out)["limits"]
    limits = report(case.here().stdout)["limits"]
    data = 2  # RLIMIT_DATA, which stands for the memory of all processes
    assert limits[data] == [512 * 2**20] * 2
    limits[data] = expected[data]
    assert limits == expected
    assert [100, 200] in limits
    assert report(case.here("--no-memory-limit").stdout)["limits"] == expected


class TestSizes:
    """A terminal begins at 0x0; whoever attaches sizes it."""

    def test_as_under_runc(self, case: Case) -> None:
        case.write("sizes", tty=True, pod={"terminationGracePeriodSeconds": 0})
        with case.under_runc() as reference:
            reference.expect("size 0 0")
            reference.console.resize(ROWS, COLUMNS)
            reference.expect(f"size {ROWS} {COLUMNS}")
        with case.on_terminal() as terminal:
            terminal.expect("size 0 0")
            terminal.expect(f"size {ROWS} {COLUMNS}")
            terminal.resize(ROWS + 1, COLUMNS)
            terminal.expect(f"size {ROWS + 1} {COLUMNS}")

    def test_at_once_where_that_is_switched_off(self, case: Case) -> None:
        case.write("sizes", tty=True, pod={"terminationGracePeriodSeconds": 0})
        with case.on_terminal("--no-late-size") as terminal:
            shown = terminal.expect(f"size {ROWS} {COLUMNS}")
            assert b"size 0 0" not in shown


class TestProcess1:
    """What the kernel does otherwise with the first process of a pid namespace."""

    def stopped_under_runc(self, case: Case, after: str, *, wait_s: float = 0.3) -> int:
        with case.under_runc() as reference:
            reference.expect(after)
            reference.kill(signal.SIGTERM)
            reference._take(wait_s)
            time.sleep(wait_s)  # time to end in, if it is going to
            if reference._take(0):
                return reference.wait()
            reference.kill(signal.SIGKILL)
            return reference.wait()

    def test_has_no_default_for_sigterm(self, case: Case) -> None:
        case.write("say", "ready", "nap", "60000", pod={"terminationGracePeriodSeconds": 0})
        assert self.stopped_under_runc(case, "ready") == 137
        started_s = time.monotonic()
        assert case.here("--stop-after", "0.2").returncode == 137
        assert time.monotonic() - started_s > 2  # what a kubelet leaves it at the least

    def test_bare_or_without_a_namespace_it_has(self, case: Case) -> None:
        case.write("say", "ready", "nap", "60000")
        assert case.here("--stop-after", "0.2", "--no-pid-namespace").returncode == 143
        with subprocess.Popen([case.probe, "nap", "60000"]) as bare:
            bare.terminate()
            assert bare.wait(10) == -signal.SIGTERM

    def test_is_log_shipper_where_the_manifest_says_so(self, case: Case) -> None:
        """So the program has its defaults, and its orphans are taken care of."""
        wrapped = {
            "command": ["/_private_anvilops_log_shipper/log-shipper"],
            "args": [str(case.probe), "orphans", "8", "zombies", "5000", "nap", "60000"],
        }
        case.write(**wrapped)
        done = case.here("--stop-after", "1")
        assert done.returncode == 143, done.stderr
        assert done.stdout == b"zombies 0\n"

    def test_takes_a_signal_that_it_handles(self, case: Case) -> None:
        case.write("signals", pod={"terminationGracePeriodSeconds": 0})
        with case.under_runc() as reference:
            reference.expect("ready")
            reference.kill(signal.SIGTERM)
            reference.expect("signal 15")
        done = case.here("--stop-after", "0.3")
        assert (done.stdout, done.returncode) == (b"ready\nsignal 15\n", 137)

    def test_gets_orphans_and_has_to_reap_them(self, case: Case) -> None:
        case.write("orphans", "6", "nap", "300", "zombies", "0")
        with case.under_runc() as reference:
            assert reference.wait() == 0
            expected = reference.out
        assert case.here().stdout == expected == b"zombies 6\n"

    def test_takes_all_others_with_it(self, case: Case) -> None:
        mark = f"{os.getpid()}{time.monotonic_ns()}"
        case.write(pod=None, command=["/bin/sh", "-c", f"sleep 31.{mark} & exit 3"])
        assert case.here().returncode == 3
        left = subprocess.run(["pgrep", "-f", f"sleep 31.{mark}"], capture_output=True, check=False)
        assert left.stdout == b""


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["exit", "0"], 0),
        (["exit", "41"], 41),
        (["exit", "255"], 255),
    ],
)
def test_statuses_are_those_under_runc(case: Case, words: list[str], status: int) -> None:
    case.write(*words)
    with case.under_runc() as reference:
        assert reference.wait() == status
    assert case.here().returncode == status


def test_a_program_that_is_killed_by_the_kernel(case: Case) -> None:
    """A fault kills process 1 as well; the record has the signal, the status 128 and its number."""
    case.write(
        command=[
            "/bin/sh",
            "-c",
            "kill -SEGV $$$$; echo alive; exec /bin/sh -c 'ulimit -t 1; while :; do :; done'",
        ]
    )
    done = case.here()
    assert done.stdout == b"alive\n"  # what it sends itself is dropped
    assert done.returncode in (128 + signal.SIGXCPU, 128 + signal.SIGKILL)
    assert latest_session(case.server)["exit_signal"] == done.returncode - 128


@pytest.mark.parametrize(
    ("command", "status"), [("/nowhere/at/all", 127), ("/etc", 126), ("no-such-command", 127)]
)
def test_what_cannot_be_started(case: Case, command: str, status: int) -> None:
    case.write(command=[command])
    done = case.here()
    assert done.returncode == status
    assert done.stderr.startswith(b"ptyshipper: " + command.encode())


class TestStdin:
    """Nothing, or a pipe that ends with ours, or one that never ends."""

    def test_is_nothing(self, case: Case) -> None:
        case.write("read")
        with case.under_runc() as reference:
            assert reference.wait() == 0
            expected = reference.out
        assert case.here(data=b"typed\n").stdout == expected == b"read \n"
        bare = run([str(case.probe), "read"], BARE_ENVIRON, data=b"typed\n")
        assert bare.stdout != expected

    def test_ends_with_ours(self, case: Case) -> None:
        case.write("read", "read", stdin=True, stdinOnce=True)
        assert case.here(data=b"typed\n").stdout == b"read typed\nread \n"

    def test_never_ends(self, case: Case) -> None:
        case.write("read", "read", stdin=True, pod={"terminationGracePeriodSeconds": 0})
        done = case.here("--stop-after", "0.5", data=b"typed\n")
        assert (done.stdout, done.returncode) == (b"read typed\n", 137)

    def test_takes_more_than_a_pipe_holds(self, case: Case) -> None:
        case.write(command=["/bin/sh", "-c", "sleep 0.5; wc -c"], stdin=True, stdinOnce=True)
        assert case.here(data=b"x" * 1_000_000).stdout.strip() == b"1000000"


class TestBuffering:
    """libc keeps lines back where stdout is no terminal; musl's from the second line on."""

    WORDS = ("buffer", "first", "buffer", "out", "err", "err", "nap", "300")

    def test_on_a_terminal(self, case: Case) -> None:
        case.write(*self.WORDS, tty=True)
        with case.under_runc() as reference:
            reference.wait()
            assert reference.lines() == ["first", "out", "err"]
        with case.on_terminal() as terminal:
            terminal.wait()
            assert terminal.shown.split() == [b"first", b"out", b"err"]

    def test_on_pipes(self, case: Case) -> None:
        case.write(*self.WORDS)
        with case.under_runc() as reference:
            while not reference.err:
                reference._take(1)
            assert b"out" not in reference.out
            reference.wait()
            assert reference.out == b"first\nout\n"
        assert case.here().returncode == 0
        stored = stored_output(case.server, latest_session(case.server))["all"]
        assert stored.index(b"err") < stored.index(b"out")

    def test_bare_on_a_terminal_it_is_as_on_a_terminal(self, case: Case) -> None:
        """So repro makes a difference to somebody who sits at one."""
        with Terminal([str(case.probe), *self.WORDS], BARE_ENVIRON) as terminal:
            terminal.wait()
            assert terminal.shown.split() == [b"first", b"out", b"err"]
        case.write(*self.WORDS)
        with case.on_terminal() as terminal:
            terminal.wait()
            assert terminal.shown.index(b"err") < terminal.shown.index(b"out")


class TestControllingTerminal:
    SCRIPT = "if true 2>/dev/null </dev/tty; then echo controlled; else echo free; fi"

    @pytest.mark.parametrize(("tty", "said"), [(True, b"controlled"), (False, b"free")])
    def test_is_the_containers_own(self, case: Case, tty: bool, said: bytes) -> None:
        case.write(command=["/bin/sh", "-c", self.SCRIPT], tty=tty)
        with case.on_terminal() as terminal:
            assert terminal.wait() == 0
            assert terminal.shown.strip() == said

    def test_bare_it_is_the_shells(self) -> None:
        with Terminal(["/bin/sh", "-c", self.SCRIPT], BARE_ENVIRON, shell=True) as terminal:
            terminal.expect("controlled")


def test_a_shell_has_its_jobs(case: Case) -> None:
    """A terminal of its own, whose keys reach what is in front: ^Z, fg, ^C, ^D."""
    shell = ["/bin/bash", "--norc", "--noprofile", "-i"]
    case.write(
        command=shell,
        tty=True,
        stdin=True,
        env=[{"name": "PS1", "value": "PROMPT>"}],
        pod={"terminationGracePeriodSeconds": 0},
    )
    with case.on_terminal() as terminal:
        terminal.expect("PROMPT>")
        time.sleep(1)  # by now it has been sized
        assert b"no job control" not in terminal.shown
        terminal.type("stty size; sleep 100\r")
        terminal.expect(f"{ROWS} {COLUMNS}")
        time.sleep(0.3)  # until the command is in front, which shows nowhere
        terminal.type("\x1a")
        terminal.expect("Stopped")
        terminal.expect("PROMPT>")
        terminal.type("fg\r")
        terminal.expect("sleep 100")
        time.sleep(0.3)  # likewise
        terminal.type("\x03")
        terminal.expect("PROMPT>")
        terminal.type("echo $?; exit 4\r")
        terminal.expect("130")
        assert terminal.wait() == 4


class TestStopping:
    """preStop, the signal, the grace period, SIGKILL; by the keys and by the clock."""

    def test_keys(self, case: Case) -> None:
        """^C goes in; twice within a second it stops the container too. The terminal is as it was."""
        case.write(
            "say",
            "ready",
            "signals",
            tty=True,
            stdin=True,
            pod={"terminationGracePeriodSeconds": 0},
        )
        with case.on_terminal() as terminal:
            before = terminal.attributes()[:4]
            terminal.expect("ready\r\nready")
            terminal.type("\x03")
            terminal.expect("signal 2")
            time.sleep(1.2)  # more than a second, so that the next is a first one again
            terminal.type("\x03")
            terminal.expect("signal 2")
            terminal.type("\x03")
            terminal.expect("signal 15")
            assert terminal.wait() == 137
            assert terminal.attributes()[:4] == before

    def test_keys_where_it_has_no_terminal(self, case: Case) -> None:
        """The signals are ours then, and the program hears of neither."""
        case.write("signals", pod={"terminationGracePeriodSeconds": 0})
        with case.on_terminal() as terminal:
            terminal.expect("ready")
            terminal.type("\x03")
            terminal.expect("once more")
            terminal.type("\x03")
            terminal.expect("signal 15")
            assert terminal.wait() == 137
            assert b"signal 2\r" not in terminal.shown

    def test_keys_switched_off(self, case: Case) -> None:
        at_once = {"terminationGracePeriodSeconds": 0}
        case.write("say", "ready", "signals", tty=True, stdin=True, pod=at_once)
        with case.on_terminal("--no-stop-keys") as terminal:
            terminal.expect("ready\r\nready")
            terminal.type("\x03\x03\x03")
            for _ in range(3):
                terminal.type("\x03")
                terminal.expect("signal 2")
            assert b"signal 15" not in terminal.shown

    def test_pre_stop_is_first_and_in_the_container(self, case: Case) -> None:
        told = case.directory / "told"
        told.mkdir(mode=0o777)
        told.chmod(0o777)
        hook = [str(case.probe), "report", str(told / "report"), "orphans", "0"]
        case.write(
            "signals",
            pod={"terminationGracePeriodSeconds": 1},
            env=[{"name": "A", "value": "1"}],
            workingDir="/usr",
            securityContext={"runAsUser": 1234},
            lifecycle={"preStop": {"exec": {"command": hook}}},
        )
        done = case.here("--stop-after", "0.3")
        assert (done.stdout, done.returncode) == (b"ready\nsignal 15\n", 137)
        found = json.loads((told / "report").read_text())
        assert found["cwd"] == "/usr"
        assert found["status"]["Uid"].split() == ["1234"] * 4
        assert b"A=1".hex() in found["environ"]
        assert (told / "report").stat().st_uid == 1234
        (told / "report").unlink()
        done = case.here("--stop-after", "0.3", "--no-pre-stop")
        assert done.stdout == b"ready\nsignal 15\n"
        assert not (told / "report").exists()

    def test_pre_stop_sees_the_containers_processes(self, case: Case) -> None:
        told = case.directory / "told"
        hook = ["/bin/sh", "-c", f"readlink /proc/1/exe > {told}"]
        case.write("signals", lifecycle={"preStop": {"exec": {"command": hook}}},
                   pod={"terminationGracePeriodSeconds": 1})  # fmt: skip
        assert case.here("--stop-after", "0.3").returncode == 137
        assert told.read_text().strip() == str(case.probe)

    def test_a_pre_stop_that_hangs_costs_the_grace_period_and_no_more(self, case: Case) -> None:
        case.write("signals", lifecycle={"preStop": {"exec": {"command": ["/bin/sleep", "60"]}}})
        started_s = time.monotonic()
        done = case.here("--stop-after", "0.1", "--grace", "1")
        assert done.returncode == 137
        assert b"signal 15" in done.stdout
        assert 3 <= time.monotonic() - started_s < 10

    def test_an_orchestrators_signal_to_repro_itself(self, case: Case) -> None:
        case.write("say", "ready", "signals", pod={"terminationGracePeriodSeconds": 1})
        with case.started() as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            assert process.stdout.readline() == b"ready\n"
            process.terminate()
            assert process.stdout.readline() == b"signal 15\n"
            assert process.wait(20) == 137


class TestSession:
    """What is run is in the backend, as the container's."""

    def test_output_status_and_command(self, case: Case) -> None:
        case.write("say", "out", "err", "wrong", "exit", "9")
        done = case.here()
        assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"wrong\n", 9)
        session = latest_session(case.server)
        stored = stored_output(case.server, session)
        assert (stored["stdout"], stored["stderr"]) == (b"out\n", b"wrong\n")
        assert session["command"] == [str(case.probe), "say", "out", "err", "wrong", "exit", "9"]
        assert session["exit_code"] == 9

    def test_of_a_runtime_is_the_programs_too(self, case: Case) -> None:
        case.write("say", "out", "exit", "9", tty=True)
        argv = case.argv("--rootfs", str(case.root), "--runtime", "runc", "--quiet")
        with Terminal(argv, BARE_ENVIRON, shell=True) as terminal:
            assert terminal.wait() == 9
        session = latest_session(case.server)
        assert session["command"][0] == str(case.probe)
        assert stored_output(case.server, session)["tty"].split() == [b"out"]

    def test_the_closing_line_names_it(self, case: Case) -> None:
        case.write("exit", "0", tty=True)
        argv = case.argv("--where", "host")
        with Terminal(argv, BARE_ENVIRON, shell=True) as terminal:
            terminal.wait()
            session = latest_session(case.server)
            assert session["id"][:12].encode() in terminal.shown


def test_runc_is_stopped_as_kubernetes_stops(case: Case) -> None:
    """By --rootfs: the signal first, and SIGKILL when the time is over."""
    case.write("signals", pod={"terminationGracePeriodSeconds": 1})
    argv = case.argv("--rootfs", str(case.root), "--runtime", "runc", "--quiet")
    process = subprocess.Popen(
        argv, env=BARE_ENVIRON, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    out, _ = process.communicate(timeout=30)
    # runc 1.1.5 hands on the SIGURG by which Go's scheduler interrupts runc itself.
    told = [line for line in out.splitlines() if line != b"signal %d" % signal.SIGURG]
    assert (told, process.returncode) == ([b"signal 15"], 137)


def test_runc_is_stopped_though_it_has_not_begun(case: Case) -> None:
    """Whoever asks at once is heard once there is somebody to hear."""
    case.write("nap", "60000", pod={"terminationGracePeriodSeconds": 0})
    argv = case.argv("--rootfs", str(case.root), "--runtime", "runc", "--quiet")
    status = run([*argv, "--stop-after", "0"], BARE_ENVIRON, timeout_s=30).returncode
    assert status in (2, 137)  # 2: it met runc's own first process, before that became the program


def test_without_root_a_user_namespace_does_it(case: Case, tmp_path: Path) -> None:
    """The ids stand for the user's own; all the rest is as with root."""
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*as_nobody, "unshare", "-Ur", "true"], check=False).returncode:
        pytest.skip("this machine gives users no namespaces")
    case.write("report", "-", "orphans", "3", "nap", "300", "zombies", "0", securityContext=SECURED)
    environ = BARE_ENVIRON | {"PYTHONDONTWRITEBYTECODE": "1"}
    data = case.directory / "data"
    argv = [*PTYSHIPPER, "repro", str(case.manifest), "--data", str(data), "--where", "host"]
    done = run([*as_nobody, *argv, "--quiet"], environ)
    assert done.returncode == 0, done.stderr
    text, _, rest = done.stdout.partition(b"\n")
    found = report(text)
    assert found["status"]["Uid"].split() == ["1234"] * 4
    assert found["status"]["Gid"].split() == ["2345"] * 4
    assert found["status"]["CapEff"] == "0" * 16
    assert found["status"]["NoNewPrivs"] == "1"
    assert rest == b"zombies 3\n"
    told = run([*as_nobody, *argv, "--explain", "--json"], environ)
    rows = {row["what"]: row for row in map(json.loads, told.stdout.splitlines())}
    assert rows["user"]["verdict"] == "partly"
    assert rows["process 1"]["verdict"] == rows["root"]["verdict"] == "yes"


def test_a_read_only_root_with_a_place_to_write_to(case: Case) -> None:
    scratch = case.directory / "scratch"
    scratch.mkdir()
    (scratch / "host").write_text("")
    script = f"ls {scratch}; touch {scratch}/x && echo written; touch /x || exit 3"
    case.write(
        command=["/bin/sh", "-c", script],
        securityContext={"readOnlyRootFilesystem": True},
        volumeMounts=[{"name": "v", "mountPath": str(scratch)}],
        pod={"volumes": [{"name": "v", "emptyDir": {}}]},
    )
    done = case.here()
    assert (done.stdout, done.returncode) == (b"written\n", 3)
    assert b"Read-only" in done.stderr
    assert os.listdir(scratch) == ["host"]
    assert not Path("/x").exists()


def test_the_printed_command_line_does_nearly_the_same(case: Case) -> None:
    case.write(
        "report", "-", env=[{"name": "A", "value": "a b"}], securityContext={"runAsUser": 1234}
    )
    printed = run(case.argv("--where", "host", "--print", "--env", "SECRET=hidden"), BARE_ENVIRON)
    line = printed.stdout.decode()
    assert "hidden" not in line
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        env=BARE_ENVIRON | {"SECRET": "hidden"},
        capture_output=True,
        timeout=20,
        check=False,
    )
    found, expected = report(done.stdout), report(case.here("--env", "SECRET=hidden").stdout)
    for name in ("Uid", "Gid", "Umask"):
        assert found["status"][name] == expected["status"][name]
    assert found["environ"] == expected["environ"]
    assert found["cwd"] == expected["cwd"]


@pytest.mark.parametrize("user", [0, 1234])
def test_nothing_is_left_of_a_repro_that_is_killed(case: Case, user: int) -> None:
    """Its container goes with it, also of a user whose ids it took."""
    mark = f"{os.getpid()}{time.monotonic_ns()}"
    case.write(
        command=["/bin/sh", "-c", f"echo ready; sleep 32.{mark}"],
        securityContext={"runAsUser": user},
    )
    with case.started() as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()

    def gone() -> bool:
        found = subprocess.run(["pgrep", "-f", f"32.{mark}"], capture_output=True, check=False)
        return found.stdout == b""

    until(gone, "the container is gone")
