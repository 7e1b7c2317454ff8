"""Any bytes give a value or an error of our tree: credentials, scopes and settings from outside."""

import base64
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz.budget import parser
from treescale.chunks.format.recipe import decode
from treescale.config import FIELDS, load
from treescale.errors import Corrupt, TreeScaleError
from treescale.http.authentication import decode_basic
from treescale.metadata.engine.address import parse_address
from treescale.registry.accounts import parse_allow, parse_duration

TEXT = st.text(st.characters())  # lone surrogates too
VARIABLES = st.sampled_from([*(f"TREESCALE_{key.upper()}" for key in FIELDS), "TREESCALE_X"])
VALUES = st.sampled_from(
    ["true", "0", "-1", "2e9", "nan", "1979-05-27", "[]", '[""]', '["a:1"]', "{}"]
) | st.text(st.characters(codec="ascii", exclude_characters='"\\'), max_size=9).map('"{}"'.format)
LINES = st.dictionaries(st.sampled_from(list(FIELDS)), VALUES, max_size=3).map(
    lambda lines: "\n".join(f"{key} = {value}" for key, value in lines.items()).encode()
)


@parser(300)
@given(TEXT | st.binary().map(lambda data: base64.b64encode(data).decode()))
@example("A" * 20_000)
@example("Og==")
def test_any_text_as_basic_credentials(value: str) -> None:
    try:
        name, secret = decode_basic(value)
    except TreeScaleError:
        return
    assert base64.b64encode(f"{name}:{secret}".encode()).decode() == value


@parser(300)
@given(st.binary(max_size=300))
def test_any_bytes_as_recipe(data: bytes) -> None:
    try:
        assert decode(data).size >= 0
    except Corrupt:
        return


@parser(200)
@given(TEXT)
def test_any_text_as_address_or_terms(text: str) -> None:
    for parse in (parse_duration, parse_allow, parse_address):
        with suppress(TreeScaleError):
            parse(text)


@settings(parser(), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | LINES, st.dictionaries(VARIABLES, TEXT, max_size=3))
def test_any_bytes_as_settings(tmp_path: Path, data: bytes, environment: dict[str, str]) -> None:
    file = tmp_path / "treescale.toml"
    file.write_bytes(data)
    for variables in (environment, {}):
        with suppress(TreeScaleError):
            load({}, variables, config=str(file))
