"""Delivers a session's records to a backend, and those of sessions that died before it.

``core`` decides, from ``events`` and the time to ``commands``; ``outcomes`` is the table of what each
failure means, ``backoff`` says when to try again, ``pace`` how often to send. ``courier`` is the shell
around them: the spool's reader on one side, a ``connection`` over a ``stream`` to the ``endpoint`` on the
other. Where that speaks no WebSocket, ``posting`` takes the courier's place.
``uplink`` owns the threads.
"""
