"""What the bundle has in place of modules of the standard library that are there for others' sake.

websockets and h11 load them for a word each. ``typing`` takes 0.7 MB, ``dataclasses`` (with ``inspect``,
``copy`` and ``weakref``) as much, ``ipaddress`` 0.2, ``hashlib``, ``random`` and ``secrets`` together 0.1;
``uuid`` is there for a name in a log, ``logging`` for a log that nobody reads, ``importlib.metadata`` (with
``email``, ``csv`` and ``zipfile``) for a version that is known. Each stand-in says what it leaves out; the
list of them is in log-shipper.spec.
"""
