"""What a process remembers of the files it verified; that it matters is in test_disk.py."""

from pathlib import Path

from treescale.chunks.trust import Trust


def test_it_remembers_a_bounded_number_and_forgets_the_longest_unused(tmp_path: Path) -> None:
    path = tmp_path / "chunk"
    path.write_bytes(b"bytes")
    found = path.stat()
    later = found.st_ctime_ns + 10**9
    trust = Trust(entries=2)
    for chunk in (b"first", b"second"):
        trust.record(chunk, found, now=0.0, stamp_ns=later, durable=True)
    assert trust.may_read(b"first", found, now=1.0)
    trust.record(b"third", found, now=1.0, stamp_ns=later, durable=True)
    assert trust.may_read(b"first", found, now=2.0)
    assert trust.may_keep(b"third", found, now=2.0)
    assert not trust.may_keep(b"second", found, now=2.0)
