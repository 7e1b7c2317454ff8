"""What the functional negative controls switch off is there: a rename tells in milliseconds."""

import pytest

from tests.functional.cluster import altered
from tests.tables import each_row


@each_row("name", sorted(altered.ALTERATIONS))
def test_a_control_replaces_something_that_is_there(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    replaced = []

    def replace(owner: object, attribute: str, value: object) -> None:
        monkeypatch.setattr(owner, attribute, value, raising=True)
        replaced.append(attribute)

    monkeypatch.setattr(altered, "_replace", replace)
    altered.ALTERATIONS[name]()
    assert replaced
