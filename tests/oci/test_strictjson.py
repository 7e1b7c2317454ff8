"""JSON that two readers could read differently, or that is made to be expensive."""

import json
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treescale.errors import ManifestInvalid
from treescale.oci.strictjson import depth_max, parse_object, values_max

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
    "depth 100,000, lists": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "depth 100,000, objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "depth 100,000, never closed": b'{"a":' + b"[" * 100_000,
    "one level too deep": b'{"a":' + b"[" * depth_max + b"]" * depth_max + b"}",
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


@pytest.mark.parametrize("payload", REFUSED.values(), ids=REFUSED.keys())
def test_refused(payload: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse_object(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b' {"a" : [1, 2.5, -1e3, true, null]}\r\n\t',
        '{"ü":"\U0001f600"}'.encode(),
        b'{"a":"\\ud83d\\ude00\\n\\\\\\"{[,"}',
        b'{"a":"\\\\ud800"}',  # an escaped backslash, then harmless letters
        b'{"a":' + b"[" * (depth_max - 1) + b"]" * (depth_max - 1) + b"}",
        b'{"a":"' + b"[{" * 100_000 + b'"}',
        b'{"a":"' + b'\\"' * 100_000 + b'"}',
    ],
)
def test_accepted_as_the_standard_library_reads_it(payload: bytes) -> None:
    assert parse_object(payload) == json.loads(payload)


def test_one_value_too_many() -> None:
    assert len(parse_object(b'{"a":[' + b",".join([b"1"] * (values_max - 2)) + b"]}")) == 1
    with pytest.raises(ManifestInvalid, match="more than"):
        parse_object(b'{"a":[' + b",".join([b"1"] * values_max) + b"]}")


@pytest.mark.parametrize(
    "unit",
    [
        b"[",
        b"{",
        b"[],",
        b"{},",
        b'"",',
        b"1,",
        b'"a":1,',
        b'{"a":',
        b"\\\\",
        b'\\"',
        b"\\u0041",
        b"\\ud800",
        b"\\ud83d\\ude00",
        b'"',
        b"a",
        b" ",
        b"1",
        b"1.5,",
        b'xxxxxxxxx",',
        b"[ ]",
    ],
)
def test_four_mebibytes_of_anything_are_cheap(unit: bytes) -> None:
    """About 50 ms on an idle machine; the bound leaves room for a busy one."""
    for start, end in ((b'{"a":[', b""), (b'{"a":"', b'"}')):
        payload = start + unit * ((4 * MIB - 16) // len(unit)) + end
        begun = process_time()
        try:
            parse_object(payload)
        except ManifestInvalid as refusal:
            assert str(refusal)  # noqa: PT017  both outcomes are right; the time is judged
        assert process_time() - begun < 0.5


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
