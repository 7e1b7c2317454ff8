"""What administration does with limits of namespaces, and with what they kept each month.

Whether the caller may is asked of `auth.policy` by whoever calls; a command on the database may.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Final

from treescale.errors import FieldInvalid, RequestInvalid, SettingInvalid
from treescale.metadata.database import Database
from treescale.metadata.settings.settings import Check
from treescale.metadata.usage.counting import UsageCounter
from treescale.metadata.usage.months import Month, Months
from treescale.metadata.usage.quotas import (
    BYTES,
    LIMITS,
    NO_LIMIT,
    Limit,
    QuotaFigures,
    Quotas,
    limit_of,
)
from treescale.oci.names import check_namespace
from treescale.registry.counted.rates import RATE_SETTINGS
from treescale.sizes import parse_bytes

PAGE_SIZE: Final = 100
NONE: Final = "none"
DEFAULT: Final = "default"
"""What a limit is set to that is the cluster's."""
UNIT_LESS_BYTES_MIN: Final = 1_000_000
NUMBER_MAX: Final = 10**9
DIGITS_MAX: Final = 10
"""Of repositories, tags or requests: more is no limit."""
_BY_SETTING: Final = {each.setting: each for each in LIMITS}
CLUSTER_SETTINGS: Final = (*_BY_SETTING, *RATE_SETTINGS)
"""The settings that are limits."""
_MONTH_CHARACTERS: Final = 7


class QuotaService:
    """Limits of namespaces, and of the cluster for those without one of their own."""

    def __init__(self, database: Database) -> None:
        self._quotas = Quotas(database.connections)
        self._counter = UsageCounter(database.connections)
        self._settings = database.settings

    async def set(self, namespace: str, to: Mapping[str, str], *, actor: str) -> QuotaFigures:
        """Give a namespace limits by the cluster's settings' names; return what is in force then.

        A limit is text: `50GB`, a number, `none`, or `default` for the cluster's. Raises
        FieldInvalid, NamespaceUnknown.
        """
        check_namespace(namespace)
        wanted = {_BY_SETTING[name]: _own(_BY_SETTING[name], text) for name, text in to.items()}
        await self._quotas.set(namespace, wanted, actor=actor)
        return await self.get(namespace)

    async def set_defaults(
        self, to: Mapping[str, str], *, actor: str, check: Check | None = None
    ) -> None:
        """Set limits of the cluster by their settings; `none` for none. Raises FieldInvalid.

        And what `check` does, which is asked of each.

        Those of namespaces are for all without one of their own, those of requests for each
        account: any server goes by them within seconds.
        """
        parsed: dict[str, int | None] = {}
        for name, text in to.items():
            try:
                parsed[name] = parse_limit(name, text)
            except SettingInvalid as error:
                raise FieldInvalid(str(error), name.replace("-", "_")) from None
        for name, limit in parsed.items():
            await self._quotas.set_default(name, limit, actor=actor, check=check)

    async def defaults(self) -> dict[str, int | None]:
        """Return the cluster's limits, by setting; None is none."""
        found = await self._settings.several(CLUSTER_SETTINGS)
        return {name: limit_of(found.get(name)) for name in CLUSTER_SETTINGS}

    async def get(self, namespace: str) -> QuotaFigures:
        """Return what a namespace may have and has now; raises NamespaceUnknown."""
        await self._counter.count()
        return await self._quotas.get(namespace)

    async def page(self, after: str, limit: int) -> list[QuotaFigures]:
        """Return a page of the namespaces that have a limit, by name, as of a minute ago."""
        return await self._quotas.page(after, limit)

    async def each(self) -> AsyncIterator[QuotaFigures]:
        """Yield all of them."""
        after = ""
        while page := await self._quotas.page(after, PAGE_SIZE):
            for one in page:
                yield one
            after = page[-1].namespace


class UsageService:
    """What namespaces kept each month, and what was pulled of them."""

    def __init__(self, database: Database) -> None:
        self._months = Months(database.connections)

    async def of_namespace(self, namespace: str) -> list[Month]:
        """Return the months of a namespace, the oldest first."""
        return await self._months.of_namespace(namespace)

    async def of_month(self, month: str | None, after: str, limit: int) -> list[Month]:
        """Return a page of the namespaces of a month, of the present one for None, by name.

        Raises RequestInvalid.
        """
        wanted = await self._months.present() if month is None else check_month(month)
        return await self._months.of_month(wanted, after, limit)


def check_month(text: str) -> str:
    """Return a month such as `2026-11`; raises RequestInvalid."""
    year, dash, number = text.partition("-")
    is_one = (
        len(text) == _MONTH_CHARACTERS
        and dash == "-"
        and (year + number).isascii()
        and (year + number).isdecimal()
        and "01" <= number <= "12"
        and year > "0000"
    )
    if not is_one:
        raise RequestInvalid("a month is written as 2026-11")
    return text


def parse_limit(setting: str, text: str) -> int | None:
    """Return the limit that a text says, None for `none`; raises SettingInvalid."""
    if text == NONE:
        return None
    if setting == BYTES.setting:
        return _parse_quota(text)
    is_short = text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX
    if not is_short or not 0 < int(text) <= NUMBER_MAX:
        raise SettingInvalid(
            f"{setting}={text[:40]} is no limit: say a number from 1 to {NUMBER_MAX:,}, or none"
        )
    return int(text)


def _parse_quota(text: str) -> int:
    """Return a number of bytes; a small one has to have its unit, which was rather forgotten."""
    count = parse_bytes(text)
    if text.strip().isdecimal() and 0 < count < UNIT_LESS_BYTES_MIN:
        raise SettingInvalid(f"{text} bytes are hardly meant: say {text}GB, or {text}B if they are")
    return count


def _own(limit: Limit, text: str) -> int | None:
    if text == DEFAULT:
        return None
    try:
        found = parse_limit(limit.setting, text)
    except SettingInvalid as error:
        raise FieldInvalid(f"{error}, or {DEFAULT} for the cluster's", limit.setting) from None
    return NO_LIMIT if found is None else found
