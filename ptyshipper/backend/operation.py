"""What an orchestrator and a monitor ask for: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.health import Health
from ptyshipper.backend.metrics import Metrics
from ptyshipper.backend.viewers.answers import Refused
from ptyshipper.backend.viewers.openapi import Answer, Operation, reading

HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"
METRICS_PATH = "/metrics"
_TEXT = "text/plain; charset=utf-8"


def operations(health: Health, metrics: Metrics, access: Access) -> list[Operation]:
    """Health and readiness for everybody; metrics, which tell of all sessions, for who may see all of them.

    No exception is made for this machine's own addresses: behind a proxy everybody comes from there.
    """

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        hindrance = await health.hindrance()
        if hindrance is None:
            return PlainTextResponse("ready\n")
        return PlainTextResponse(f"{hindrance}\n", HTTPStatus.SERVICE_UNAVAILABLE.value)

    async def measured(request: Request, view: View, _: dict[str, Any]) -> Response:
        if view.app_id is not None:
            raise Refused(HTTPStatus.FORBIDDEN, "metrics tell of all apps")
        document, media_type = metrics.text(request.headers.get("accept", ""))
        return Response(document, headers={"content-type": media_type})

    return [
        Operation(
            HEALTH_PATH,
            "Whether the backend runs",
            healthy,
            {200: Answer("it does", _TEXT)},
            security=(),
        ),
        Operation(
            READY_PATH,
            "Whether shippers and readers are served",
            ready,
            {200: Answer("they are", _TEXT), 503: Answer("what hinders it", _TEXT)},
            security=(),
        ),
        reading(
            access,
            METRICS_PATH,
            "Metrics for Prometheus",
            measured,
            {200: Answer("in the format that Accept asks for", None)},
        ),
    ]
