"""Delivers a session to a backend that takes only posts of lines: AnvilOps' HTTP ingest.

``lines`` makes lines of records, with ``printed.terminal_text`` where they come from a pty; ``post`` makes
requests of lines, ``gatherer`` the next one ahead; ``core`` decides when to send which, with ``pace``, what
a refusal means and which line is to blame; ``progress`` is what of it all outlives the process. ``poster``
is the ``delivery`` of them, ``exchange`` its HTTP. Nothing here is imported before a backend has said that
it speaks no WebSocket.
"""
