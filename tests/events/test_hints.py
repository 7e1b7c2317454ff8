"""What of the log has servers look sooner."""

import pytest

from treescale.events.hints import Hint, hints
from treescale.metadata.events.recording import Kind


@pytest.mark.parametrize(
    ("hint", "kinds"),
    [
        (Hint.RIGHTS, {Kind.TOKEN_REVOKED, Kind.USER_REMOVED, Kind.USER_PASSWORD}),
        (Hint.LAYOUT, {Kind.LAYOUT_CHANGED, Kind.STORE_STATE, Kind.SERVER_FORGOTTEN}),
    ],
)
def test_each_of_these_is_one(hint: Hint, kinds: set[Kind]) -> None:
    for kind in kinds:
        assert hints([kind]) == {hint}


def test_what_everybody_does_all_day_is_none() -> None:
    """Pushes have nobody read rights or layouts again."""
    assert hints([Kind.IMAGE_PUSHED, Kind.TAG_DELETED, Kind.REPOSITORY_CREATED]) == set()
    assert hints([Kind.IMAGE_PUSHED, Kind.TOKEN_REVOKED, Kind.LAYOUT_CHANGED]) == {*Hint}
