"""JSON that two readers could read differently, or that is made to be expensive."""

import json
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.errors import ManifestInvalid
from treescale.oci.strict_json import LEVELS_AT_ONCE, parse_object

MIB = 1024 * 1024

REFUSED = {
    "nothing": b"",
    "no object": b"[1]",
    "a key twice": b'{"a":1,"a":2}',
    "a key twice, once escaped": b'{"a":1,"\\u0061":2}',
    "a key twice, deep inside": b'{"x":[{"y":{"a":1,"b":2,"a":1}}]}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "minus Infinity": b'{"a":-Infinity}',
    "a number that becomes infinite": b'{"a":1e999}',
    "5000 digits": b'{"a":' + b"9" * 5000 + b"}",
    "a long fraction": b'{"a":0.' + b"9" * 5000 + b"}",
    "depth 100,000, never closed": b'{"a":' + b"[" * 100_000,
    "a key twice, very deep": b'{"a":' + b"[" * 999 + b'{"b":1,"b":2}' + b"]" * 999 + b"}",
    "NaN, very deep": b'{"a":' + b"[" * 999 + b"NaN" + b"]" * 999 + b"}",
    "half a surrogate pair, very deep": b'{"a":' + b"[" * 999 + b'"\\ud800"' + b"]" * 999 + b"}",
    "brackets crossed, very deep": b'{"a":' + b"[" * 999 + b"{]}" + b"]" * 998 + b"}",
    "closed before it is opened": b'{"a":' + b"[" * 99 + b"]" * 101 + b"[" * 2 + b"}",
    "closed with another bracket": b'{"a":' + b"[" * 99 + b"}" * 99 + b"}",
    "a deep key": b'{"a":{' + b"[" * 99 + b"]" * 99 + b":1}}",
    "a deep value too many": b'{"a":' + b"[" * 99 + b"]" * 99 + b"[]}",
    "never closed but in a string": b'{"a":' + b"[" * 99 + b'"' + b"]" * 99 + b"}",
    "lone high surrogate": b'{"a":"\\ud800"}',
    "lone low surrogate": b'{"a":"\\udc00"}',
    "surrogates in the wrong order": b'{"a":"\\ude00\\ud83d"}',
    "lone surrogate in a key": b'{"\\ud800":1}',
    "surrogate parted by an escaped backslash": b'{"a":"\\ud83d\\\\\\ude00"}',
    "surrogate as raw bytes": b'{"a":"\xed\xa0\x80"}',
    "not UTF-8": b'{"a":"\xff"}',
    "overlong UTF-8": b'{"a":"\xc0\xaf"}',
    "byte order mark": b'\xef\xbb\xbf{"a":1}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a":1}'.encode("utf-16-le"),
    "UTF-32": '{"a":1}'.encode("utf-32"),
    "raw newline in a string": b'{"a":"x\ny"}',
    "raw NUL in a string": b'{"a":"x\0y"}',
    "two documents": b"{}{}",
    "something after it": b"{} x",
    "a comment": b"{}//",
    "single quotes": b"{'a':1}",
    "comma at the end": b'{"a":1,}',
    "unfinished": b'{"a":"',
    "a leading zero": b'{"a":01}',
    "a hex number": b'{"a":0x1}',
    "a plus": b'{"a":+1}',
}


