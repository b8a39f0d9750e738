"""The language that shippers, backends and viewers share: bytes in, messages out, no I/O.

``messages`` holds the messages, ``closing`` the close codes; PROTOCOL.md is normative.
"""
