"""A session's entries, derived when they are read: its lines, stream by stream, and its events.

::

    store ─> seek, derive ─> reading ─> viewers
                  |             └─ turns
                  └─ entry, needle

Entries are numbered from 0 in the order in which they are completed. A newline completes a line; a gap
and the exit complete those that are open, in the order in which they began, before they are entries
themselves. ``backend.digest`` counts the same way while records come in, so every chunk knows its first
number; no line is ever stored. ``seek`` finds a chunk by number, time or id; ``derive`` makes entries of
chunks; ``reading`` pages through them, a slice in a turn of the loop; ``histogram`` needs no lines at all.
``derive``, ``entry``, ``needle`` and ``histogram`` are pure.
"""
