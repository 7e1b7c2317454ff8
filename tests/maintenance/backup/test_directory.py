"""A directory of backups: what is removed is a backup, and nothing else is touched."""

from pathlib import Path

import pytest

from treescale.errors import Failed
from treescale.maintenance.backup.directory import rotate
from treescale.maintenance.backup.file import BEGIN, is_backup
from treescale.maintenance.backup.rotation import name_of

DAY = 86_400
CLUSTER = "0123456789abcdef"


def name(day: int) -> str:
    return name_of(day * DAY, CLUSTER)


def put(directory: Path, *days: int, content: bytes = BEGIN + b"1 zstd") -> None:
    for day in days:
        (directory / name(day)).write_bytes(content)


def there(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_older_ones_go(tmp_path: Path) -> None:
    put(tmp_path, 1, 2, 3, 4)
    (tmp_path / "notes").write_text("mine")
    assert rotate(tmp_path, name(4), 2) == [name(1), name(2)]
    assert there(tmp_path) == {name(3), name(4), "notes"}


def test_what_is_no_backup_pushes_none_out_and_stays(tmp_path: Path) -> None:
    """Names that are empty, cut off, other things or links elsewhere do not count."""
    put(tmp_path, 1, 2, 9)
    put(tmp_path, 3, content=b"")
    put(tmp_path, 4, content=BEGIN[:5])
    put(tmp_path, 5, content=b"something else entirely")
    (tmp_path / name(6)).mkdir()
    (tmp_path / name(7)).symlink_to(tmp_path / name(1))
    before = there(tmp_path)
    assert rotate(tmp_path, name(9), 3) == []
    assert rotate(tmp_path, name(9), 2) == [name(1)]
    assert there(tmp_path) == before - {name(1)}


def test_one_that_is_somebody_else_s_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root has made by hand: else none would ever go again, until the disk is full."""
    put(tmp_path, 1, 2, 3, 4)

    def of_root(path: Path) -> bool:
        if path.name == name(3):
            raise PermissionError(13, "Permission denied")
        return is_backup(path)

    monkeypatch.setattr("treescale.maintenance.backup.directory.is_backup", of_root)
    assert rotate(tmp_path, name(4), 2) == [name(1)]
    assert there(tmp_path) == {name(2), name(3), name(4)}


def test_a_file_that_cannot_be_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, 1, 2)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(Failed, match="is there, but older ones cannot be removed: Permission"):
        rotate(tmp_path, name(2), 1)
    assert name(2) in there(tmp_path)
