"""What a program printed, as a person reads it: for the readers, the backend, and one that takes lines.

``cells`` resolves a line that was written over, with ``widths``; ``terminal_text`` takes out of it what no
reader sees; ``losses`` puts gaps into words. ``lines`` cuts records into lines, which ``shown`` forms with
``text``; ``cast`` makes asciicasts, with ``newlines`` where no terminal was; ``exports`` is the table of
the forms that a session is taken away in. Pure.
"""
