"""The program's end: how it is started, signalled, reaped, and the terminal that it lives in.

``stdio`` decides what each of 0, 1, 2 becomes, ``spawn`` starts the program, ``monitor`` leads its
session where job control must work, ``program`` is the handle to it, ``reaper`` the only wait,
``signals`` what is done on each signal, ``terminal`` the terminal outside.
"""
