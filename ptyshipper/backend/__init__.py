"""The backend: takes records in, keeps them, shows them.

::

    app ── ingest ─┬─> store ──┐
                   └─> fanout ─┴─> viewers

``app`` composes one process; ``ingest`` is the shippers' side, ``viewers`` the readers'. ``session``
and ``digest`` are the nouns they share. Everything runs on one event loop's thread, the commits
too: a writer thread would fight the loop for the interpreter lock, and lose (measured: p99 264 ms
against 30 ms).
"""
