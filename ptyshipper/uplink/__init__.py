"""Delivers a session's records to a backend, and those of sessions that died before it.

``core`` decides, from ``events`` and the time to ``commands``; ``outcomes`` is the table of what each
failure means, ``attempts`` of what it leads to, with ``backoff`` and ``retry_after`` for when to try again;
``pace`` says how often to send. ``delivery`` is the shell around a core, ``courier`` the one for a
``consignment`` that goes over a ``connection`` on a ``stream`` to the ``endpoint``. Where that speaks no
WebSocket, ``posting`` takes the courier's place.
``uplink`` owns the threads; where they must not post at once, each waits for its ``turn``.
"""
