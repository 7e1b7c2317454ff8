"""What Alembic runs: the migrations, on `migrate`'s connection and in its transaction."""

from alembic import context

from treescale.metadata.migrations import VERSION_TABLE
from treescale.metadata.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
