"""A backup's file: whole under its name, or not there."""

import errno
import os
from pathlib import Path

import pytest

from treescale.errors import Failed, SettingInvalid
from treescale.maintenance.backup.file import BEGIN, new_file

BEFORE = BEGIN + b"of before"


def test_it_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    with new_file(path, overwrite=False) as file:
        file.write(b"all")
        assert not path.exists()
        assert (tmp_path / "backup.part").stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == b"all"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["backup"]  # noqa: PTH208  names alone


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    path.write_bytes(BEFORE)

    def broken() -> None:
        with new_file(path, overwrite=True) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert path.read_bytes() == BEFORE
    assert os.listdir(tmp_path) == ["backup"]  # noqa: PTH208  names alone


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        pytest.raises(Failed, match="backup cannot be written: No space left on device"),
        new_file(tmp_path / "backup", overwrite=False),
    ):
        raise full
    assert os.listdir(tmp_path) == []  # noqa: PTH208  names alone


def test_what_is_there_is_replaced_only_when_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    path.write_bytes(BEFORE)
    path.chmod(0o644)
    with (
        pytest.raises(SettingInvalid, match="--overwrite"),
        new_file(path, overwrite=False),
    ):
        pass
    assert path.read_bytes() == BEFORE
    with new_file(path, overwrite=True) as file:
        file.write(b"after")
    assert path.read_bytes() == b"after"
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_comes_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    with pytest.raises(SettingInvalid), new_file(path, overwrite=False):
        path.write_bytes(b"somebody else's")
    assert path.read_bytes() == b"somebody else's"


def test_what_a_killed_command_left_is_begun_anew(tmp_path: Path) -> None:
    part = tmp_path / "backup.part"
    part.write_bytes(b"x" * 100)
    part.chmod(0o644)
    with new_file(tmp_path / "backup", overwrite=False) as file:
        assert part.stat().st_mode & 0o777 == 0o600
        file.write(b"all")
    assert (tmp_path / "backup").read_bytes() == b"all"


def test_two_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    with new_file(path, overwrite=False) as file:
        file.write(b"first")
        with (
            pytest.raises(SettingInvalid, match="by another command"),
            new_file(path, overwrite=False),
        ):
            pass
    assert path.read_bytes() == b"first"


def test_where_no_file_can_be_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent" / "backup"):
        with pytest.raises(SettingInvalid), new_file(path, overwrite=True):
            pass


@pytest.mark.parametrize("content", [b"SQLite format 3", b"TreeScale backu"])
def test_what_is_no_backup_is_never_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "treescale.db"
    path.write_bytes(content)
    with (
        pytest.raises(SettingInvalid, match="no backup of TreeScale, so it stays"),
        new_file(path, overwrite=True),
    ):
        pass
    assert path.read_bytes() == content


def test_a_pipe_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(SettingInvalid, match="so it stays"), new_file(path, overwrite=True):
        pass
    assert path.is_fifo()
