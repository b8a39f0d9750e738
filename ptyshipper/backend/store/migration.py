"""A Postgres database of any earlier version becomes one of this version, in numbered steps.

Every step is a file of ``schema/postgres``. What a step changes, backends of the version before may
still be using: they go on until they are replaced.
"""

from __future__ import annotations

from importlib import resources

from ptyshipper.backend.store.connections import SCHEMA, Connection
from ptyshipper.errors import BackendError

SCHEMA_VERSION = 1
STEPS = resources.files(__package__).joinpath("schema/postgres")

_LOCK = 0x7074_7973_6869_7072
"""Of all advisory locks of the database ours: "ptyshipr" in ASCII."""


async def migrate(connection: Connection) -> None:
    """Make the schema ``ptyshipper`` this version's; of several that start at once, one does it.

    Raises:
        BackendError: a newer version made the schema.
        Exception: what asyncpg raises.
    """
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
        # IF NOT EXISTS would ask for the right to make it also where it is there.
        if await connection.fetchval(f"SELECT to_regnamespace('{SCHEMA}') IS NULL"):
            await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        await connection.execute("CREATE TABLE IF NOT EXISTS versions (number integer PRIMARY KEY)")
        version = await connection.fetchval("SELECT coalesce(max(number), 0) FROM versions")
        if version > SCHEMA_VERSION:
            raise BackendError(
                f"the database was written by a newer ptyshipper (schema {version}, this one knows"
                f" {SCHEMA_VERSION}); upgrade, or serve another database"
            )
        for number in range(version + 1, SCHEMA_VERSION + 1):
            await connection.execute(STEPS.joinpath(f"{number:04d}.sql").read_text())
            await connection.execute("INSERT INTO versions (number) VALUES ($1)", number)
