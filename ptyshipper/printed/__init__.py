"""What a program printed, as a person reads it: for the readers, and for a backend that takes only lines.

``cells`` resolves a line that was written over, with ``widths``; ``losses`` puts gaps into words. Pure.
"""
