"""What the bundle has in place of modules of the standard library that are there for others' sake.

websockets loads them for a word each: ``inspect`` (with ``ast``, ``dis`` and ``tokenize``) since
``dataclasses`` may want to make up docstrings, ``uuid`` for a name in its log, ``logging`` for a log
that nobody reads, ``importlib.metadata`` (with ``email``, ``csv`` and ``zipfile``) for a version
that it knows. Each stand-in says what it leaves out.
"""
