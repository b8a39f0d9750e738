"""The page that people look at: TypeScript in ``src``, built by ``build``, sent by ``serving``.

``build`` and ``wheel_hook`` run before the package is there; nothing imports them.
"""
