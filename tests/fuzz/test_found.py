"""What the fuzzers found, each by its name."""

import os
from pathlib import Path

import pytest

from tests.fuzz.rig import copy_home, running
from tests.fuzz.wire import Link
from treescale.config import load
from treescale.errors import SettingInvalid


def test_a_variable_whose_bytes_are_no_text_is_an_invalid_setting() -> None:
    with pytest.raises(SettingInvalid, match="TREESCALE_NO_STORE"):
        load({}, {"TREESCALE_NO_STORE": os.fsdecode(b"\xff")})


@pytest.mark.parametrize("version", ["0.9", "2.0"])
async def test_a_version_nobody_speaks_here_is_refused_in_one_we_do(
    version: str, home: Path, tmp_path: Path
) -> None:
    async with running(copy_home(home, tmp_path / "home")) as worker:
        link = await Link.open(worker.port)
        await link.send(f"GET /v2/ HTTP/{version}\r\nHost: a\r\n\r\n".encode())
        said = await link.reader.read()
        await link.close()
    assert said.startswith(b"HTTP/1.0 400 ")
