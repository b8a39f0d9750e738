"""From a file to the container that is meant."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ptyshipper.errors import UsageError
from ptyshipper.repro import compose, image, kubernetes
from ptyshipper.repro.container import Container
from ptyshipper.repro.documents import MAX_BYTES, Field, ManifestError, read

STDIN = "-"


def read_file(path: str) -> list[Field]:
    """The documents of a file, or of stdin.

    Raises:
        UsageError: it can't be read, or PyYAML is not there.
        ManifestError: it is neither YAML nor JSON.
    """
    name = "stdin" if path == STDIN else path
    try:
        if path == STDIN:
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"repro: can't read {name}: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ManifestError(name, line, "", "is not UTF-8") from None
    try:
        documents = read(text, name)
    except ModuleNotFoundError as error:
        if error.name != "yaml":
            raise
        raise UsageError(
            "repro needs PyYAML; install it with: pip install 'ptyshipper[repro]'"
        ) from None
    if not documents:
        raise ManifestError(name, 1, "", "is empty")
    return documents


def load(path: str, name: str | None, given: Mapping[str, str]) -> Container:
    """The container that the file describes, the named one where it describes several.

    Raises:
        UsageError: none is there, several are and none is named, or the file is wrong.
    """
    documents = read_file(path)
    first = documents[0]
    if compose.is_compose(first):
        folder = Path.cwd() if path == STDIN else Path(path).parent
        chosen = _choose(path, name, compose.services(first), compose.services(first))
        around = compose.Surroundings(folder, given, os.environ)
        return compose.container(first, chosen, around).given(given)
    if kubernetes.is_kubernetes(first):
        return _kubernetes(path, documents, name, given).given(given)
    if image.is_image(first):
        described = image.containers(first)
        names = [one.name for one in described]
        return described[names.index(_choose(path, name, names, names))].given(given)
    raise first.error(
        "is none of what is known: a Kubernetes manifest has apiVersion and kind, a compose file has"
        " services, 'skopeo inspect --config' has config"
    )


def _kubernetes(
    path: str, documents: list[Field], name: str | None, given: Mapping[str, str]
) -> Container:
    for document in documents:
        if not kubernetes.is_kubernetes(document):
            raise document.error("has no apiVersion and kind, as every document of a manifest has")
    manifest = kubernetes.Manifest(documents)
    candidates = list(manifest.candidates())
    if not candidates:
        kinds = ", ".join(dict.fromkeys(kind[:40] for kind in manifest.kinds))
        raise documents[0].error(
            f"there is no container in {kinds}; kinds that have some: {', '.join(kubernetes.POD_SPECS)}"
        )
    full = [f"{candidate.pod.name}/{candidate.name}" for candidate in candidates]
    short = [candidate.name for candidate in candidates]
    names = short if len(set(short)) == len(short) else full
    if name in full:
        names = full
    main = [shown for shown, candidate in zip(names, candidates, strict=True) if candidate.is_main]
    chosen = _choose(path, name, names, main)
    return kubernetes.container(candidates[names.index(chosen)], manifest, given)


def _choose(path: str, name: str | None, names: Sequence[str], main: Sequence[str]) -> str:
    """The one that is named, or the only one that needs no naming."""
    shown = ", ".join(ascii(one)[1:-1] for one in names)
    file = "stdin" if path == STDIN else path
    if name is None:
        if len(main) == 1:
            return main[0]
        if not names:
            raise UsageError(f"{file}: there is no container in it")
        raise UsageError(f"{file}: has several containers; name one by --container: {shown}")
    if names.count(name) == 1:
        return name
    if name in names:
        raise UsageError(f"{file}: several are called {name}; containers: {shown}")
    raise UsageError(f"{file}: has no container {name}; name one of: {shown}")
