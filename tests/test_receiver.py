"""What the tests' receiver of webhooks takes for order."""

from tests.functional.receiver import Got, overtaken_early
from tests.tables import each_row
from treescale.events.hooks.schedule import HELD_BACK_SECONDS_MAX


def got(sequence: int, happened: float, taken: float) -> Got:
    return Got(f"{sequence}", sequence, "alice/app", "v1", taken - happened, taken)


@each_row(
    "happened, taken, early",
    [
        ((0, 1, 2), (3, 4, 5), []),
        ((0, 1, 2), (9, 4, 5), [1]),  # both others came first
        ((0, 1, 2), (3, 9, 5), [2]),
        ((0, 1, 2), (HELD_BACK_SECONDS_MAX + 9, HELD_BACK_SECONDS_MAX, 400), []),
        ((0, 1, 2), (HELD_BACK_SECONDS_MAX + 9, HELD_BACK_SECONDS_MAX - 1, 400), [1]),
    ],
)
def test_what_is_overtaken_has_waited(
    happened: tuple[float, ...], taken: tuple[float, ...], early: list[int]
) -> None:
    each = [got(number + 1, happened[number], taken[number]) for number in range(3)]
    each.sort(key=lambda one: one.at)
    assert [late for late, _, _ in overtaken_early(each)] == early
