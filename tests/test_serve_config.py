"""The table of ``serve``'s settings: what each takes, and what is said of what it does not."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from ptyshipper.errors import UsageError
from ptyshipper.serve_config import (
    SERVE_SETTINGS,
    ServeSettings,
    serve_settings,
    token_settings,
)

BY_NAME = {setting.name: setting for setting in SERVE_SETTINGS}

GOOD = [
    ("host", "0.0.0.0", "0.0.0.0"),
    ("host", "::1", "::1"),
    ("port", "0", 0),
    ("port", "65535", 65_535),
    ("data_dir", "/data", Path("/data")),
    ("store_url", "postgresql://localhost/logs", "postgresql://localhost/logs"),
    ("anvilops", "yes", True),
    ("anvilops", "TRUE", True),
    ("anvilops", "0", False),
    ("tls_cert", "cert.pem", Path("cert.pem")),
    ("trusted_proxies", "10.0.0.0/8", (ip_network("10.0.0.0/8"),)),
    ("trusted_proxies", "::1, 192.0.2.7", (ip_network("::1/128"), ip_network("192.0.2.7/32"))),
    ("public_url", "https://Logs.Example/", "https://logs.example"),
    ("public_url", "http://[::1]:7410", "http://[::1]:7410"),
    ("retain_s", "14d", 1_209_600),
    ("retain_s", "36h", 129_600),
    ("retain_s", "90m", 5_400),
    ("retain_s", "none", None),
    ("retain_bytes", "20G", 20 << 30),
    ("retain_bytes", "None", None),
    ("max_sessions", "1", 1),
    ("max_sessions", "none", None),
    ("max_rate_bytes_per_s", "8M", 8 << 20),
    ("max_viewers", "20", 20),
    ("log_format", "JSON", "json"),
]
BAD = [
    ("host", " "),
    ("port", "-1"),
    ("port", "65536"),
    ("port", "http"),
    ("port", "7_410"),
    ("anvilops", "maybe"),
    ("trusted_proxies", "10.0.0.1/8"),
    ("trusted_proxies", "proxy.example"),
    ("trusted_proxies", "*"),
    ("public_url", "logs.example"),
    ("public_url", "ws://logs.example"),
    ("public_url", "https://logs.example/path"),
    ("public_url", "https://logs.example/?token=x"),
    ("public_url", "https://user:secret@logs.example"),
    ("retain_s", "14"),
    ("retain_s", "0d"),
    ("retain_s", "d"),
    ("retain_s", "1.5d"),
    ("retain_s", "99999d"),
    ("retain_bytes", "1K"),
    ("max_sessions", "0"),
    ("max_sessions", "many"),
    ("max_rate_bytes_per_s", "1"),
    ("max_viewers", "-1"),
    ("log_format", "xml"),
    ("store_url", "sqlite:///secret"),
    ("store_url", "user:secret@db"),
]


def test_every_row_is_a_field() -> None:
    assert [setting.name for setting in SERVE_SETTINGS] == list(ServeSettings._fields)


@pytest.mark.parametrize(("name", "text", "expected"), GOOD)
def test_a_good_value_is_taken_from_flag_and_variable(
    name: str, text: str, expected: object
) -> None:
    variable = BY_NAME[name].variable
    store = {} if name == "store_url" else {"PTYSHIPPER_STORE": "postgresql://localhost/logs"}
    assert getattr(serve_settings(store, {name: text}), name) == expected
    assert getattr(serve_settings({**store, variable: text}, {}), name) == expected


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_bad_value_is_told_in_one_line_by_the_name_it_was_given(name: str, text: str) -> None:
    """And is not repeated: it may be a secret in the wrong place."""
    setting = BY_NAME[name]
    for given, environ, flags in (
        (setting.flag, {}, {name: text}),
        (setting.variable, {setting.variable: text}, {}),
    ):
        with pytest.raises(UsageError) as caught:
            serve_settings(environ, flags)
        message = str(caught.value)
        assert message.startswith(given + " ")
        assert "\n" not in message
        assert "secret" not in message


def test_a_flag_wins() -> None:
    assert serve_settings({"PTYSHIPPER_PORT": "1"}, {"port": "2"}).port == 2
    assert serve_settings({"PTYSHIPPER_PORT": "1"}, {}).port == 1
    assert serve_settings({"PTYSHIPPER_PORT": ""}, {}).port == 7410


def test_without_a_data_directory_it_is_the_state_directory_s() -> None:
    assert serve_settings({"XDG_STATE_HOME": "/state"}, {}).data_dir == Path("/state/ptyshipper")


def test_a_key_without_a_certificate_is_told() -> None:
    with pytest.raises(UsageError, match="--tls-cert"):
        serve_settings({}, {"tls_key": "key.pem"})


def test_anvilops_without_its_database_is_told() -> None:
    """Before anything is opened or made."""
    with pytest.raises(UsageError, match="--store"):
        serve_settings({"PTYSHIPPER_ANVILOPS": "yes"}, {})
    store = "postgresql://db/anvilops"
    assert serve_settings({"PTYSHIPPER_STORE": store}, {"anvilops": "yes"}).anvilops


@pytest.mark.parametrize("where", [{"HOME": "/h"}, {"HOME": "/h", "XDG_STATE_HOME": "/s"}])
def test_tokens_are_made_in_the_directory_that_serve_uses(where: dict[str, str]) -> None:
    """``token`` goes by a few of the settings, but by everything that the directory is found by."""
    assert token_settings(where, {}).data_dir == serve_settings(where, {}).data_dir


def test_token_does_not_read_what_only_serve_goes_by() -> None:
    """A variable of the backend's that can't be read is no hindrance to making a token."""
    assert token_settings({"PTYSHIPPER_PORT": "x", "PTYSHIPPER_DATA": "/d"}, {}).data_dir == Path(
        "/d"
    )
