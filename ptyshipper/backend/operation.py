"""What an orchestrator and a monitor ask for: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ptyshipper.backend.access import Access, View
from ptyshipper.backend.health import Health
from ptyshipper.backend.metrics import Metrics
from ptyshipper.backend.refusals import Refusals
from ptyshipper.backend.viewers.api import guarded, plain

HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"
METRICS_PATH = "/metrics"


def routes(health: Health, metrics: Metrics, access: Access, refusals: Refusals) -> list[Route]:
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

    async def measured(request: Request, view: View) -> Response:
        if view.app_id is not None:
            return plain(HTTPStatus.FORBIDDEN)
        document, media_type = metrics.text(request.headers.get("accept", ""))
        return Response(document, headers={"content-type": media_type})

    return [
        Route(HEALTH_PATH, healthy),
        Route(READY_PATH, ready),
        Route(METRICS_PATH, guarded(access, refusals, measured)),
    ]
