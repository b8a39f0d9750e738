"""A Kubernetes container's variables: what the kubelet would make of ``envFrom`` and ``env``.

In its order (kubelet_pods.go, makeEnvironmentVariables): what comes from whole ConfigMaps and Secrets
first, then each of ``env``, whose ``$(VAR)`` may speak of all before it. What the file does not hold is
missing, unless it was given by whoever asks.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from fractions import Fraction

from ptyshipper.repro.container import Missing, Note
from ptyshipper.repro.documents import Field
from ptyshipper.repro.expansion import expand
from ptyshipper.repro.quantity import quantity
from ptyshipper.repro.wrapping import is_private

Downward = Callable[[str], str | None]
"""What a fieldRef's path stands for, or None where only the cluster knows."""


class Objects:
    """The ConfigMaps and Secrets that stand in the same file, by kind and name."""

    def __init__(self) -> None:
        self._data: dict[tuple[str, str], dict[str, str]] = {}

    def add(self, document: Field, kind: str) -> None:
        name = document.at("metadata", "name")
        if name is None:
            return
        data: dict[str, str] = {}
        for section in ("data", "stringData"):
            held = document.get(section)
            for key, value in held.fields() if held else ():
                text = value.text()
                if kind == "Secret" and section == "data":
                    text = _decoded(value, text)
                data[key] = text
        self._data[kind, name.text()] = data

    def get(self, kind: str, name: str) -> dict[str, str] | None:
        return self._data.get((kind, name))


def _decoded(field: Field, text: str) -> str:
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise field.error("is not base64; plain text belongs into stringData") from None
    try:
        decoded = raw.decode()
    except UnicodeDecodeError:
        return ""  # a file, as secrets hold too, and no variable
    return decoded if "\0" not in decoded else ""


class Variables:
    """Collects the variables of one container.

    Args:
        given: values from elsewhere; they win, and are what ``$(VAR)`` stands for.
    """

    def __init__(self, objects: Objects, given: Mapping[str, str], downward: Downward) -> None:
        self._objects = objects
        self._given = given
        self._downward = downward
        self.values: dict[str, str] = {}
        self.missing: list[Missing] = []
        self.notes: list[Note] = []

    def read(self, container: Field) -> None:
        for source in container.list_of("envFrom"):
            self._from_object(source)
        for entry in container.list_of("env"):
            self._entry(entry, container)

    def _set(self, name: str, value: str) -> None:
        self.values[name] = self._given.get(name, value)
        self.missing = [one for one in self.missing if one.name != name]

    def _miss(self, name: str, source: str) -> None:
        if name in self._given:
            self._set(name, "")
        else:
            self.values.pop(name, None)
            self.missing = [one for one in self.missing if one.name != name]
            self.missing.append(Missing(name, source))

    def _from_object(self, source: Field) -> None:
        prefix = source.get("prefix")
        before = prefix.text() if prefix else ""
        for ref, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            reference = source.get(ref)
            if reference is None:
                continue
            name = reference.need("name").text()
            data = self._objects.get(kind, name)
            if data is None:
                self.notes.append(
                    Note(
                        source.path,
                        f"{kind} {name} is not in the file; give its variables by --env-file",
                    )
                )
                return
            for key, value in data.items():
                self._set(before + key, value)
            return
        raise source.error("has neither configMapRef nor secretRef")

    def _entry(self, entry: Field, container: Field) -> None:
        name_field = entry.need("name")
        name = name_field.text()
        if not name or "=" in name:
            raise name_field.error("is no name of a variable; it must not be empty or have a '='")
        value, source = entry.get("value"), entry.get("valueFrom")
        if value is not None and source is not None and value.value != "":
            raise entry.error("has a value and a valueFrom; keep one of them")
        if is_private(name):
            return
        if source is None:
            self._set(name, expand(value.text(), self.values) if value else "")
        else:
            self._from_source(name, source, container)

    def _from_source(self, name: str, source: Field, container: Field) -> None:
        kinds = source.names()
        known = [kind for kind in kinds if kind in _SOURCES]
        if len(kinds) != 1 or not known:
            raise source.error(f"must have one of {', '.join(_SOURCES)}")
        reference = source.need(known[0])
        found, described = _SOURCES[known[0]](self, reference, container)
        if found is None:
            self._miss(name, described)
        else:
            self._set(name, found)

    def _key_of(self, kind: str, reference: Field) -> tuple[str | None, str]:
        name, key = reference.need("name").text(), reference.need("key").text()
        data = self._objects.get(kind, name)
        optional = reference.get("optional")
        suffix = ", optional" if optional is not None and optional.truth() else ""
        return None if data is None else data.get(key), f"{kind} {name}, key {key}{suffix}"

    def _config_map(self, reference: Field, container: Field) -> tuple[str | None, str]:
        return self._key_of("ConfigMap", reference)

    def _secret(self, reference: Field, container: Field) -> tuple[str | None, str]:
        return self._key_of("Secret", reference)

    def _field(self, reference: Field, container: Field) -> tuple[str | None, str]:
        path = reference.need("fieldPath").text()
        return self._downward(path), f"field {path} of the pod"

    def _resource(self, reference: Field, container: Field) -> tuple[str | None, str]:
        """Rounded up to whole divisors (resource/helpers.go)."""
        resource = reference.need("resource")
        other = reference.get("containerName")
        described = f"resource {resource.shown()}"
        section, _, what = resource.text().partition(".")
        if other is not None and other.text() != container.need("name").text():
            return None, f"{described} of container {other.shown()}"
        amount = container.at("resources", section, what)
        if amount is None and section == "requests":
            amount = container.at("resources", "limits", what)  # the server's default
        if amount is None:
            return None, f"{described}, of which the node decides"
        divisor_field = reference.get("divisor")
        divisor = quantity(divisor_field) if divisor_field else Fraction(0)
        # The smallest divisor of a cpu is a thousandth, of all else one; 0 stands for 1.
        divisor = divisor or Fraction(1)
        return str(math.ceil(quantity(amount) / divisor)), described

    def _file(self, reference: Field, container: Field) -> tuple[str | None, str]:
        return None, f"a file of a volume, key {reference.need('key').text()}"


_SOURCES: dict[str, Callable[[Variables, Field, Field], tuple[str | None, str]]] = {
    "configMapKeyRef": Variables._config_map,
    "secretKeyRef": Variables._secret,
    "fieldRef": Variables._field,
    "resourceFieldRef": Variables._resource,
    "fileKeyRef": Variables._file,
}
