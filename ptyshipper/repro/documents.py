"""YAML and JSON with positions: documents whose every field knows its line and its path.

PyYAML's events are put together here rather than by its loader: they are told one by one, so depth and
number are bounded before anything recurses, an alias costs nothing however often it is used, and the line
of each value is kept. Nothing is ever constructed but text, numbers, lists and maps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ptyshipper.errors import UsageError

MAX_BYTES = 4 * 2**20
MAX_NODES = 200_000
MAX_DEPTH = 64
_MAX_SHOWN = 40


_PAIR = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u(d[89ab][\da-f]{2})\\u(d[c-f][\da-f]{2})", re.ASCII | re.IGNORECASE
)


class ManifestError(UsageError):
    """The file says something that can't be; ``FILE:LINE: PATH: what is wrong; what to do``."""

    def __init__(self, file: str, line: int, path: str, what: str) -> None:
        super().__init__(": ".join(part for part in (f"{file}:{line}", path, what) if part))
        self.file = file
        self.line = line
        self.path = path


class _Node:
    """A value: a dict of (key, node), a list of nodes, or a scalar as YAML 1.1 reads it."""

    __slots__ = ("line", "value")

    def __init__(self, value: Any, line: int) -> None:
        self.value = value
        self.line = line


_KINDS = {
    dict: "a map",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "nothing",
}


class Field:
    """A value of a document, and where it stands."""

    def __init__(self, node: _Node, file: str, path: str) -> None:
        self._node = node
        self._file = file
        self.path = path

    @property
    def line(self) -> int:
        return self._node.line

    @property
    def value(self) -> Any:
        """Of a scalar; a map or a list is there to be walked."""
        return self._node.value

    def error(self, what: str) -> ManifestError:
        """To be raised."""
        return ManifestError(self._file, self.line, self.path, what)

    def _is(self, *kinds: type) -> bool:
        return type(self._node.value) in kinds

    def _wrong(self, wanted: str, hint: str = "") -> ManifestError:
        return self.error(f"is {_KINDS[type(self._node.value)]}, but must be {wanted}{hint}")

    def get(self, name: str) -> Field | None:
        """A field of a map; None where it is not there or null."""
        if not self._is(dict):
            raise self._wrong("a map")
        node = self._node.value.get(name)
        if node is None or node.value is None:
            return None
        return Field(node, self._file, f"{self.path}.{name}" if self.path else name)

    def need(self, name: str) -> Field:
        found = self.get(name)
        if found is None:
            raise self.error(f"has no {name}")
        return found

    def at(self, *names: str) -> Field | None:
        """A field of a map in a map."""
        found: Field | None = self
        for name in names:
            if found is None:
                return None
            found = found.get(name)
        return found

    def fields(self) -> Iterator[tuple[str, Field]]:
        """Those of a map that are not null."""
        if not self._is(dict):
            raise self._wrong("a map")
        for name in self._node.value:
            found = self.get(name)
            if found is not None:
                yield name, found

    def names(self) -> list[str]:
        """All of a map's, also those that hold nothing."""
        if not self._is(dict):
            raise self._wrong("a map")
        return list(self._node.value)

    def items(self) -> list[Field]:
        """The items of a list."""
        if not self._is(list):
            raise self._wrong("a list")
        nodes = enumerate(self._node.value)
        return [Field(node, self._file, f"{self.path}[{at}]") for at, node in nodes]

    def list_of(self, name: str) -> list[Field]:
        """The items of a list that may be missing."""
        found = self.get(name)
        return found.items() if found else []

    def is_list(self) -> bool:
        return self._is(list)

    def is_map(self) -> bool:
        return self._is(dict)

    def text(self) -> str:
        """Raises ManifestError where YAML makes something else of it, as a Kubernetes server would."""
        if not self._is(str):
            raise self._wrong("text", "; put it in quotes" if not self._is(dict, list) else "")
        if "\0" in self._node.value:
            raise self.error("has a NUL character, which no process can be given")
        value: str = self._node.value
        return value

    def scalar_text(self) -> str:
        """Text, or what stands for a number or a truth value: compose takes them in an environment."""
        if self._is(bool):
            return "true" if self._node.value else "false"
        if self._is(int, float):
            return str(self._node.value)
        return self.text()

    def texts(self) -> tuple[str, ...]:
        return tuple(item.text() for item in self.items())

    def truth(self) -> bool:
        if not self._is(bool):
            raise self._wrong("true or false", "; leave out the quotes" if self._is(str) else "")
        value: bool = self._node.value
        return value

    def whole(self, least: int = 0, most: int = 2**31 - 1) -> int:
        if not self._is(int):
            raise self._wrong("a whole number", "; leave out the quotes" if self._is(str) else "")
        value: int = self._node.value
        if not least <= value <= most:
            said = value if abs(value) < 2**63 else "beyond all bounds"
            raise self.error(f"is {said}, but must lie between {least} and {most}")
        return value

    def shown(self) -> str:
        """A scalar, short enough for a line."""
        text = ascii(str(self._node.value))[1:-1]
        return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


