"""The readers' side.

::

    openapi <- api, lines, live, search, download   HTTP: sessions, entries, files
    endpoint (records), terminal (alis, replay)      WebSockets: ptyshipper's readers, asciinema's player

``answers``, ``parameters`` and ``schemas`` are what the HTTP operations share; ``openapi`` makes routes
and their description of one table. A viewer is a cursor: history comes from the store, what is live from
the fan-out while it begins exactly at the cursor, so that neither a gap nor a repetition can come in
between.
"""
