"""The names of environment variables that more than one module goes by; loads nothing."""

PRIVATE_PREFIX = "_PRIVATE_ANVILOPS"
"""Variables that begin so are the platform's; the program never sees one."""

SETTING_PREFIX = PRIVATE_PREFIX + "_LOG_"
TTY_VARIABLE = SETTING_PREFIX + "TTY"
"""The one setting that is read before the program starts."""

DATA_VARIABLE = "PTYSHIPPER_DATA"
"""Where ``serve`` keeps its data and the other commands find it; not private: it is no secret."""

STORE_VARIABLE = "PTYSHIPPER_STORE"
"""The URL of the database that ``serve`` keeps sessions in: it may hold a password, and arguments are
everybody's to read."""
