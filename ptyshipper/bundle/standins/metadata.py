"""In place of ``importlib.metadata``: websockets imports it and, when released, never uses it."""
