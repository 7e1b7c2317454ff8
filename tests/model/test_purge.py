"""What purging adds to the rules of collection, searched whole; each control breaks one of them.

`python3 tests/model/collection_model.py` searches all scenarios, `--purge` those of purging alone.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.model import collection_model as model

SMALL = ("purge", "purge, session", "purge, transaction open", "purge, database's clock")
CONTROLS = (
    "no fence",
    "named after it is gone, put before",
    "gone before every store has confirmed",
    "a purge does not wait",
    "a purge of what an upload names",
    "gone is forgotten too soon",
    "gone is forgotten after C",
)


def searched(scenario: str, rules: Mapping[str, object]) -> tuple[int, list[str] | None]:
    """Return how many states there are, and the way to one that is broken."""
    search: Any = vars(model)["Model"](*model.SCENARIOS[scenario], rules)
    came, trace = search.search()
    return len(came), trace


@pytest.mark.long
@pytest.mark.parametrize("scenario", SMALL)
def test_a_purge_takes_nothing_that_a_row_names(scenario: str) -> None:
    states, trace = searched(scenario, {})
    assert trace is None, "\n".join(trace)
    assert states > 1000


@pytest.mark.parametrize("control", CONTROLS)
def test_without_a_rule_something_is_lost(control: str) -> None:
    controls: dict[str, Any] = model.CONTROLS
    scenario, rules = controls[control]
    _, trace = searched(scenario, rules)
    assert trace is not None
    assert "no store has chunk" in trace[-1]
