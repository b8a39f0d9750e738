"""How far the posts of a session have come: what its next poster must know, in this process or another.

An API without de-duplication stores again what is posted again. So beside the offset that the spool is
released up to, which is a record's, it is kept where each stream's lines were taken up to, to the byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from ptyshipper.uplink.posting.lines import Line

STREAMS = 4
"""stdout, stderr, the terminal, and what the wrapper itself has to say (of gaps)."""

_FIELDS = Struct(">QQQQQQBB")
_CRC = Struct(">I")
SIZE_BYTES = _FIELDS.size + _CRC.size


class Progress(NamedTuple):
    """``offset``: everything before it is done with. ``ends``: of each stream, the position behind the
    last byte that is; the position of a byte is that of its record's beginning, the header's size and
    the bytes before it in the record. ``last_ms``: no later line may have this timestamp or an earlier.
    ``open_lines``: bit n, a piece of the line of stream n is done with, its newline not.
    ``terminals``: bit n, stream n is a terminal's.
    """

    offset: int = 0
    ends: tuple[int, ...] = (0,) * STREAMS
    last_ms: int = -1
    open_lines: int = 0
    terminals: int = 0

    def at_least(self, offset: int) -> Progress:
        """The same where everything before ``offset`` is done with for another reason."""
        if offset <= self.offset:
            return self
        return self._replace(offset=offset, ends=tuple(max(end, offset) for end in self.ends))

    def beyond(self, lines: Sequence[Line]) -> Progress:
        """The same once these, in their order, are done with; those that were already change nothing."""
        offset, ends, open_lines = self.offset, list(self.ends), self.open_lines
        last = {line.source: line for line in lines}
        for source, line in last.items():
            if line.end <= ends[source]:
                continue
            ends[source] = line.end
            open_lines &= ~(1 << source)
            open_lines |= (not line.is_whole) << source
            offset = max(offset, line.settled_offset)
        return self._replace(offset=offset, ends=tuple(ends), open_lines=open_lines)

    def encode(self) -> bytes:
        fields = _FIELDS.pack(
            self.offset, *self.ends, self.last_ms + 1, self.open_lines, self.terminals
        )
        return fields + _CRC.pack(crc32(fields))


def decode(data: bytes) -> Progress:
    """What ``encode`` made; from the beginning where it was damaged: twice is better than never."""
    if len(data) != SIZE_BYTES or _CRC.unpack_from(data, _FIELDS.size)[0] != crc32(
        data[: _FIELDS.size]
    ):
        return Progress()
    offset, *ends, next_ms, open_lines, terminals = _FIELDS.unpack_from(data)
    return Progress(offset, tuple(ends), next_ms - 1, open_lines, terminals)
