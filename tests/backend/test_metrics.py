"""What /metrics says, read with prometheus-client's own parser."""

from __future__ import annotations

import asyncio
import re
from dataclasses import fields

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from ptyshipper import __version__
from ptyshipper.backend import metrics
from ptyshipper.backend.counts import Counts
from ptyshipper.backend.fanout import Fanout
from ptyshipper.backend.ingest.committer import Committer
from ptyshipper.backend.ingest.hub import Hub
from ptyshipper.backend.metrics import COUNTERS, HISTOGRAMS, LABELLED, Metrics
from ptyshipper.backend.seats import Seats
from tests.backend.ingest.test_committer import FakeStore
from tests.support.server import REPOSITORY


def made(counts: Counts, seats: Seats) -> Metrics:
    loop = asyncio.new_event_loop()
    committer = Committer(FakeStore(), Fanout(counts), loop, counts)
    loop.close()
    return Metrics(counts, Hub(FakeStore(), committer), committer, Fanout(counts), seats)


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in read_text(text)
        for sample in family.samples
    }


def test_everything_that_is_counted_is_told() -> None:
    """No field of Counts without a row of a table, and no row without a field."""
    told = {*COUNTERS, *LABELLED, *(attribute for attribute, _ in HISTOGRAMS.values())}
    assert told == {field.name for field in fields(Counts)}


def test_numbers_and_labels_arrive() -> None:
    counts, seats = Counts(), Seats()
    counts.received_bytes = 123
    counts.refusals["shipper", "rate"] = 2
    counts.closes["shipper", 4429] = 3
    counts.store_errors["commit"] = 4
    for value in (0.0005, 0.02, 1e9):
        counts.ack_s.observe(value)
    seats.taken["records"] = 5
    text, media_type = made(counts, seats).text("")
    assert media_type.startswith("text/plain")
    found = samples(text.decode())

    def value(name: str, **labels: str) -> float:
        return found[metrics.PREFIX + name, frozenset(labels.items())]

    assert value("received_bytes_total") == 123
    assert value("refusals_total", peer="shipper", cause="rate") == 2
    assert value("closes_total", peer="shipper", code="4429") == 3
    assert value("store_errors_total", operation="commit") == 4
    assert value("viewers", kind="records") == 5
    assert value("ack_seconds_bucket", le="0.001") == 1
    assert value("ack_seconds_bucket", le="0.02") == 2
    assert value("ack_seconds_bucket", le="+Inf") == value("ack_seconds_count") == 3
    assert value("build_info", version=__version__) == 1
    assert found["process_resident_memory_bytes", frozenset()] > 0


def test_the_newer_format_is_spoken_too() -> None:
    text, media_type = made(Counts(), Seats()).text("application/openmetrics-text; version=1.0.0")
    assert media_type.startswith("application/openmetrics-text")
    assert any(
        family.name == "ptyshipper_commit_seconds" for family in read_openmetrics(text.decode())
    )


def test_the_readme_tells_of_every_metric_and_of_none_that_is_gone() -> None:
    """Ours, that is: the process's own are those of every program."""
    text, _ = made(Counts(), Seats()).text("")
    families = {family.name: family.type for family in read_text(text.decode())}
    ours = {
        name + ("_total" if kind == "counter" else "")
        for name, kind in families.items()
        if name.startswith(metrics.PREFIX) and kind != "info"
    } - {metrics.PREFIX + "build_info"}
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    rows = "".join(
        line.split("|")[1] for line in readme.splitlines() if line.startswith("| `ptyshipper_")
    )
    assert set(re.findall(r"`(ptyshipper_\w+)`", rows)) == ours
