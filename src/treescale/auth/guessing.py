"""Who must wait before a password is looked at, and whose is looked at first. Pure: counts come in.

Wrong passwords are counted three times: for a *pair* (one account as seen from one address), for
the address and for the account. An attempt raises the counts when it begins, and lowers them again
when it was right or never looked at, so attempts at the same time count like attempts one after the
other.

| count | what it does | who is exempt |
|---|---|---|
| pair | refuses: after 5 for 1 s, then 2, 4 … 60 s | known pairs are held, 10 s at most |
| address | refuses from 64 on, less one every 2 s; what it sends is looked at last | known pairs |
| account | holds who is new there: from 20 on up to 10 s, less one every 6 s | known pairs |

A pair is *known* when that address logged in to that account in the last 30 days. What was right
lately, letter by letter, waits for nothing: nobody else can know it.

A flood from many addresses that were never seen before cannot be told from as many people, until
each has failed once. So an address goes behind others while its *network* (IPv4 /24, IPv6 /48)
fails, unless somebody logged in from it lately.
"""

import ipaddress
import math
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from typing import Final

PAIR_FREE: Final = 5
PAIR_DELAY_SECONDS_MAX: Final = 60.0
ADDRESS_FREE: Final = 64
ADDRESS_AT_ONCE: Final = 2
"""More attempts at once from one address go behind those of others."""
NETWORK_FREE: Final = 8
ACCOUNT_FREE: Final = 20
HOLD_SECONDS_MAX: Final = 10.0
"""The longest that anybody waits for what others did."""
ACCOUNT_HOLD_SECONDS: Final = 0.5
"""What each failure of an account above `ACCOUNT_FREE` adds."""
FORGOTTEN_SECONDS: Final = 900.0
"""After so long without a failure a count is nothing, and its address clean again."""
ADDRESS_CHARACTERS_MAX: Final = 64
_IPV6_ADDRESS: Final = 64
_IPV6_NETWORK: Final = 48
_IPV4_NETWORK: Final = 24


class Urgency(IntEnum):
    """Whose password is looked at first: lower goes before higher."""

    PROVEN = 0
    """It was right lately, or its address is known for this account."""
    CLEAN = 1
    """Nothing wrong has come lately from its address, nor much from its network."""
    CROWDED = 2
    """Nothing wrong has come from its address, but from others of its network."""
    DOUBTFUL = 3


@dataclass(frozen=True, slots=True)
class Count:
    """Attempts that failed or are looked at, as of `last`; when one last failed, or was right.

    Times are monotonic seconds.
    """

    level: float = 0.0
    last: float = -math.inf
    failed: float = -math.inf
    right: float = -math.inf


NOTHING: Final = Count()


@dataclass(frozen=True, slots=True)
class Limit:
    """How fast a count goes down by itself, and how far up it can go."""

    leak_per_second: float
    level_max: float

    def level(self, count: Count, now: float) -> float:
        """Return what is left of a count."""
        idle = now - count.last
        if idle >= FORGOTTEN_SECONDS:
            return 0.0
        return max(0.0, count.level - max(0.0, idle) * self.leak_per_second)

    def begun(self, count: Count, now: float) -> Count:
        """Return the count with an attempt more."""
        level = min(self.level(count, now) + 1.0, self.level_max)
        return replace(count, level=level, last=now)

    def failed(self, count: Count, now: float) -> Count:
        """Return the count when an attempt that was counted has failed."""
        return replace(count, level=self.level(count, now), last=now, failed=now)

    def right(self, count: Count, now: float) -> Count:
        """Return the count without an attempt that was right."""
        return replace(self.taken_back(count, now), last=now, right=now)

    def taken_back(self, count: Count, now: float) -> Count:
        """Return the count without an attempt that was neither."""
        level = max(0.0, self.level(count, now) - 1.0)
        forgotten = now - max(count.failed, count.right) >= FORGOTTEN_SECONDS
        return NOTHING if level == 0.0 and forgotten else replace(count, level=level, last=now)


