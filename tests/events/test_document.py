"""docs/events.md says of each kind when there is one, and names no other."""

import re
from pathlib import Path

from treescale.console.events import BEAT_SECONDS
from treescale.events.fan_out import QUEUE_MAX
from treescale.events.live import FOLLOWERS_MAX, PAGE
from treescale.events.retention import DAYS, DEFAULT
from treescale.events.rights import OF_IMAGES
from treescale.metadata.events.groups import (
    GIVEN_AT_ONCE_MAX,
    GROUPS_MAX,
    LEASE_SECONDS,
    LEASED_MAX,
)
from treescale.metadata.events.recording import Kind
from treescale.oci.image_payload import PARTS_MAX

PAGE_ON_IT = (Path(__file__).parents[2] / "docs/events.md").read_text()


def test_each_kind_has_a_row() -> None:
    rows = re.findall(r"^\| (`[a-z_.]+`(?:, `[a-z_.]+`)*) \| ", PAGE_ON_IT, re.MULTILINE)
    named = [kind for row in rows for kind in re.findall(r"`([a-z_]+\.[a-z_]+)`", row)]
    assert sorted(named) == sorted(Kind)


def test_what_strangers_see_is_named() -> None:
    (line,) = [
        one for one in PAGE_ON_IT.splitlines() if one.startswith("- **Whoever else may pull**")
    ]
    assert {*re.findall(r"`([a-z_]+\.[a-z_]+)`", line)} == OF_IMAGES


def test_limits_are_as_they_are_said() -> None:
    assert DEFAULT.seconds == DAYS * 86400
    for said in (
        f"every {BEAT_SECONDS:g} s",
        f"{FOLLOWERS_MAX:,} followers",
        f"{DAYS} days",
        f"up to {GIVEN_AT_ONCE_MAX} events",
        f"up to {GROUPS_MAX} groups",
        f"within {LEASE_SECONDS:g} s",
        f"{LEASED_MAX:,} events",
        f"up to {PARTS_MAX},",
    ):
        assert said in PAGE_ON_IT, said
    assert PAGE <= QUEUE_MAX, "a page that was read at once fits into each queue"
