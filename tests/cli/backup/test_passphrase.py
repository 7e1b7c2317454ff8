"""A passphrase is what a file holds, less the end of its last line."""

from pathlib import Path

import pytest

from treescale.cli.backup.passphrase import BYTES_MAX, read_passphrase
from treescale.errors import SettingInvalid


@pytest.mark.parametrize(
    ("text", "passphrase"),
    [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b" two words \n\n", b" two words \n"),
        (b"\x00\xff" * (BYTES_MAX // 2), b"\x00\xff" * (BYTES_MAX // 2)),
    ],
)
def test_it_is_what_the_file_holds(tmp_path: Path, text: bytes, passphrase: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(text)
    assert read_passphrase(str(path)) == passphrase


@pytest.mark.parametrize("text", [b"", b"\n", b"\r\n", b"x" * (BYTES_MAX + 1)])
def test_what_is_none_is_told(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(text)
    with pytest.raises(SettingInvalid, match=r"--passphrase-file .*secret"):
        read_passphrase(str(path))


def test_without_a_file_there_is_none(tmp_path: Path) -> None:
    assert read_passphrase(None) is None
    with pytest.raises(SettingInvalid, match="No such file"):
        read_passphrase(str(tmp_path / "absent"))
