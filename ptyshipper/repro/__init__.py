"""A container's command, run here as the container runs it: ``ptyshipper repro``.

The way goes from a file (``documents``) by what describes a container (``kubernetes``, ``compose``,
``image``) to a ``Container``, from there to what of it can be had where (``table``) and to the processes
(``host``, ``engine``, ``rootfs``). The wrapper imports nothing of it, and the bundle leaves it out.
"""
