"""What all tables are made of."""

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, Text

SCHEMA_VERSION: Final = "0025"
SCHEMA_VERSION_TABLE: Final = "schema_version"
NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
BYTEWISE: Final = Text().with_variant(Text(collation="C"), "postgresql")
ROW_ID: Final = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only in a column spelled INTEGER; there it has 64 bits too."""

metadata: Final = MetaData(naming_convention=NAMING)


def part_of(target: str) -> Column[int]:
    """Return a part of a primary key that goes with the row it refers to."""
    key = ForeignKey(target, ondelete="CASCADE")
    return Column(target.partition(".")[2], ROW_ID, key, primary_key=True, autoincrement=False)
