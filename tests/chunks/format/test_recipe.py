"""Recipes: what is encoded is decoded, anything else is Corrupt, and any range is found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treescale.chunks.format.recipe import Recipe, decode, encode
from treescale.chunks.format.split import DEFAULT, SplitParameters
from treescale.chunks.store import CHUNK_BYTES_MAX
from treescale.errors import Corrupt

ids = st.binary(min_size=32, max_size=32)
parts = st.lists(st.tuples(ids, st.integers(1, CHUNK_BYTES_MAX)), max_size=20).map(tuple)
recipes = st.builds(Recipe, st.just(DEFAULT), parts)


@given(recipes)
def test_what_is_encoded_is_decoded(recipe: Recipe) -> None:
    data = encode(recipe)
    assert decode(data) == recipe
    assert len(data) == 35 + 36 * len(recipe.parts)


def test_the_form_is_the_documented_one() -> None:
    recipe = Recipe(SplitParameters(1, 2, 3, 1, 9), ((bytes(range(32)), 5),))
    assert encode(recipe)[:-8].hex() == (
        "01"
        "01"
        "01"
        "00000001"
        "00000002"
        "00000003"
        "0000000000000009"
        "00000001" + bytes(range(32)).hex() + "00000005"
    )


@given(recipes, st.data())
def test_a_changed_byte_is_corrupt(recipe: Recipe, data: st.DataObject) -> None:
    encoded = bytearray(encode(recipe))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Corrupt):
        decode(bytes(encoded))


@given(recipes, st.data())
def test_a_cut_or_longer_recipe_is_corrupt(recipe: Recipe, data: st.DataObject) -> None:
    encoded = encode(recipe)
    with pytest.raises(Corrupt):
        decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])
    with pytest.raises(Corrupt):
        decode(encoded + data.draw(st.binary(min_size=1, max_size=80)))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_recipe_or_corrupt(data: bytes) -> None:
    try:
        recipe = decode(data)
    except Corrupt:
        return
    assert encode(recipe) == data


@pytest.mark.parametrize("length", [0, CHUNK_BYTES_MAX + 1])
def test_impossible_lengths_are_corrupt(length: int) -> None:
    with pytest.raises(Corrupt, match="empty chunk"):
        decode(encode(Recipe(DEFAULT, ((bytes(32), length),))))


small_parts = st.lists(st.integers(1, 9), max_size=8)


@given(small_parts, st.integers(-2, 80), st.integers(-2, 80))
def test_any_range_is_found(lengths: list[int], first: int, last: int) -> None:
    content = bytes(range(sum(lengths)))
    chunks, start = {}, 0
    for length in lengths:
        chunks[bytes([start]) * 32] = content[start : start + length]
        start += length
    recipe = Recipe(DEFAULT, tuple((chunk, len(data)) for chunk, data in chunks.items()))
    assert recipe.size == len(content)
    found = [chunks[chunk][a:b] for chunk, a, b in recipe.locate(first, last)]
    assert b"".join(found) == content[max(first, 0) : max(last + 1, 0)]
    assert all(found)
