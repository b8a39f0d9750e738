"""What readers get, as JSON Schema, and the parameters that several operations share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ptyshipper.backend.entries.derive import EVENTS_ALONE
from ptyshipper.backend.entries.entry import STREAMS
from ptyshipper.backend.viewers.parameters import choice, integer, text
from ptyshipper.records import STREAM_NAMES

Schema = dict[str, Any]

_INTEGER: Schema = {"type": "integer"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_STRING: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_TIME: Schema = {"type": "string", "format": "date-time"}


def optional(schema: Schema) -> Schema:
    """That, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def an_object(properties: Schema, but: Sequence[str] = ()) -> Schema:
    """An object with these keys and no others; those in ``but`` may be missing."""
    required = [name for name in properties if name not in but]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def a_list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


SESSION = an_object(
    {
        "id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "app_id": optional(_INTEGER),
        "deployment_id": optional(_INTEGER),
        "type": {"type": "string", "enum": ["build", "runtime"]},
        "hostname": _STRING,
        "command": a_list(_STRING),
        "command_base64": optional(a_list(_STRING)),
        "tty": _FLAG,
        "started_at": _TIME,
        "ended_at": optional(_TIME),
        "state": {"type": "string", "enum": ["running", "exited", "cut", "quiet"]},
        "exit_code": optional(_INTEGER),
        "exit_signal": optional(_INTEGER),
        "first_offset": _COUNT,
        "bytes": _COUNT,
        "entries": _COUNT,
        "gaps": _COUNT,
        "lost_bytes": _COUNT,
        "cols": _COUNT,
        "rows": _COUNT,
    }
)

_EVENT_FIELDS: Schema = {
    "cols": _COUNT,
    "rows": _COUNT,
    "code": optional(_INTEGER),
    "signal": optional(_INTEGER),
    "core_dumped": _FLAG,
    "lost_bytes": _COUNT,
    "cause": _STRING,
}
ENTRY = an_object(
    {
        "number": optional(_COUNT),
        "id": optional(_INTEGER),
        "time_us": _COUNT,
        "kind": {"type": "string", "enum": ["line", "resized", "signalled", "exited", "gap"]},
        "text": _STRING,
        "stream": {"type": "string", "enum": list(STREAMS)},
        "truncated": _FLAG,
        **_EVENT_FIELDS,
    },
    but=["stream", "truncated", *_EVENT_FIELDS],
)
PAGE = an_object(
    {
        "entries": a_list(ENTRY),
        "unfinished": a_list(ENTRY),
        "first": _COUNT,
        "end": _COUNT,
        "prev": optional(_COUNT),
        "next": _COUNT,
        "is_last": _FLAG,
    }
)
APP_ENTRY: Schema = an_object(
    {
        **ENTRY["properties"],
        "session": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "pod": _STRING,
        "cursor": _STRING,
    },
    but=["stream", "truncated", *_EVENT_FIELDS],
)
APP_PAGE = an_object(
    {
        "entries": a_list(APP_ENTRY),
        "before": optional(_STRING),
        "after": _STRING,
        "is_last": _FLAG,
        "live": _COUNT,
    }
)
HISTOGRAM = an_object(
    {
        "begin_us": _COUNT,
        "end_us": _COUNT,
        "buckets": a_list(an_object({"begin_us": _COUNT, "bytes": _COUNT, "entries": _COUNT})),
    }
)

ID = text("id", "the session", 32, pattern="[0-9a-f]{32}", place="path")
STREAM = choice(
    "stream",
    f"only the lines of this stream; events are of all; `{EVENTS_ALONE}`: events alone",
    (*STREAM_NAMES.values(), EVENTS_ALONE),
)
FROM = integer("from", "the number of the entry to begin with", 0)
SINCE = integer("since", "only what was completed at this time (Unix, in us) or later", 0)
UNTIL = integer("until", "only what was completed before this time (Unix, in us)", 0)
