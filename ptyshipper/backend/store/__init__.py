"""Where sessions and their records are kept. ``base`` says what a store does, ``sqlite`` does it."""
