"""``Counts`` and what is connected right now, in Prometheus' text format.

The numbers are only read when somebody asks: prometheus-client brings the format, its negotiation and the
process's own memory, CPU and descriptors.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ptyshipper import __version__
from ptyshipper.backend.counts import Counts, Histogram
from ptyshipper.backend.fanout import Fanout
from ptyshipper.backend.ingest.committer import Committer
from ptyshipper.backend.ingest.hub import Hub
from ptyshipper.backend.seats import Seats

PREFIX = "ptyshipper_"

COUNTERS = {
    "received_batches": "Batches of records that shippers and posts brought.",
    "received_bytes": "Bytes of records in them, what was not stored and came again included.",
    "stored_bytes": "Bytes of records that were committed.",
    "stored_entries": "Lines and events that were committed.",
    "gaps": "Gap records that were committed: a spool had to drop something.",
    "lost_bytes": "Bytes of output that those stand for.",
    "viewer_resyncs": "Times that a viewer fell behind and went on from the store.",
    "expired": "Chunks and sessions that retention deleted.",
}
"""Plain ones, by their attribute of ``Counts``."""
LABELLED = {
    "closes": (("peer", "code"), "Connections that the backend closed, by close code."),
    "refusals": (("peer", "cause"), "Upgrades, requests, sessions and batches that were refused."),
    "store_errors": (("operation",), "Failures of the store, by what was tried."),
}
HISTOGRAMS = {
    "commit_seconds": ("commit_s", "What a transaction took."),
    "commit_bytes": ("commit_bytes", "Bytes of records in a transaction."),
    "ack_seconds": (
        "ack_s",
        "From the first batch that waited for a commit to its acknowledgement, once a session.",
    ),
    "delay_seconds": (
        "delay_s",
        "From a write's newest record, by the shipper's clock, to its commit, by the backend's.",
    ),
}
GAUGES = {
    "shippers": "Connections of shippers.",
    "sessions_connected": "Sessions that have one.",
    "waiting_bytes": "Bytes of records that wait for their commit.",
    "viewer_queue_bytes": "Bytes that viewers have not been sent yet.",
}


class Metrics(Collector):
    """What ``GET /metrics`` answers with."""

    def __init__(
        self, counts: Counts, hub: Hub, committer: Committer, fanout: Fanout, seats: Seats
    ) -> None:
        self._counts = counts
        self._seats = seats
        self._gauges = {
            "shippers": lambda: hub.connections,
            "sessions_connected": lambda: hub.sessions,
            "waiting_bytes": lambda: committer.waiting_bytes,
            "viewer_queue_bytes": lambda: fanout.queued_bytes,
        }
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self, accept: str) -> tuple[bytes, str]:
        """The document, and its media type; ``accept`` is the request's header."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

    def collect(self) -> Iterator[Metric]:
        """All of it as it is now."""
        yield InfoMetricFamily(PREFIX + "build", "What runs here.", {"version": __version__})
        for name, about in GAUGES.items():
            yield GaugeMetricFamily(PREFIX + name, about, self._gauges[name]())
        viewers = GaugeMetricFamily(PREFIX + "viewers", "Viewers, by kind.", labels=["kind"])
        for kind, taken in self._seats.taken.items():
            viewers.add_metric([kind], taken)
        yield viewers
        for name, about in COUNTERS.items():
            yield CounterMetricFamily(PREFIX + name, about, getattr(self._counts, name))
        for name, (labels, about) in LABELLED.items():
            family = CounterMetricFamily(PREFIX + name, about, labels=labels)
            for key, count in getattr(self._counts, name).items():
                values = key if isinstance(key, tuple) else (key,)
                family.add_metric([str(value) for value in values], count)
            yield family
        for name, (attribute, about) in HISTOGRAMS.items():
            histogram: Histogram = getattr(self._counts, attribute)
            yield HistogramMetricFamily(PREFIX + name, about, _buckets(histogram), histogram.sum)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative, as the format wants them."""
    buckets, total = list[tuple[str, float]](), 0
    for bound, count in zip([*histogram.bounds, "+Inf"], histogram.counts, strict=True):
        total += count
        buckets.append((str(bound), total))
    return buckets