PAIR: Final = Limit(1 / 60, 15.0)
ADDRESS: Final = Limit(1 / 2, 2.0 * ADDRESS_FREE)
NETWORK: Final = Limit(1 / 2, 2.0 * ADDRESS_FREE)
ACCOUNT: Final = Limit(1 / 6, 100.0)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is counted of an attempt's pair, address, network and account."""

    pair: Count = NOTHING
    address: Count = NOTHING
    network: Count = NOTHING
    account: Count = NOTHING


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to an attempt: it is refused for so long, or held so long and then looked at."""

    urgency: Urgency
    hold_seconds: float = 0.0
    refuse_seconds: float = 0.0


def pair_delay_seconds(level: float) -> float:
    """Return how long a pair waits after its last failure: 0, then 1, 2, 4 … up to a minute."""
    failures = round(level)  # what has leaked since the last one is no whole failure
    if failures < PAIR_FREE:
        return 0.0
    return min(2.0 ** min(failures - PAIR_FREE, 16), PAIR_DELAY_SECONDS_MAX)


def account_delay_seconds(level: float) -> float:
    """Return how long an address waits that is new to an account guessed at so often."""
    return min(max(0.0, level - ACCOUNT_FREE) * ACCOUNT_HOLD_SECONDS, HOLD_SECONDS_MAX)


def judge(seen: Seen, now: float, *, known: bool) -> Verdict:
    """Return what happens to an attempt whose credential was not right lately."""
    failed_here = PAIR.level(seen.pair, now)
    own = seen.pair.last + pair_delay_seconds(failed_here) - now
    if known:
        return Verdict(Urgency.PROVEN, hold_seconds=min(max(0.0, own), HOLD_SECONDS_MAX))
    others = account_delay_seconds(ACCOUNT.level(seen.account, now))
    too_many = ADDRESS.level(seen.address, now) - ADDRESS_FREE
    refused = max(0.0, own)
    if too_many >= 0:
        refused = max(refused, min((too_many + 1) / ADDRESS.leak_per_second, HOLD_SECONDS_MAX))
    if failed_here > 0:  # it has had its hold: it waits from its own failure on
        refused = max(refused, seen.pair.last + others - now)
    urgency = _urgency(seen, now)
    if refused > 0:
        return Verdict(urgency, refuse_seconds=refused)
    return Verdict(urgency, hold_seconds=0.0 if failed_here > 0 else others)


def _urgency(seen: Seen, now: float) -> Urgency:
    if now - seen.address.failed < FORGOTTEN_SECONDS:
        return Urgency.DOUBTFUL
    if ADDRESS.level(seen.address, now) >= ADDRESS_AT_ONCE:
        return Urgency.DOUBTFUL
    calm = NETWORK.level(seen.network, now) < NETWORK_FREE
    trusted = now - seen.address.right < FORGOTTEN_SECONDS
    return Urgency.CLEAN if calm or trusted else Urgency.CROWDED


@lru_cache(maxsize=4096)
def address_key(source: str) -> str:
    """Return what counts as one address: of IPv6 its /64, which one machine has as a rule.

    An IPv4 address written as IPv6 (`::ffff:192.0.2.1`) is that IPv4 address. What is no address,
    such as a Unix socket's "", stands for itself.
    """
    address = _parsed(source)
    if isinstance(address, ipaddress.IPv6Address):
        return _network(address, _IPV6_ADDRESS)
    return source[:ADDRESS_CHARACTERS_MAX] if address is None else str(address)


@lru_cache(maxsize=4096)
def network_key(source: str) -> str:
    """Return what counts as one network: /24 of IPv4, /48 of IPv6."""
    address = _parsed(source)
    if address is None:
        return source[:ADDRESS_CHARACTERS_MAX]
    return _network(address, _IPV4_NETWORK if address.version == 4 else _IPV6_NETWORK)  # noqa: PLR2004


def _network(address: ipaddress.IPv4Address | ipaddress.IPv6Address, bits: int) -> str:
    return str(ipaddress.ip_network((address.packed, bits), strict=False))


def _parsed(source: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(source.partition("%")[0].strip("[]"))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
