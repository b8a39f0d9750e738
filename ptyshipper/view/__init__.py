"""Reading back: the commands that list, show, follow and export sessions.

::

    client ─┬─> logs      sessions
            ├─> export
            └─> screen ─> watch

``client`` is the only one that talks to a backend; ``screen`` is pure, and what makes lines and casts of
records is in ``ptyshipper.printed``. What a program printed may be hostile: nothing of it reaches a
terminal unfiltered.
"""
