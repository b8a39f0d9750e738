"""ptyshipper: wrap a program, keep its terminal, ship what it prints.

The way data takes, which is also the order to read the package in::

    child <-> terminal/pipes -> pump -> spool -> uplink ==wire==> backend.ingest
                                                     |-> backend.store
                                                     +-> backend.fanout -> backend.viewers -> view

``agent`` composes the wrapper's process, ``backend.app`` the server's; ``cli`` chooses.
Nothing imports against the arrows, and the wrapper imports nothing of the backend.
"""

__version__ = "0.1.0"
