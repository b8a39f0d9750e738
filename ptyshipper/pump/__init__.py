"""The main thread: moves bytes between the program and the world, and says what happened.

``outlet`` is where bytes go, ``flow`` one stream's way there, ``keyboard`` the way back from the
terminal, ``job`` the shell's job control, ``loop`` the one poll loop over all of them. Records go
into a ``RecordSink``; what that is, the pump does not know.
"""
