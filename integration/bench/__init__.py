"""``make bench``: what the wrapper costs, each figure beside a peer's from the same run.

One file a group of figures; ``harness`` runs the processes, ``table`` prints, ``__main__`` chooses.
"""
