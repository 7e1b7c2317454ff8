"""The order of reading: who can be expected to answer soon comes first, and each store once."""

from collections import Counter
from dataclasses import replace
from random import Random  # noqa: TID251  a seeded source, handed in

from hypothesis import given
from hypothesis import strategies as st

from tests.chunks.layouts import LAYOUTS, layout_of, table_of, tables
from tests.contracts.chunk_store import chunk_of
from treescale.chunks.format.placement import Table
from treescale.chunks.replication.read_order import (
    LOCAL_ADVANTAGE,
    TURNS_ALIKE_MAX,
    Candidate,
    generations,
    ranked,
    remaining,
)

COPIES = st.builds(
    Candidate,
    store_id=st.text(max_size=3),
    generation=st.integers(0, 2),
    healthy=st.booleans(),
    local=st.booleans(),
    queue=st.integers(0, 40),
    service_seconds=st.floats(0, 100),
)
PLAIN = Candidate("a", 0, healthy=True, local=False, queue=1, service_seconds=0.01)


def names(copies: list[Candidate], chance: float = 0.0) -> list[str]:
    return [copy.store_id for copy in ranked(copies, lambda: chance)]


@given(st.lists(COPIES, max_size=8), st.integers())
def test_all_are_there_clear_first_newer_homes_first(copies: list[Candidate], seed: int) -> None:
    found = ranked(copies, Random(seed).random)  # noqa: S311  nothing here is a secret
    assert Counter(found) == Counter(copies)
    grades = [(not copy.healthy, copy.generation) for copy in found]
    assert grades == sorted(grades)


def test_local_first_until_it_takes_far_longer() -> None:
    far, local = replace(PLAIN, store_id="far"), replace(PLAIN, store_id="local", local=True)
    assert names([far, local])[0] == "local"
    slow = replace(local, service_seconds=PLAIN.service_seconds * LOCAL_ADVANTAGE * 2)
    assert names([far, slow])[0] == "far"
    swamped = replace(local, queue=(PLAIN.queue + 1) * int(LOCAL_ADVANTAGE))
    assert names([far, swamped])[0] == "far"


def test_the_least_busy_first_and_chance_among_equals() -> None:
    idle, busy = replace(PLAIN, store_id="idle"), replace(PLAIN, store_id="busy", queue=2)
    assert names([busy, idle])[0] == "idle"
    equal = [
        replace(PLAIN, store_id=name, service_seconds=0.01 + n / 1000)
        for n, name in enumerate("abc")
    ]
    random = Random(1)  # noqa: S311  nothing here is a secret
    firsts = Counter(ranked(equal, random.random)[0].store_id for _ in range(600))
    assert all(150 < count < 250 for count in firsts.values())


def test_a_slow_store_is_as_busy_as_its_requests_are_long() -> None:
    quick = replace(PLAIN, store_id="quick", queue=4)
    slow = replace(PLAIN, store_id="slow", queue=1, service_seconds=PLAIN.service_seconds * 4)
    assert names([quick, slow])[0] == "quick"
    hardly = replace(slow, service_seconds=PLAIN.service_seconds * TURNS_ALIKE_MAX)
    assert names([quick, hardly])[0] == "slow"


@given(tables(), tables(), st.integers(0, 100))
def test_current_homes_then_older_ones_then_the_rest_each_once(
    new: Table, old: Table, number: int
) -> None:
    chunk, _ = chunk_of(number)
    homes = generations([new, old], chunk)
    assert [name for name, age in homes.items() if age == 0] == list(new.homes(chunk))
    assert homes.keys() == {*new.homes(chunk), *old.homes(chunk)}
    stores = [label.store_id for label in (*new.layout.stores, *old.layout.stores)]
    rest = remaining(new, chunk, homes, stores)
    assert sorted([*homes, *rest]) == sorted(set(stores))
    preferred = [name for name in new.preference(chunk) if name not in homes]
    assert list(rest[: len(preferred)]) == preferred


def test_there_are_layouts_of_many_shapes() -> None:
    assert len({len(layout.stores) for layout in LAYOUTS}) >= 5
    assert table_of(layout_of(((1, 1, 1),), 3)).copies == 3
