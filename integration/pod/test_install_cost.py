"""An installation is a blink, also with what AnvilOps' initContainer may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.pod.install_cost import MEMORY_BYTES, InstallError, install_cost

pytestmark = pytest.mark.pod

MAX_S = 1.0
MAX_RESIDENT_BYTES = 4_000_000


def test_it_takes_less_than_a_second(root: Path) -> None:
    """Of a tenth of a CPU, and next to no memory."""
    volume = root.parent / "volume"
    cost = install_cost(root / "install-log-shipper", volume)
    assert (volume / "log-shipper").exists()
    assert cost.seconds < MAX_S
    assert 0 < cost.cpu_s < cost.seconds
    assert 0 < cost.resident_bytes < MAX_RESIDENT_BYTES
    assert cost.resident_bytes < cost.charged_bytes <= MEMORY_BYTES


def test_its_limits_are_real(root: Path) -> None:
    """What wants twice the memory is killed, or the figures would be those of a big machine."""
    greedy = root.parent / "greedy"
    greedy.write_text("#!/bin/sh\nexec dd if=/dev/zero of=/dev/null bs=100M count=1\n")
    greedy.chmod(0o755)
    with pytest.raises(InstallError, match="status -9"):
        install_cost(greedy, root.parent / "never filled")
