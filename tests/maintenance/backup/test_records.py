"""What was written is read, and nothing else is taken for it."""

import io
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treescale.errors import BackupInvalid
from treescale.maintenance.backup import records
from treescale.maintenance.backup.records import (
    Decode,
    Decoder,
    Encoder,
    Header,
    TableRecord,
    Values,
)

HEADER = Header(schema="0012", taken=1.5, engine="sqlite", version="0.2.0", commits=7, file="/db")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ROWS = st.lists(
    st.tuples(st.integers(-(2**63), 2**63 - 1), TEXT, st.none() | st.binary(max_size=40)),
    max_size=20,
)
TABLES = st.lists(st.tuples(TEXT, st.lists(ROWS, max_size=3)), max_size=4, unique_by=lambda x: x[0])
Tables = Sequence[tuple[str, Sequence[Sequence[Values]]]]
ONE: Tables = [("users", [[(1, "alice", b"\x00")], [(2, "bob", None)]]), ("tags", [])]


def decode_of(_table: TableRecord) -> Decode:
    return msgspec.msgpack.Decoder(list[tuple[int, str, bytes | None]]).decode


def parts(tables: Tables) -> list[bytes]:
    """Return the records of a backup of these."""
    encoder = Encoder()
    found = [encoder.header(HEADER)]
    for name, batches in tables:
        found.append(encoder.table(TableRecord(name, ("a", "b", "c"), 9)))
        for batch in batches:
            found += encoder.add(batch)
    return [*found, encoder.end()]


def read(data: bytes) -> list[tuple[str, list[Values]]]:
    """Return the rows of each table."""
    decoder = Decoder(io.BytesIO(data).read, decode_of)
    assert decoder.header == HEADER
    found: list[tuple[str, list[Values]]] = []
    for record in decoder:
        if isinstance(record, TableRecord):
            assert record.last_id == 9
            found.append((record.name, []))
        else:
            found[-1][1].extend(record)
    assert decoder.rows == {name: len(rows) for name, rows in found}
    return found


@given(TABLES)
def test_rows_come_back(tables: Tables) -> None:
    expected = [(name, [row for batch in batches for row in batch]) for name, batches in tables]
    assert read(b"".join(parts(tables))) == expected


@pytest.mark.parametrize("count", [2, 5])
def test_rows_are_cut_into_records(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "RECORD_BYTES", 100)
    rows = [(number, "x" * 60, None) for number in range(count)]
    whole = parts([("users", [rows])])
    assert len(whole) == 3 + count
    assert read(b"".join(whole)) == [("users", rows)]


def test_cut_anywhere_it_is_refused() -> None:
    data = b"".join(parts(ONE))
    for length in range(len(data)):
        with pytest.raises(BackupInvalid, match="cut short"):
            read(data[:length])


def test_each_bit_counts() -> None:
    data = b"".join(parts(ONE))
    for place in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises((BackupInvalid, AssertionError)):  # the header is compared by `read`
            read(bytes(flipped))


def test_without_the_sum_an_altered_row_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    altered = b"".join(parts(ONE)).replace(b"alice", b"mally")
    with pytest.raises(BackupInvalid, match="altered"):
        read(altered)
    monkeypatch.setattr(Decoder, "_check_end", lambda *_: None)
    assert read(altered)[0][1][0][1] == "mally"


REORDERED: list[Callable[[list[bytes]], list[bytes]]] = [
    lambda whole: [*whole[:2], *whole[3:]],
    lambda whole: [*whole[:2], whole[2], *whole[2:]],
    lambda whole: [whole[0], whole[1], whole[3], whole[2], *whole[4:]],
    lambda whole: [*whole[:-2], whole[1], whole[-1]],
    lambda whole: [whole[0], *whole[2:]],
    lambda whole: whole[1:],
    lambda whole: [whole[0], *whole],
    lambda whole: [*whole, whole[-1]],
    lambda whole: [whole[0], whole[-1]],
    lambda whole: [b"X" + whole[0][1:], *whole[1:]],
    lambda whole: [b"H\xff\xff\xff\xff", *whole],
    lambda whole: [whole[0], b"T\x00\x00\x00\x01\xc1"],
]


@pytest.mark.parametrize("change", REORDERED)
def test_records_in_another_order_are_refused(
    change: Callable[[list[bytes]], list[bytes]],
) -> None:
    with pytest.raises(BackupInvalid):
        read(b"".join(change(parts(ONE))))


def test_rows_that_are_not_the_tables_are_refused() -> None:
    with pytest.raises(BackupInvalid):
        read(b"".join(parts([("users", [[(1, 2, None)]])])))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BackupInvalid):
        read(data)


def test_a_later_version_may_say_more() -> None:
    body = msgspec.msgpack.encode({**msgspec.to_builtins(HEADER), "later": 1})
    decoder = Decoder(io.BytesIO(b"H" + len(body).to_bytes(4, "big") + body).read, decode_of)
    assert decoder.header == HEADER
