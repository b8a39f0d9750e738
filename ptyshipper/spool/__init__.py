"""Where records wait until a backend has acknowledged them.

``spool`` (main thread) appends to the newest ``segment`` of a ``directory`` or of memory; the
``ledger`` is all that it shares with the ``reader`` (uplink thread), which verifies what it reads
(``scan``) and turns what is missing into gap records. ``leftovers`` finds what dead sessions left.
"""
