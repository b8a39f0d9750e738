"""The self-contained program: its start, its memory, its size, what installing it costs.

Two are measured: what ``make bundle`` has built with this machine's Python, and what is in the image that
the Dockerfile builds.
"""

from __future__ import annotations

import gzip
import io
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from integration.bench.footprint import SLEEP, memory_mb, start_figures
from integration.bench.harness import REPOSITORY, SETTLE_S, Bench, running
from integration.bench.table import Figure, skipped
from integration.pod.images import BUILDERS, built_image, missing_for
from integration.pod.install_cost import InstallError, install_cost
from tests.support.tls_front import make_authority, tls_front

_PACKED = REPOSITORY / "dist" / "log-shipper"
_IMAGE = REPOSITORY / "dist" / "image"
_START_GOALS_MS = {"pipes": 15.0, "a pty": 22.0}
_WS_GOAL_MB, _WSS_GOAL_MB = 17.0, 24.0
_TREE_GOAL_MB, _IMAGE_GOAL_MB = 22.0, 10.0
_INSTALL_GOAL_S = 1.0
_ENDPOINT = "_PRIVATE_ANVILOPS_LOG_ENDPOINT"
_CA_FILE = "_PRIVATE_ANVILOPS_LOG_CA_FILE"


def bundle(bench: Bench) -> list[Figure]:
    """Figures of dist/log-shipper."""
    if not _PACKED.exists():
        return [skipped("bundle", "it is not built; make bundle")]
    volume = bench.directory / "volume"
    installed = subprocess.run(
        ["install-log-shipper", volume], executable=_PACKED, capture_output=True, check=False
    )
    if installed.returncode:
        return [skipped("bundle", installed.stderr.decode().strip())]
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        archive.add(_IMAGE, ".")
    return [
        *_in_use(bench, "bundle", volume / "log-shipper"),
        _tree_size("bundle", _IMAGE),
        _image_size("bundle, image's layer, gzip", len(gzip.compress(layer.getvalue(), 6))),
        Figure("bundle, one file", _PACKED.stat().st_size / 1e6, "MB"),
        *_installing(bench),
    ]


def image(bench: Bench) -> list[Figure]:
    """Figures of the Dockerfile's image, used as an image volume."""
    if missing := missing_for(*BUILDERS):
        return [skipped("image", f"to build it, there is no {', no '.join(missing)}")]
    try:
        archive = built_image(bench.directory / "image.tar")
    except AssertionError as error:
        return [skipped("image", f"it can't be built: {error}")]
    root = archive.unpack(bench.directory / "image")
    return [
        *_in_use(bench, "image", root / "log-shipper"),
        _tree_size("image", root),
        _image_size("image, compressed", archive.compressed_bytes),
    ]


def _in_use(bench: Bench, what: str, launcher: Path) -> list[Figure]:
    start = f"{what}, exec to first instruction"
    return [
        *start_figures(bench, (str(launcher),), start, _START_GOALS_MS),
        *_memory(bench, what, str(launcher)),
    ]


def _memory(bench: Bench, what: str, launcher: str) -> list[Figure]:
    """RSS of a wrapper that is connected and has nothing to do, without TLS and with it."""
    plain = bench.environ(shipping=True)
    figures = [_idle(bench, launcher, plain, f"{what}, memory idle, ws (RSS)", _WS_GOAL_MB)]
    name = f"{what}, memory idle, wss (RSS)"
    if shutil.which("openssl") is None:
        return [*figures, skipped(name, "openssl is missing")]
    folder = bench.directory / f"{what}'s authority"
    folder.mkdir()
    authority = make_authority(folder)
    url = urlsplit(bench.state.url)
    assert url.port is not None
    with tls_front(folder / "server.pem", url.port) as port:
        secure = {
            **bench.environ(shipping=True),
            _ENDPOINT: f"https://localhost:{port}/api/logs/ingest",
            _CA_FILE: str(authority),
        }
        figures.append(_idle(bench, launcher, secure, name, _WSS_GOAL_MB))
    bench.forget_spools()
    return figures


def _idle(
    bench: Bench, launcher: str, environ: dict[str, str], name: str, goal_mb: float
) -> Figure:
    """The median of several wrappers: which pages are mapped differs by a few hundred KB."""
    rss_mb, pss_mb = [], []
    for _ in range(bench.rounds(5)):
        known = bench.count_sessions()
        with running((launcher, *SLEEP), environ) as pid:
            bench.wait_session(known + 1)
            time.sleep(SETTLE_S)
            rss, pss = memory_mb(pid)
        rss_mb.append(rss)
        pss_mb.append(pss)
    note = f"{min(rss_mb):.1f}..{max(rss_mb):.1f} MB; PSS {statistics.median(pss_mb):.1f} MB"
    return _sized(name, statistics.median(rss_mb), goal_mb, note)


def _tree_size(what: str, root: Path) -> Figure:
    (tree,) = (root / ".log-shipper").iterdir()
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    return _sized(f"{what}, tree", size / 1e6, _TREE_GOAL_MB)


def _image_size(name: str, compressed_bytes: int) -> Figure:
    return _sized(name, compressed_bytes / 1e6, _IMAGE_GOAL_MB)


def _sized(name: str, size_mb: float, goal_mb: float, note: str = "") -> Figure:
    return Figure(name, size_mb, "MB", goal=f"≤ {goal_mb:g}", met=size_mb <= goal_mb, note=note)


def _installing(bench: Bench) -> list[Figure]:
    """In the initContainer's limits: a tenth of a CPU, 50 MiB."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="ptyshipper-install-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        image = shutil.copytree(_IMAGE, folder / "image")
        packed = Path(shutil.copy(_PACKED, folder / "packed"))
        for form, installer in (("image", image / "install-log-shipper"), ("one file", packed)):
            what = f"installing from {'the ' if form == 'image' else ''}{form}"
            try:
                costs = [
                    install_cost(installer, folder / f"{form} {turn}")
                    for turn in range(bench.rounds(5))
                ]
            except (InstallError, OSError) as error:
                figures.append(skipped(what, str(error)))
                continue
            costs.sort()
            cost = costs[len(costs) // 2]
            figures.append(
                Figure(
                    f"{what}, 0.1 CPU",
                    cost.seconds,
                    "s",
                    goal=f"< {_INSTALL_GOAL_S:g}" if form == "image" else "",
                    met=cost.seconds < _INSTALL_GOAL_S if form == "image" else None,
                    note=f"{cost.cpu_s:.3f} s of CPU, {cost.resident_bytes / 1e6:.1f} MB resident",
                )
            )
    return figures
