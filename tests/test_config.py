"""The table of settings: what each takes, what is said of what it does not, and what never is."""

from __future__ import annotations

import pytest

from ptyshipper.config import SETTINGS, settings_from
from ptyshipper.errors import UsageError
from ptyshipper.variables import PRIVATE_PREFIX

VARIABLES = {setting.name: setting.variable for setting in SETTINGS}

GOOD = {
    "endpoint": [
        "http://a/b",
        "https://a:1/x",
        "ws://[::1]:80/",
        "wss://host.example/api/logs/ingest",
    ],
    "token": ["abc.DEF-123_~+/="],
    "deployment_id": ["0", "42"],
    "log_type": ["build", "runtime", "RUNTIME"],
    "transport": ["auto", "websocket", "http"],
    "colours": ["keep", "remove"],
    "tty": ["auto", "always", "never", "Always"],
    "ca_file": ["/etc/ca.pem"],
    "spool_dir": ["/spool"],
    "spool_max_bytes": ["512K", "64m", "1G", "1048576"],
    "spool_overflow": ["drop", "block"],
    "flush_timeout_s": ["0", "2.5", "3600"],
    "drain_timeout_s": ["0", "1e1"],
}
BAD = {
    "endpoint": [
        "ftp://a/",
        "a/b",
        "http://",
        "http://user:pw@host/",
        "http://h:99999/",
        "http://h/ x",
        "http://é/",
    ],
    "token": ["two words", "new\nline", "ünicode"],
    "deployment_id": ["-1", "1.5", "seven", "99999999999"],
    "log_type": ["other"],
    "transport": ["post", "ws"],
    "colours": ["yes"],
    "tty": ["yes"],
    "ca_file": [],
    "spool_dir": [],
    "spool_max_bytes": ["1K", "many", "9999G", "K", ""],
    "spool_overflow": ["forget"],
    "flush_timeout_s": ["soon", "-1", "1e9", "nan"],
    "drain_timeout_s": ["soon", "-1", "inf"],
}


def test_every_setting_is_tried_here() -> None:
    assert set(GOOD) == set(BAD) == set(VARIABLES)


def test_every_variable_is_private_and_names_are_unique() -> None:
    assert all(variable.startswith(PRIVATE_PREFIX) for variable in VARIABLES.values())
    assert len(set(VARIABLES.values())) == len(SETTINGS)


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, texts in GOOD.items() for t in texts])
def test_a_good_value_is_taken_without_a_word(name: str, text: str) -> None:
    said: list[str] = []
    values = settings_from({VARIABLES[name]: text}, {}, said.append)
    assert values[name] is not None
    assert said == []


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, texts in BAD.items() for t in texts if t])
def test_a_bad_variable_is_one_warning_and_the_default(name: str, text: str) -> None:
    said: list[str] = []
    values = settings_from({VARIABLES[name]: text}, {}, said.append)
    assert values == settings_from({}, {}, said.append)
    assert len(said) == 1
    assert VARIABLES[name] in said[0]
    assert text not in said[0], "a token in the wrong place must not be repeated"


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, texts in BAD.items() for t in texts if t])
def test_a_bad_flag_is_a_usage_error(name: str, text: str) -> None:
    with pytest.raises(UsageError):
        settings_from({}, {name: text}, pytest.fail)


def test_a_flag_wins() -> None:
    environ = {VARIABLES["spool_overflow"]: "drop"}
    assert (
        settings_from(environ, {"spool_overflow": "block"}, pytest.fail)["spool_overflow"]
        == "block"
    )


def test_the_token_is_no_flag() -> None:
    """An argument can be read by everyone in /proc."""
    assert [setting.flag for setting in SETTINGS if setting.name == "token"] == [""]