@each_row("payload", REFUSED.values(), ids=REFUSED.keys())
def test_refused(payload: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse_object(payload)


@each_row(
    "payload",
    [
        b"{}",
        b' {"a" : [1, 2.5, -1e3, true, null]}\r\n\t',
        '{"ü":"\U0001f600"}'.encode(),
        b'{"a":"\\ud83d\\ude00\\n\\\\\\"{[,"}',
        b'{"a":"\\\\ud800"}',  # an escaped backslash, then harmless letters
        b'{"a":' + b"[" * (LEVELS_AT_ONCE - 1) + b"]" * (LEVELS_AT_ONCE - 1) + b"}",
        b'{"a":"' + b"[{" * 100_000 + b'"}',
        b'{"a":"' + b'\\"' * 100_000 + b'"}',
    ],
)
def test_accepted_as_the_standard_library_reads_it(payload: bytes) -> None:
    assert parse_object(payload) == json.loads(payload)


@pytest.mark.parametrize(
    "levels",
    [63, 64, 65, 127, 128, 129, 1000, 100_000, pytest.param(500_000, marks=pytest.mark.long)],
)
@pytest.mark.parametrize(("begin", "inner", "end"), [(b"[", b"", b"]"), (b'{"x":', b"1", b"}")])
def test_any_depth(levels: int, begin: bytes, inner: bytes, end: bytes) -> None:
    """What is around it is read as if it were not there."""
    levels = min(levels, 4 * MIB // len(begin + end) - 20)
    deep = begin * levels + inner + end * levels
    payload = b'{"a":"[[","b":' + deep + b',"c":[{"d":' + deep[: len(begin)] + inner + end + b"}]}"
    document = parse_object(payload)
    assert document["a"] == "[["
    assert document["c"] == [{"d": json.loads(begin + inner + end)}]


@each_row("part", ['"]}[{"', '"\\\\"', '"\\"]"', "{}", "[]", "0", '[[],{"a":[{}]}]', " ", "\r\n"])
def test_deep_between_other_things(part: str) -> None:
    for levels in range(60, 140, 3):
        value = part if part.strip() else f"{part}1{part}"
        text = value
        for level in range(levels):
            text = f"[{value},{text}]" if level % 2 else f'{{"k":{text},"l":{value}}}'
        assert parse_object(f'{{"a":{text},"b":{value}}}'.encode())["b"] == json.loads(value)


def test_any_number_of_values() -> None:
    payload = b'{"a":[' + b",".join([b"1"] * MIB) + b"]}"
    assert parse_object(payload) == {"a": [1] * MIB}


@pytest.mark.parametrize(
    "unit",
    [
        b"[",
        pytest.param(b"{", marks=pytest.mark.long),
        pytest.param(b"[],", marks=pytest.mark.long),
        b"{},",
        pytest.param(b'"",', marks=pytest.mark.long),
        pytest.param(b"1,", marks=pytest.mark.long),
        pytest.param(b'"a":1,', marks=pytest.mark.long),
        b'{"a":',
        pytest.param(b"\\\\", marks=pytest.mark.long),
        pytest.param(b'\\"', marks=pytest.mark.long),
        pytest.param(b"\\u0041", marks=pytest.mark.long),
        pytest.param(b"\\ud800", marks=pytest.mark.long),
        pytest.param(b"\\ud83d\\ude00", marks=pytest.mark.long),
        pytest.param(b'"', marks=pytest.mark.long),
        pytest.param(b"a", marks=pytest.mark.long),
        pytest.param(b" ", marks=pytest.mark.long),
        pytest.param(b"1", marks=pytest.mark.long),
        pytest.param(b"1.5,", marks=pytest.mark.long),
        pytest.param(b'xxxxxxxxx",', marks=pytest.mark.long),
        pytest.param(b"[ ]", marks=pytest.mark.long),
    ],
)
def test_four_mebibytes_of_anything_are_cheap(unit: bytes) -> None:
    """At most a second on an idle machine, in a thread; the bound leaves room for a busy one."""
    for start, end in ((b'{"a":[', b""), (b'{"a":"', b'"}')):
        payload = start + unit * ((4 * MIB - 16) // len(unit)) + end
        begun = process_time()
        try:
            parse_object(payload)
        except ManifestInvalid as refusal:
            assert str(refusal)  # noqa: PT017  both outcomes are right; the time is judged
        assert process_time() - begun < 5


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES, max_size=5), st.booleans())
def test_every_honest_object_comes_back(document: dict[str, object], ascii_only: bool) -> None:  # noqa: FBT001
    payload = json.dumps(document, ensure_ascii=ascii_only).encode()
    assert parse_object(payload) == document
