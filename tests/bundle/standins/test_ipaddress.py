"""The bundle's ``ipaddress``: the same addresses of the same kind."""

from __future__ import annotations

import ipaddress

import pytest

from ptyshipper.bundle.standins import ipaddress as standin

TEXTS = [
    "127.0.0.1", "255.255.255.255", "256.0.0.1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.4%lo", "0x7f.1",
    "::", "::1", "2001:db8::8a2e:370:7334", "::ffff:192.0.2.1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9",
    "fe80::1%eth0", "fe80::1%", "fe80::1%a%b", "fe80::%1::", ":", "::g", "[::1]",
    "", " ", "127.0.0.1 ", "localhost", "1", "2130706433", "\0", "::1\0", "ä", "\u0661.2.3.4",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_an_address(text: str) -> None:
    try:
        wanted = type(ipaddress.ip_address(text)).__name__
    except ValueError:
        with pytest.raises(ValueError, match="does not appear"):
            standin.ip_address(text)
    else:
        found = standin.ip_address(text)
        assert type(found).__name__ == wanted
        assert found.version == ipaddress.ip_address(text).version
