"""Services of a compose file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptyshipper.errors import UsageError
from ptyshipper.repro.container import Limit, PreStop
from tests.repro.reading import read, read_text, refusal


@pytest.fixture(autouse=True)
def nothing_of_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LEVEL", "TAG", "FROM_ENV", "FROM_HERE", "NOT_SET", "B"):
        monkeypatch.delenv(name, raising=False)


def test_every_field() -> None:
    web = read("compose.yaml", "web")
    assert web.command == ("/bin/serve", "--name", "two words")
    assert web.args == ("--price", "5$", "dotenv")
    assert web.image == "example.com/web:latest"
    assert dict(web.env) == {
        "QUOTED": "a b",
        "LEVEL": "info",
        "EXPORTED": "1",
        "COMMENTED": "x",
        "PORT": "8080",
        "DEBUG": "true",
        "EMPTY": "",
    }
    assert [one.name for one in web.missing] == ["FROM_HERE"]
    assert (web.cwd, web.hostname) == ("/srv", "till")
    assert (web.tty, web.stdin, web.stdin_once) == (True, True, False)
    assert (web.user, web.group, web.groups) == (1000, 2000, (44,))
    assert web.read_only_root
    assert web.scratch == ("/run", "/tmp")
    assert web.rlimits == {"NOFILE": Limit(100, 200), "NPROC": Limit(50, 50)}
    assert (web.memory_bytes, web.cpus) == (64 * 2**20, 0.5)
    assert (web.grace_period_s, web.stop_signal) == (62.5, "SIGUSR1")
    assert web.pre_stop == PreStop(("./drain", "--now"))
    assert (web.drop_capabilities, web.add_capabilities) == (("ALL",), ("CHOWN",))
    assert web.no_new_privileges


def test_what_is_not_taken_over_is_noted() -> None:
    noted = {note.field for note in read("compose.yaml", "web").notes}
    assert noted == {
        "services.web.pre_stop[1]",
        "group_add",
        "services.web.ports",
        "services.web.depends_on",
        "services.web.unknown_field",
    }


def test_the_short_forms() -> None:
    db = read("compose.yaml", "db", {"B": "given"})
    assert dict(db.env) == {"A": "1", "B": "given", "C": ""}
    assert (db.memory_bytes, db.cpus) == (int(1.5 * 2**30), 2)
    assert ("${NOT_SET}", "is not set, so empty; give it by --env") in db.notes
    assert db.grace_period_s == 10
    assert (db.command, db.args) == (None, None)


def test_several_services_want_a_name() -> None:
    with pytest.raises(UsageError, match=r"--container: web, db$"):
        read("compose.yaml")


REFUSED = {
    "a service that is text": ("services: {a: b}", "1: services.a: must be a map: a service's fields"),
    "no end of a variable": (
        "services:\n  a:\n    image: ${B\n",
        "3: services.a.image: has no } behind ${B",
    ),
    "a lone $": (
        "services: {a: {image: 5$}}",
        "1: services.a.image: has a $ that begins no variable; write $$ for one $",
    ),
    "a needed variable": (
        "services: {a: {image: '${TAG:?which}'}}",
        "1: services.a.image: needs TAG; give it by --env (which)",
    ),
    "an open quote": (
        "services: {a: {command: \"a 'b\"}}",
        "1: services.a.command: can't be split into words: no closing quotation",
    ),
    "no size": (
        "services: {a: {mem_limit: much}}",
        "1: services.a.mem_limit: is no size; write one such as 512m",
    ),
    "no duration": (
        "services: {a: {stop_grace_period: soon}}",
        "1: services.a.stop_grace_period: is no duration; write one such as 1m30s",
    ),
    "limits upside down": (
        "services: {a: {ulimits: {nofile: {soft: 2, hard: 1}}}}",
        "1: services.a.ulimits.nofile: has a soft limit above its hard one",
    ),
    "a variable without a name": (
        "services: {a: {environment: ['=x']}}",
        "1: services.a.environment[0]: must be NAME or NAME=VALUE",
    ),
    "no truth": (
        "services: {a: {tty: maybe}}",
        "1: services.a.tty: is text, but must be true or false; leave out the quotes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", list(REFUSED))
def test_is_refused_with_line_path_and_reason(what: str, tmp_path: Path) -> None:
    text, said = REFUSED[what]
    assert refusal(text, tmp_path) == said


def test_a_file_without_services_is_refused(tmp_path: Path) -> None:
    assert refusal("services: {}", tmp_path).endswith("there is no container in it")


def test_an_env_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    said = refusal("services: {a: {env_file: none.env}}", tmp_path)
    assert said == f"can't read {tmp_path / 'none.env'}: No such file or directory"


def test_a_user_of_odd_digits_is_a_name(tmp_path: Path) -> None:
    container = read_text('services: {a: {command: [x], user: "\u00b2"}}', tmp_path)
    assert container.user == "\u00b2"
