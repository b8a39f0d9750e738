"""What is said of a container: what is reproduced, and what cannot be."""

from __future__ import annotations

import json

from ptyshipper.repro.container import Container, Missing, Note
from ptyshipper.repro.host import host_plan
from ptyshipper.repro.switches import Switches
from ptyshipper.repro.table import Row, Situation, Verdict, as_json, as_text, rows
from tests.repro.reading import read


def table(container: Container, switches: Switches | None = None) -> dict[str, Row]:
    """On this host, by what each row is about."""
    switches = switches or Switches()
    situation = Situation(
        container, switches, "on this host", host_plan(container, switches), has_limits=False
    )
    return {row.what: row for row in rows(situation)}


def test_nothing_of_the_file_is_passed_over() -> None:
    """Every missing variable and every note is a row, beside those of what is taken over."""
    container = read("pod.yaml")
    found = table(container)
    for name, _ in container.missing:
        assert found[name].verdict is Verdict.NO
        assert "--env" in found[name].why
    for field, reason in container.notes:
        assert (found[field].verdict, found[field].why) == (Verdict.NO, reason)
    assert found["command"].verdict is Verdict.YES
    assert found["memory"].verdict is Verdict.PARTLY
    assert found["processors"].verdict is Verdict.NO
    assert found["directory"].verdict in (Verdict.YES, Verdict.NO)
    assert found["stop"].value == "preStop (/bin/drain --now), SIGQUIT, 12 s, SIGKILL"


def test_in_an_image_more_is_reproduced() -> None:
    situation = Situation(
        read("pod.yaml"), Switches(), "podman", None, has_limits=True, is_inside=True
    )
    found = {row.what: row for row in rows(situation)}
    assert (
        found["files"].verdict
        is found["memory"].verdict
        is found["processors"].verdict
        is Verdict.YES
    )
    assert found["process 1"].verdict is Verdict.NO
    assert "--no-wrapper" in found["process 1"].why


def test_what_is_switched_off_says_so() -> None:
    off = Switches.from_flags(frozenset(Switches.__dataclass_fields__))
    found = table(read("pod.yaml"), off)
    for what in ("environment", "terminal", "user", "capabilities", "root", "process 1", "memory"):
        assert found[what].verdict is Verdict.OFF


def test_what_the_image_would_say_is_not_known_on_the_host() -> None:
    found = table(Container("c", args=("run",)))
    assert found["command"].verdict is Verdict.PARTLY
    assert found["user"].verdict in (Verdict.PARTLY, Verdict.NO)


def test_a_name_that_is_hostile_does_nothing_to_the_terminal() -> None:
    container = Container(
        "c",
        command=("\x1b[2J",),
        missing=(Missing("\x1b]0;x\x07", "y" * 500),),
        notes=(Note("a\nb", "\x9b31m"),),
    )
    text = as_text(list(table(container).values()), colours=False)
    assert all(line.isprintable() for line in text.split("\n"))
    assert max(map(len, text.split("\n"))) < 300


def test_json_has_all_of_it() -> None:
    row = Row("user", "1000", Verdict.PARTLY, "why")
    said = json.loads(json.dumps(as_json(row)))
    assert said == {"what": "user", "value": "1000", "verdict": "partly", "why": "why"}


def test_colours_are_for_who_wants_them() -> None:
    found = [Row("user", "1000", Verdict.NO)]
    assert "\x1b[31m" in as_text(found, colours=True)
    assert "\x1b" not in as_text(found, colours=False)
