"""Events and hooks for tests, with what they do not say filled in."""

from dataclasses import replace
from typing import Any, Final

from treescale.events.hooks.message import Told
from treescale.metadata.events.hook_records import Delivery, DeliveryState, Hook, HookFormat
from treescale.metadata.events.recorded import Recorded

PUBLIC_URL: Final = "https://registry.example.com"
DIGEST: Final = "sha256:" + 64 * "a"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
EVENT: Final = Recorded(
    sequence=42,
    event_id="0190a3c4-8a1e-7cc3-98c4-dc0c0c07398f",
    kind="image.pushed",
    at=1_750_000_000.5,
    actor="alice",
    namespace="alice",
    repository="alice/tools/app",
    reference="1.2",
    digest=DIGEST,
    payload={"media_type": INDEX, "size": 1234},
)
DELIVERY: Final = Delivery(
    1,
    "h1",
    EVENT.event_id,
    "alice/tools/app",
    "",
    DeliveryState.WAITING,
    attempt=0,
    next_at=0.0,
    created=0.0,
    kind=EVENT.kind,
)
HOOK: Final = Hook(
    "h1",
    "alice",
    "alice",
    "https://hooks.example.com/in",
    HookFormat.TREESCALE,
    "whsec_" + "c2VjcmV0" * 4,
    PUBLIC_URL,
    ("image.pushed", "tag.moved"),
)


def told(**changes: Any) -> Told:
    """Return the event, changed so, and its registry."""
    return Told(replace(EVENT, **changes), PUBLIC_URL)


def hook(**changes: Any) -> Hook:
    """Return the hook, changed so."""
    return replace(HOOK, **changes)
