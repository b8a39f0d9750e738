"""Sessions of any kind, for hypothesis."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

from ptyshipper import records
from ptyshipper.records import GapCause, Kind, encode

_TEXT = st.lists(
    st.sampled_from(
        [b"\n", b"a", b"bc\n", b"\r", b"\r\n", b"\x1b[31m", b"\x1b[K", b"\xc3", b"\xa9", b"\xff"]
    ),
    min_size=1,
    max_size=6,
).map(b"".join)
_OUTPUT = st.tuples(st.sampled_from([Kind.STDOUT, Kind.STDERR, Kind.TTY]), _TEXT)
_EVENT = st.sampled_from(
    [
        (Kind.RESIZED, records.resized(80, 24)),
        (Kind.SIGNALLED, records.signalled(15)),
        (Kind.GAP, records.gap(1_000, 900, GapCause.OVERFLOW)),
        (Kind.STARTED, records.started(0, 80, 24, 7)),
    ]
)


@st.composite
def batches(draw: st.DrawFn) -> list[bytes]:
    """Records of every kind in any order, with times that rise, cut into batches anywhere between two of
    them; perhaps with an exit at the end."""
    parts = draw(st.lists(st.one_of(_OUTPUT, _OUTPUT, _OUTPUT, _EVENT), min_size=1, max_size=24))
    if draw(st.booleans()):
        parts.append((Kind.EXITED, records.exited(3, 0, False)))
    encoded = [encode(kind, 10 * at, payload) for at, (kind, payload) in enumerate(parts)]
    cuts = draw(st.sets(st.integers(1, len(encoded))))
    edges = sorted({0, len(encoded), *(cut for cut in cuts if cut < len(encoded))})
    return [b"".join(encoded[a:b]) for a, b in itertools.pairwise(edges)]
