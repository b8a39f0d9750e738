"""The description of the API: nothing is served without it, and what it says is so."""

from __future__ import annotations

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.requests import Request
from starlette.responses import Response

from ptyshipper import records
from ptyshipper.backend.viewers.openapi import Answer, Operation, document, routes
from ptyshipper.backend.viewers.parameters import integer
from ptyshipper.records import GapCause, Kind, encode
from ptyshipper.wire.paths import INGEST_PATH
from tests.support.server import Server, Shipper, exit_record, output, start_record

EXAMPLES = 20
"""Of every operation, well-formed and ill-formed ones each."""
ENDLESS_PATHS = {
    "/api/app/{appId}/logs",
    "/api/app/{appId}/lines/live",
    "/api/sessions/live",
}
"""Streams that go on for as long as there is a reader: asked well, they are other tests' matter."""


async def nothing(_: Request) -> Response:
    return Response()


def test_every_route_is_described() -> None:
    """Routes are made of the table, the one of the description too; there is no other way to make one."""
    made = routes(
        [
            Operation("/a/{id}", "A", nothing, {}),
            Operation("/a/{id}", "B", nothing, {}, method="POST"),
        ]
    )
    assert [(route.path, route.methods) for route in made] == [
        ("/a/{id}", {"GET", "HEAD"}),
        ("/a/{id}", {"POST"}),
        ("/api/openapi.json", {"GET", "HEAD"}),
    ]


def test_operation_is_described_as_it_is() -> None:
    parameters = (integer("n", "a number", 1, 3, default=2),)
    operation = Operation(
        "/a", "A", nothing, {204: Answer("nothing", None)}, parameters, security=()
    )
    assert document([operation])["paths"] == {
        "/a": {
            "get": {
                "summary": "A",
                "responses": {"204": {"description": "nothing"}},
                "parameters": [
                    {
                        "name": "n",
                        "in": "query",
                        "required": False,
                        "description": "a number",
                        "schema": {"type": "integer", "minimum": 1, "maximum": 3, "default": 2},
                    }
                ],
            }
        }
    }


def test_description_needs_no_token(server: Server) -> None:
    status, described = server.get("/api/openapi.json", token="")
    assert (status, described["openapi"]) == (200, "3.1.0")
    assert "/api/sessions/{id}/lines" in described["paths"]


@pytest.fixture(scope="module")
def sessions(server: Server) -> list[str]:
    """Ended ones, so that no stream of them goes on for ever: one of every kind of record, one empty."""
    made = list[str]()
    for parts in (
        [
            start_record() + output(b"one\ntwo"),
            output(b"\x1b[31mthree\r\n", Kind.TTY) + encode(Kind.RESIZED, 5, records.resized(9, 9)),
            encode(Kind.GAP, 6, records.gap(33, 30, GapCause.CORRUPT)),
            encode(Kind.SIGNALLED, 7, records.signalled(15)) + exit_record(0, 9),
        ],
        [exit_record()],
    ):
        shipper = Shipper(server, os.urandom(16), deployment_id=None)
        for part in parts:
            shipper.ship(part)
        shipper.socket.close()
        made.append(shipper.session_id.hex())
    return made


def test_what_is_described_is_so(server: Server, sessions: list[str]) -> None:
    """schemathesis asks for everything, as it is described and as it is not: no answer is another than
    said, no nonsense is taken, no token is forgotten."""
    # A parameter that nobody knows is not looked at, and tokens have tests of their own.
    generation = {"allow-extra-parameters": False, "with-security-parameters": False}
    config = schemathesis.Config.from_dict({"generation": generation})
    schema = schemathesis.openapi.from_url(f"{server.state.url}/api/openapi.json", config=config)
    # Streams have no end, so they are asked for by somebody whom they are not for.
    secrets = {
        INGEST_PATH: server.state.ingest_token,
        **dict.fromkeys(ENDLESS_PATHS, "nobody"),
    }
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 8
    told = settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    for operation in operations:
        # Without a parameter there is nothing to be wrong about.
        modes = [
            GenerationMode.POSITIVE,
            *[GenerationMode.NEGATIVE] * bool(list(operation.iter_parameters())),
        ]
        if operation.path in ENDLESS_PATHS:
            modes.remove(GenerationMode.POSITIVE)
        for mode in modes:
            is_positive = mode is GenerationMode.POSITIVE

            def check(case: Case, is_positive: bool) -> None:
                if is_positive and "id" in case.path_parameters:
                    # Of those that it makes up there are none.
                    wanted = case.path_parameters["id"]
                    case.path_parameters["id"] = sessions[int(wanted[-1], 16) % len(sessions)]
                # Who asks for no WebSocket there is refused, however well that is put.
                is_refused = case.path in ENDLESS_PATHS or (case.path, case.method) == (
                    INGEST_PATH,
                    "GET",
                )
                left_out = [positive_data_acceptance] if is_refused else []
                bearer = {
                    "Authorization": f"Bearer {secrets.get(case.path, server.state.view_token)}"
                }
                case.call_and_validate(headers=bearer, timeout=20, excluded_checks=left_out)

            cases = operation.as_strategy(generation_mode=mode)
            told(given(cases, st.just(is_positive))(check))()
