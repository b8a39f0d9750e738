"""Reading back: the commands that list, show, follow and export sessions.

::

    client ─> lines ─> cells, text ──┬─> logs      sessions
              newlines, cast ────────┤─> export
              screen ────────────────┴─> watch

``client`` is the only one that talks to a backend; ``lines``, ``cells``, ``text``, ``newlines``,
``cast`` and ``screen`` are pure. What a program printed may be hostile: nothing of it reaches a
terminal unfiltered.
"""
