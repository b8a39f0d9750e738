"""The page under the addresses of its views, and ``/assets/{name}``: the same for everybody.

It holds nothing that is not in the package. What it shows it asks the API for, which knows who may read.
"""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from ptyshipper.backend.viewers.answers import Endpoint, refusal
from ptyshipper.backend.viewers.openapi import ERROR, Answer, Operation
from ptyshipper.backend.viewers.parameters import Parameter, integer, text
from ptyshipper.backend.viewers.schemas import ID

BUILT = Path(__file__).parent / "built"
PAGE_NAME = "index.html"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
_APP = integer("app", "the app", 1 - 2**53, 2**53 - 1, place="path")  # what a browser can count
_VIEWS: dict[str, tuple[str, tuple[Parameter, ...]]] = {
    "/": ("sessions", ()),
    "/sessions/{id}": ("what a session printed", (ID,)),
    "/sessions/{id}/terminal": ("a session's terminal", (ID,)),
    "/apps/{app}": ("what an app's pods printed", (_APP,)),
}
"""``page/src/router.ts`` tells them apart. Whether there is such a session is for the API to say, which
knows who asks."""
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",  # the player's terminal is WebAssembly
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_FIXED = {
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
}
_FOR_EVER = "public, max-age=31536000, immutable"
"""The name of an asset changes with what is in it."""
_NOT_BUILT = (
    b"<!doctype html><title>ptyshipper</title>"
    b"<p>The page is not built: run 'make page' in the checkout, then start the backend again.\n"
)


class File(NamedTuple):
    """One of the built page, as it is sent."""

    body: bytes
    packed: bytes
    media_type: str
    cache: str
    etag: str


def read_files(directory: Path) -> dict[str, File]:
    """All of them, by name; a page that says how to build it where it was not."""
    files = {
        path.name: _file(
            path.name, path.read_bytes(), path.with_name(f"{path.name}.gz").read_bytes()
        )
        for path in sorted(directory.glob("*"))
        if path.suffix in _MEDIA_TYPES
    }
    return files if PAGE_NAME in files else {PAGE_NAME: _file(PAGE_NAME, _NOT_BUILT, b"")}


def operations(files: dict[str, File]) -> list[Operation]:
    """The page, and what it is made of."""

    def view(path: str) -> Operation:
        what, parameters = _VIEWS[path]

        async def page(request: Request) -> Response:
            # A person gets the page all the same, which says that there is none.
            is_there = all(_can_be(each, request.path_params[each.name]) for each in parameters)
            status = HTTPStatus.OK if is_there else HTTPStatus.NOT_FOUND
            return _sent(files[PAGE_NAME], request, status)

        missing = {404: Answer("there can be none", _MEDIA_TYPES[".html"])} if parameters else {}
        return _open(path, f"The page: {what}", page, {**shown, **missing}, *parameters)

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        found = None if name == PAGE_NAME else files.get(name)
        return refusal(HTTPStatus.NOT_FOUND) if found is None else _sent(found, request)

    shown = {
        200: Answer("the page", _MEDIA_TYPES[".html"], headers=("etag",)),
        304: Answer("it is as it was", None),
    }
    sent = {
        200: Answer("the file", "*/*", headers=("etag",)),
        304: Answer("it is as it was", None),
        404: Answer("the page has no such file", schema=ERROR),
    }
    name = text("name", "the file", 255, place="path")
    return [
        *map(view, _VIEWS),
        _open("/assets/{name}", "What the page is made of", asset, sent, name),
    ]


def _open(
    path: str, summary: str, endpoint: Endpoint, answers: dict[int, Answer], *parameters: Any
) -> Operation:
    return Operation(path, summary, endpoint, answers, parameters, security=())


def _file(name: str, body: bytes, packed: bytes) -> File:
    cache = "no-cache" if name == PAGE_NAME else _FOR_EVER
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    return File(body, packed, _MEDIA_TYPES[Path(name).suffix], cache, etag)


def _can_be(parameter: Parameter, given: str) -> bool:
    try:
        parameter.read(given)
    except ValueError:
        return False
    return True


def _sent(file: File, request: Request, status: HTTPStatus = HTTPStatus.OK) -> Response:
    headers = {**_FIXED, "cache-control": file.cache, "etag": file.etag}
    if status == HTTPStatus.OK and file.etag in re.split(
        r"\s*,\s*", request.headers.get("if-none-match", "").replace("W/", "")
    ):
        return Response(status_code=HTTPStatus.NOT_MODIFIED.value, headers=headers)
    body = file.body
    if file.packed and re.search(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", _encodings(request)):
        body = file.packed
        headers["content-encoding"] = "gzip"
    return Response(body, status.value, headers, file.media_type)


def _encodings(request: Request) -> str:
    return request.headers.get("accept-encoding", "")
