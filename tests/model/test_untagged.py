"""The rule `untagged` takes nothing that somebody was told is there, searched whole; with controls.

`python3 -m tests.model.untagged_model` searches more, and a name prints the way to what it breaks.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.model import untagged_model as model

CONTROLS: dict[str, Any] = model.CONTROLS
SMALL = ("index", "referrer", "pulls", "tags")


def searched(scenario: str, rules: Mapping[str, object]) -> tuple[int, list[str] | None]:
    """Return how many states there are, and the way to one that is broken."""
    search: Any = vars(model)["Untagged"](*model.SCENARIOS[scenario], rules)
    came, trace = search.search()
    return len(came), trace


@pytest.mark.long
@pytest.mark.parametrize("scenario", SMALL)
def test_who_was_told_of_an_image_finds_it(scenario: str) -> None:
    states, trace = searched(scenario, {})
    assert trace is None, "\n".join(trace)
    assert states > 1000


@pytest.mark.parametrize("control", CONTROLS)
def test_each_rule_is_needed_or_said_not_to_be(control: str) -> None:
    scenario, rules = CONTROLS[control]
    _, trace = searched(scenario, rules)
    assert (trace is None) is control.startswith("holds: ")


def test_control_without_a_day_of_grace_the_client_that_was_told_loses() -> None:
    _, trace = searched(*CONTROLS["no grace of a day"])
    assert trace is not None
    assert trace[-2:] == [
        "the rule deletes the index",
        "the index is gone, and somebody was told less than a day ago that it is there",
    ]
