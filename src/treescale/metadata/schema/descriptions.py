"""What repositories and namespaces say of themselves: apart from rows often written."""

from typing import Final

from sqlalchemy import Column, Table, Text

from treescale.metadata.schema.columns import metadata, part_of

repository_descriptions: Final = Table(
    "repository_descriptions",
    metadata,
    part_of("repositories.repository_id"),
    Column("text", Text, nullable=False),
)

namespace_descriptions: Final = Table(
    "namespace_descriptions",
    metadata,
    part_of("namespaces.namespace_id"),
    Column("text", Text, nullable=False),
)
