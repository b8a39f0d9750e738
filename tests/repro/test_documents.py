"""YAML and JSON with positions, and what is hostile in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptyshipper.errors import UsageError
from ptyshipper.repro import documents
from ptyshipper.repro.documents import Field, ManifestError, read
from tests.repro.reading import MANIFESTS, pod, read_text, refusal


def plain(field: Field | None) -> object:
    """A field without its positions."""
    if field is None:
        return None
    if field.is_map():
        return {name: plain(field.get(name)) for name in field.names()}
    if field.is_list():
        return [plain(item) for item in field.items()]
    return field.value


def test_every_value_knows_its_line_and_path() -> None:
    (document,) = read("a:\n  b:\n  - c\n  - d: 1\n", "f")
    field = document.need("a").need("b").items()[1].need("d")
    assert (field.line, field.path, field.value) == (4, "a.b[1].d", 1)


def test_scalars_are_what_kubernetes_takes_them_for() -> None:
    text = (
        "[1, 0x1f, 0o17, 017, 1_000, 1.5, 1e3, .inf, yes, Off, true, null, ~, '1', \"yes\", 12:30,"
        " 2001-01-01, '']"
    )
    (document,) = read(text, "f")
    # fmt: off
    assert plain(document) == [
        1, 31, "0o17", 15, 1000, 1.5, "1e3", float("inf"), True, False, True, None, None, "1", "yes",
        "12:30", "2001-01-01", "",
    ]
    # fmt: on


def test_merges_and_anchors() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {z: 3}\nc: {<<: [*a, *b], y: 4}\nd: *a\n"
    (document,) = read(text, "f")
    assert plain(document.get("c")) == {"y": 4, "x": 1, "z": 3}
    assert plain(document.get("d")) == {"x": 1, "y": 2}


def complaint(text: str, directory: Path) -> str:
    """What is said of it; anything but an error of ours fails the test."""
    try:
        read_text(text, directory)
    except UsageError as error:
        return str(error)
    return ""


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)


def test_a_bomb_of_aliases_costs_what_it_takes_to_read_it() -> None:
    (document,) = read(BOMB, "f")
    assert document.need("a29").line == 30


def test_merges_that_double_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_NODES", 1000)
    wide = "".join(f"k{n}: 1, " for n in range(300))
    text = f"a: &a {{{wide}}}\n" + "".join(f"b{n}: {{<<: *a}}\n" for n in range(10))
    with pytest.raises(ManifestError, match=r"^f:\d+: <<: merges too much$"):
        read(text, "f")


REFUSED = {
    "deep": ("[" * 5000 + "]" * 5000, "nest"),
    "deep, by lines": ("".join(f"{' ' * n}a:\n" for n in range(100)), "65: is nested deeper than 64"),
    "an alias of nothing": ("a: 1\nb: *c\n", "2: *c stands for nothing"),
    "a key twice": ("a: 1\nb: 2\na: 3\n", "3: a: stands here twice"),
    "a key that is a list": ("? [a]\n: b\n", "1: has a key that is no text"),
    "an open list": ("a: [1\nb: 2\n", "is neither YAML nor JSON"),
    "a tab": ("a:\n\tb: 1\n", "2: is neither YAML nor JSON: found character that cannot start any token"),
    "a control character": ("a: 1\nb: \x01\n", "control characters are not allowed"),
    "nothing": ("# nothing\n", "1: is empty"),
    "a long number": ("apiVersion: v1\nkind: 1" + "0" * 200, "2: has a number of more than 100 digits"),
    "a text": ("hello", "1: is none of what is known"),
    "a list": ("[1]", "1: is none of what is known"),
}  # fmt: skip


@pytest.mark.parametrize("what", list(REFUSED))
def test_is_refused(what: str, tmp_path: Path) -> None:
    text, said = REFUSED[what]
    assert said in refusal(text, tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a: 1\nb: \xff\n")
    from ptyshipper.repro.load import load

    with pytest.raises(ManifestError, match=r":2: is not UTF-8$"):
        load(str(path), None, {})


def test_too_large_a_file_is_refused(tmp_path: Path) -> None:
    assert "is larger than 4 MiB" in refusal("a" * (4 * 2**20 + 1), tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(value=st.lists(json_values, max_size=4), indent=st.sampled_from([None, 2, "\t"]))
def test_json_is_read_as_json(value: object, indent: int | str | None) -> None:
    (document,) = read(json.dumps({"v": value}, indent=indent), "f")
    found = plain(document.get("v")) if isinstance(value, list) else None
    # A null in a map is as good as none, and "<<" merges.
    if "<<" not in json.dumps(value):
        assert found == value


SYNTAX = "\x00{}[]:,-&*!|>'\"%@`#\n\t $()<"
SEEDS = [path.read_text() for path in sorted(MANIFESTS.iterdir())] + [pod(), BOMB]


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.sampled_from(SEEDS),
    cuts=st.lists(
        st.tuples(
            st.floats(0, 1),
            st.integers(0, 40),
            st.text(SYNTAX, max_size=6),
        ),
        max_size=6,
    ),
)
def test_nothing_that_stands_in_a_file_is_more_than_one_line_of_complaint(
    seed: str, cuts: list[tuple[float, int, str]], tmp_path: Path
) -> None:
    """Real manifests, cut and patched: either a container, or one error of ours."""
    text = seed
    for where, length, patch in cuts:
        at = int(where * len(text))
        text = text[:at] + patch + text[at + length :]
    assert "\n" not in complaint(text, tmp_path)


nodes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_field_of_another_kind_is_more_than_one_line_of_complaint(
    data: st.DataObject, tmp_path: Path
) -> None:
    """A manifest that has it all, with one value replaced by any other."""
    import yaml

    files = ["pod.yaml", "compose.yaml", "container.json"]
    text = (MANIFESTS / data.draw(st.sampled_from(files))).read_text()
    loaded = list(yaml.safe_load_all(text))
    places: list[tuple[object, object]] = []
    waiting: list[object] = [*loaded]
    while waiting:
        node = waiting.pop()
        keys = (
            node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        )
        for key in keys:
            places.append((node, key))
            waiting.append(node[key])  # type: ignore[index]
    node, key = data.draw(st.sampled_from(places))
    node[key] = data.draw(nodes)  # type: ignore[index]
    text = "\n---\n".join(json.dumps(one) for one in loaded)
    assert "\n" not in complaint(text, tmp_path)
