"""What an operator does with a running backend: reads its metrics, makes tokens."""

from __future__ import annotations

from io import StringIO
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from ptyshipper.backend.token_command import Place, create
from tests.support.server import Server


def metrics_of(server: Server) -> dict[str, float]:
    """By name and labels, as they stand in the text."""
    status, text = server.get("/metrics")
    assert status == 200
    return {
        sample.name + "".join(f" {k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def make_token(
    server: Server, *, deployment_id: int | None = None, app_id: int | None = None
) -> str:
    """One for shippers of this deployment; without one, for readers of this app, or of all."""
    out, of = StringIO(), {"deployment_id": deployment_id, "app_id": app_id}
    given: dict[str, Any] = {**of, "name": "", "good_for_s": None}
    create(Place(server.data_dir, None), **given, out=out, tell=lambda _: None)
    return out.getvalue().strip()
