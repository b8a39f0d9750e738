"""The HTTP API as a table of operations: what is served is what is described. Pure, but for the route.

``document`` makes OpenAPI 3.1 of the same table of which ``routes`` makes the routes, so that none can be
served without being described.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ptyshipper import __version__
from ptyshipper.backend.access import Access, View
from ptyshipper.backend.viewers.answers import Endpoint, answer, guarded
from ptyshipper.backend.viewers.parameters import Parameter, read_all

OPENAPI_PATH = "/api/openapi.json"

Schema = dict[str, Any]

ERROR: Schema = {
    "type": "object",
    "required": ["status", "error"],
    "properties": {"status": {"type": "integer"}, "error": {"type": "string"}},
    "additionalProperties": False,
}


class Answer(NamedTuple):
    """What comes with a status; ``schema`` None: nothing is said about the body."""

    description: str
    media_type: str | None = "application/json"
    schema: Schema | None = None
    headers: tuple[str, ...] = ()


class Operation(NamedTuple):
    """One method of one path.

    ``body`` describes what a request has to bring. ``security`` names schemes of ``_SECURITY``; empty:
    anybody may ask.
    """

    path: str
    summary: str
    endpoint: Endpoint
    answers: dict[int, Answer]
    parameters: tuple[Parameter, ...] = ()
    method: str = "GET"
    body: Answer | None = None
    security: tuple[str, ...] = ("view",)


Asked = Callable[[Request, View, dict[str, Any]], Awaitable[Response]]
"""A handler that gets its parameters read."""

_SECURITY: dict[str, Schema] = {
    "view": {"type": "http", "scheme": "bearer", "description": "a view token"},
    "ingest": {"type": "http", "scheme": "bearer", "description": "an ingest token"},
}

_REFUSALS = {
    HTTPStatus.BAD_REQUEST: "a parameter can't be what it is",
    HTTPStatus.UNAUTHORIZED: "no token",
    HTTPStatus.FORBIDDEN: "a wrong token",
    HTTPStatus.SERVICE_UNAVAILABLE: "the store can't be read at the moment",
}
_NOT_FOUND = "there is no such session, or it is not for this reader"


def refused(*statuses: HTTPStatus) -> dict[int, Answer]:
    """The answers of these statuses, in the one shape of an error."""
    return {
        status.value: Answer(_REFUSALS.get(status, status.phrase), schema=ERROR)
        for status in statuses
    }


def reading(
    access: Access,
    path: str,
    summary: str,
    handler: Asked,
    answers: dict[int, Answer],
    parameters: tuple[Parameter, ...] = (),
) -> Operation:
    """A GET for readers: who may not, and what can't be read, is refused before ``handler`` is asked."""

    async def handle(request: Request, view: View) -> Response:
        return await handler(request, view, read_all(parameters, request.query_params))

    answers = {**answers, **refused(*_REFUSALS)}
    if "{" in path:
        answers[HTTPStatus.NOT_FOUND.value] = Answer(_NOT_FOUND, schema=ERROR)
    return Operation(path, summary, guarded(access, handle), answers, parameters)


def routes(operations: Sequence[Operation]) -> list[Route]:
    """A route for each, and one for the document that describes all of them."""

    async def described(_: Request) -> Response:
        return answer(document(every))

    own = Operation(
        OPENAPI_PATH,
        "This description",
        described,
        {200: Answer("OpenAPI 3.1", schema={"type": "object"})},
        security=(),
    )
    every = [*operations, own]
    return [Route(each.path, each.endpoint, methods=[each.method]) for each in every]


def document(operations: Sequence[Operation]) -> Schema:
    """OpenAPI 3.1."""
    paths = dict[str, Schema]()
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _described(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ptyshipper",
            "version": __version__,
            "description": "Sessions of wrapped programs, and what they printed. Times with _us are"
            " microseconds since 1970.",
        },
        "paths": paths,
        "components": {"securitySchemes": _SECURITY},
    }


def _described(operation: Operation) -> Schema:
    found: Schema = {
        "summary": operation.summary,
        "responses": {
            str(status): _content(each) for status, each in sorted(operation.answers.items())
        },
    }
    if operation.parameters:
        found["parameters"] = [
            {
                "name": each.name,
                "in": each.place,
                "required": each.is_required or each.place == "path",
                "description": each.description,
                "schema": each.schema,
            }
            for each in operation.parameters
        ]
    if operation.body is not None:
        found["requestBody"] = {"required": True, **_content(operation.body)}
    if operation.security:
        found["security"] = [{name: []} for name in operation.security]
    return found


def _content(each: Answer) -> Schema:
    found: Schema = {"description": each.description}
    if each.media_type is not None:
        schema = {} if each.schema is None else {"schema": each.schema}
        found["content"] = {each.media_type: schema}
    if each.headers:
        found["headers"] = {name: {"schema": {"type": "string"}} for name in each.headers}
    return found