def read(text: str, file: str) -> list[Field]:
    """The documents of a file, YAML or JSON.

    Raises:
        ManifestError: it is neither, or beyond the bounds.
        ModuleNotFoundError: PyYAML is not installed.
    """
    import yaml

    if len(text) > MAX_BYTES:
        raise ManifestError(file, 1, "", f"is larger than {MAX_BYTES >> 20} MiB")
    if text.lstrip()[:1] in ("{", "["):
        text = _json_as_yaml(text)
    try:
        roots = _Builder(file).build(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ManifestError(file, line, "", f"is neither YAML nor JSON: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        line = before.count("\n") + 1
        raise ManifestError(file, line, "", f"is neither YAML nor JSON: {error.reason}") from None
    except yaml.YAMLError as error:
        raise ManifestError(file, 1, "", f"is neither YAML nor JSON: {error}") from None
    return [Field(node, file, "") for node in roots if node.value is not None]


def _json_as_yaml(text: str) -> str:
    """JSON that YAML takes as well.

    It refuses tabs, which JSON has between its values alone, and characters that are written in halves.
    """
    return _PAIR.sub(_joined, text.replace("\t", " "))


def _joined(halves: re.Match[str]) -> str:
    high, low = (int(half, 16) for half in halves.group(2, 3))
    return f"{halves[1]}{chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))}"


class _Builder:
    """Puts events together, without recursion."""

    def __init__(self, file: str) -> None:
        import yaml

        self._file = file
        self._count = 0
        self._resolver: Any = yaml.resolver.Resolver()

    def build(self, text: str) -> list[_Node]:
        import yaml

        roots: list[_Node] = []
        anchors: dict[str, _Node] = {}
        open_nodes: list[tuple[_Node, list[_Node]]] = []
        # The C parser reads the same in a tenth of the time; a build of PyYAML may lack it.
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.DocumentStartEvent):
                anchors = {}
                continue
            if isinstance(event, yaml.CollectionEndEvent):
                node, children = open_nodes.pop()
                self._fill(node, children)
                continue
            if not isinstance(event, yaml.NodeEvent):
                continue
            line = event.start_mark.line + 1  # type: ignore[union-attr]
            node = self._node(event, line, anchors)
            if open_nodes:
                open_nodes[-1][1].append(node)
            else:
                roots.append(node)
            if isinstance(event, yaml.CollectionStartEvent):
                if len(open_nodes) >= MAX_DEPTH:
                    raise ManifestError(self._file, line, "", f"is nested deeper than {MAX_DEPTH}")
                open_nodes.append((node, []))
        return roots

    def _node(self, event: Any, line: int, anchors: dict[str, _Node]) -> _Node:
        import yaml

        self._count += 1
        if self._count > MAX_NODES:
            raise ManifestError(self._file, line, "", f"has more than {MAX_NODES} values")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise ManifestError(self._file, line, "", f"*{event.anchor} stands for nothing")
            return anchors[event.anchor]
        if isinstance(event, yaml.ScalarEvent):
            node = _Node(self._scalar(event, line), line)
        else:
            node = _Node({} if isinstance(event, yaml.MappingStartEvent) else [], line)
        if event.anchor:
            anchors[event.anchor] = node
        return node

    def _scalar(self, event: Any, line: int) -> Any:
        """As YAML 1.1 reads it, which Kubernetes' tools and compose do for the most part."""
        import yaml

        tag = event.tag
        if tag in (None, "!"):
            # Plain ones are looked at, quoted ones are text.
            tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
        value = event.value
        match tag.rpartition(":")[2]:
            case "null":
                return None
            case "bool":
                return value.lower() in ("y", "yes", "true", "on")
            case "int":
                return self._number(value, line)
            case "float":
                try:
                    return float(
                        value.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan")
                    )
                except ValueError:
                    return value  # in base 60, which nobody means
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise ManifestError(self._file, line, "", "has half a character")
        return value

    def _number(self, text: str, line: int) -> int | str:
        if len(text) > 100:
            raise ManifestError(self._file, line, "", "has a number of more than 100 digits")
        plain = text.replace("_", "")
        try:
            if plain.lstrip("+-").startswith("0") and plain.lstrip("+-").isdigit():
                return int(plain, 8)
            return int(plain, 0)
        except ValueError:
            return text  # in base 60

    def _fill(self, node: _Node, children: list[_Node]) -> None:
        if isinstance(node.value, list):
            node.value.extend(children)
            return
        merged: dict[str, _Node] = {}
        for key, value in zip(children[::2], children[1::2], strict=True):
            if isinstance(key.value, (dict, list)):
                raise ManifestError(self._file, key.line, "", "has a key that is no text")
            name = "null" if key.value is None else str(key.value)
            if name == "<<":
                for part in value.value if isinstance(value.value, list) else [value]:
                    if not isinstance(part.value, dict):
                        raise ManifestError(self._file, key.line, "<<", "merges what is no map")
                    self._count += len(part.value)
                    if self._count > MAX_NODES:
                        raise ManifestError(self._file, key.line, "<<", "merges too much")
                    for inner, inner_value in part.value.items():
                        merged.setdefault(inner, inner_value)
            elif name in node.value:
                raise ManifestError(self._file, key.line, name, "stands here twice")
            else:
                node.value[name] = value
        for name, value in merged.items():
            node.value.setdefault(name, value)
