"""Every setting of ``ptyshipper serve``, in one table, and what the settings become.

A flag wins over its variable. ``SERVE_SETTINGS`` is what the parser, ``--help`` and the README's test
read; ``ServeSettings`` has a field for each of its rows. ``ptyshipper token`` takes a few of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, NoReturn
from urllib.parse import urlsplit

from ptyshipper.errors import UsageError
from ptyshipper.settings import Setting, Table, one_of, size, url, values_of, whole_number
from ptyshipper.variables import DATA_VARIABLE, STORE_VARIABLE

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    Network = IPv4Network | IPv6Network

LogFormat = Literal["text", "json"]


class ServeSettings(NamedTuple):
    """All that a backend is told, checked one by one.

    ``store_url`` None: SQLite in ``data_dir``. ``public_url``: scheme, host and port alone.
    ``trusted_proxies``: from whom X-Forwarded-* is believed. ``retain_s``, ``retain_bytes``: of what is
    stored; None: without such a bound, as with the limits, of which those of sessions and bytes a second
    hold for each deployment.
    """

    host: str
    port: int
    data_dir: Path
    store_url: str | None
    anvilops: bool
    tls_cert: Path | None
    tls_key: Path | None
    trusted_proxies: tuple[Network, ...]
    public_url: str | None
    retain_s: int | None
    retain_bytes: int | None
    max_sessions: int | None
    max_rate_bytes_per_s: int | None
    max_viewers: int | None
    log_format: LogFormat


def _host(text: str) -> str:
    if not text.strip():
        raise ValueError("names no address")
    return text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65_535:
        raise ValueError("must be a number from 0 to 65535")
    return int(text)


def _database(text: str) -> str:
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("must begin with postgresql://; leave it out for SQLite")
    return text


def _yes_or_no(text: str) -> bool:
    return one_of("no", "yes", "false", "true", "0", "1")(text) in ("yes", "true", "1")


def _networks(text: str) -> tuple[Network, ...]:
    from ipaddress import ip_network

    try:
        return tuple(ip_network(word.strip()) for word in text.split(","))
    except ValueError:
        raise ValueError(
            "must be addresses or networks, as 10.0.0.0/8, with commas between them"
        ) from None


def _origin(text: str) -> str:
    parts = urlsplit(url("http", "https")(text))
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must end behind the host and port")
    return f"{parts.scheme}://{parts.netloc}".lower()


_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def age(text: str) -> int:
    """A time in seconds, at most 100 years.

    Raises:
        ValueError: it is none; with the rest of a sentence that begins with the setting's name.
    """
    try:
        age_s = whole_number(text[:-1]) * _SECONDS[text[-1:]]
    except (KeyError, ValueError):
        age_s = 0
    if not 1 <= age_s <= 36_500 * _SECONDS["d"]:
        raise ValueError("must be a time, as 14d, 36h, 90m or 30s")
    return age_s


def _count(text: str) -> int:
    if whole_number(text) == 0:
        raise ValueError("must be at least 1")
    return whole_number(text)


def _or_none(parse: Callable[[str], int]) -> Callable[[str], int | None]:
    return lambda text: None if text.lower() == "none" else parse(text)


DATA_SETTING = Setting(
    "data_dir", DATA_VARIABLE, "--data", "DIR", None, Path,
    "the data directory; else ptyshipper in the XDG state directory",
)  # fmt: skip
"""The one that every command takes."""

STORE_SETTING = Setting(
    "store_url", STORE_VARIABLE, "--store", "URL", None, _database,
    "a postgresql:// database to keep everything in; else SQLite in the data directory",
)  # fmt: skip
PUBLIC_URL_SETTING = Setting(
    "public_url", "PTYSHIPPER_PUBLIC_URL", "--public-url", "URL", None, _origin,
    "where browsers find this backend, where that is not the address it listens on",
)  # fmt: skip

SERVE_SETTINGS: Table = (
    Setting("host", "PTYSHIPPER_HOST", "--host", "ADDRESS", "127.0.0.1", _host,
            "address to listen on; one that others can reach needs tokens"),
    Setting("port", "PTYSHIPPER_PORT", "--port", "N", "7410", _port,
            "port to listen on; 0: any free one"),
    DATA_SETTING,
    STORE_SETTING,
    Setting("anvilops", "PTYSHIPPER_ANVILOPS", "--anvilops", "", "no", _yes_or_no,
            "the store is AnvilOps's own database: its tokens count, and its dashboard shows the lines"),
    Setting("tls_cert", "PTYSHIPPER_TLS_CERT", "--tls-cert", "FILE", None, Path,
            "serve TLS with this certificate and the chain behind it (PEM)"),
    Setting("tls_key", "PTYSHIPPER_TLS_KEY", "--tls-key", "FILE", None, Path,
            "its private key (PEM); else it is in the certificate's file"),
    Setting("trusted_proxies", "PTYSHIPPER_TRUSTED_PROXIES", "--trusted-proxies", "CIDR,…", None,
            _networks, "proxies whose X-Forwarded-For, -Proto and -Host are believed"),
    PUBLIC_URL_SETTING,
    Setting("retain_s", "PTYSHIPPER_RETAIN", "--retain", "AGE", "14d", _or_none(age),
            "how long what was recorded is kept, with d, h, m or s; none: for ever"),
    Setting("retain_bytes", "PTYSHIPPER_RETAIN_SIZE", "--retain-size", "SIZE", "none",
            _or_none(size("1M", "1048576G")),
            "how much is kept at most, with K, M or G; the oldest goes first"),
    Setting("max_sessions", "PTYSHIPPER_MAX_SESSIONS", "--max-sessions", "N", "10000",
            _or_none(_count), "sessions that one deployment may have connected at a time"),
    Setting("max_rate_bytes_per_s", "PTYSHIPPER_MAX_RATE", "--max-rate", "SIZE", "none",
            _or_none(size("1K", "1024G")), "what one deployment may send a second, with K, M or G"),
    Setting("max_viewers", "PTYSHIPPER_MAX_VIEWERS", "--max-viewers", "N", "1000", _or_none(_count),
            "viewers that may look on at a time"),
    Setting("log_format", "PTYSHIPPER_LOG_FORMAT", "--log-format", "HOW", "text",
            one_of("text", "json"), "of the backend's own log on stderr"),
)  # fmt: skip


TOKEN_SETTINGS: Table = (DATA_SETTING, STORE_SETTING, PUBLIC_URL_SETTING)
"""Of those, what ``ptyshipper token`` goes by."""


def serve_settings(environ: Mapping[str, str], flags: Mapping[str, str]) -> ServeSettings:
    """What a backend is told by its flags, else by the environment.

    Raises:
        UsageError: one of them can't be read, or they contradict each other.
    """
    from ptyshipper import statefile  # which brings dataclasses: the parser of ``run`` does without

    values = values_of(SERVE_SETTINGS, environ, flags, _refuse)
    values["data_dir"] = values["data_dir"] or statefile.default_data_dir(dict(environ))
    values["trusted_proxies"] = values["trusted_proxies"] or ()
    settings = ServeSettings(**values)
    if settings.tls_key is not None and settings.tls_cert is None:
        raise UsageError("--tls-key needs the certificate as well: give --tls-cert")
    if settings.anvilops and settings.store_url is None:
        raise UsageError("--anvilops needs AnvilOps' own database: give its URL with --store")
    return settings


def token_settings(environ: Mapping[str, str], flags: Mapping[str, str]) -> ServeSettings:
    """The same for ``ptyshipper token``, which only goes by ``TOKEN_SETTINGS``: what else a backend is
    told is no matter of its.

    Raises:
        UsageError: one of them can't be read.
    """
    # All else stays, such as HOME, by which the data directory is found.
    left_out = {setting.variable for setting in SERVE_SETTINGS if setting not in TOKEN_SETTINGS}
    return serve_settings(
        {name: text for name, text in environ.items() if name not in left_out}, flags
    )


def _refuse(what: str) -> NoReturn:
    raise UsageError(what)
