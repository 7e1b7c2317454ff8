"""Taking a renewed certificate into use: the files are read every few seconds, by content.

Content, and not times: a symbolic link that is moved (`..data` of Kubernetes, certbot's `live`), a
rename and `cp -p` all look alike. Who renews replaces two files one after the other, so what does
not fit is told of only when it is still so at the next look.
"""

import asyncio
from typing import Final

from treescale.clock import Clock
from treescale.cluster.advice import CERTIFICATE_SECONDS
from treescale.errors import SettingInvalid
from treescale.log import get_logger
from treescale.server.network.key_pair import KeyPair, judged, read_pair
from treescale.server.network.served_certificate import ServedCertificate

LOOK_SECONDS: Final = 5.0
TOLD_SECONDS: Final = 86_400.0
"""How often it is said that the certificate ends soon."""
_NEVER: Final = float("-inf")


class CertificateWatch:
    """Watches the files of one server; for one process at a time. `look` is to be called often."""

    def __init__(self, served: ServedCertificate, clock: Clock) -> None:
        self._served = served
        self._clock = clock
        self._reading: asyncio.Future[KeyPair] | None = None
        self._looked = _NEVER
        self._asked = served.asked
        self._doubt = ""
        self._told = ""
        self._warned = _NEVER
        self._log = get_logger()

    async def look(self) -> None:
        """Take what the files hold into use, if it is time to look and that can be served with."""
        asked, now = self._served.asked, self._clock.monotonic()
        insist = asked != self._asked
        if not insist and now - self._looked < LOOK_SECONDS:
            return
        try:
            await self._compare(insist=insist)
        except SettingInvalid as wrong:
            self._refuse(str(wrong), insist=insist)
        self._looked, self._asked = now, asked
        self._warn()

    async def _compare(self, *, insist: bool) -> None:
        found = await self._read()
        if found == self._served.pair():
            self._doubt = self._told = ""
            if insist:
                self._log.info("certificate.unchanged", **self._facts())
            return
        judged(found, self._clock.now())
        self._served.replace(found)
        self._doubt = self._told = ""
        self._warned = _NEVER
        self._log.info("certificate.loaded", **self._facts())

    async def _read(self) -> KeyPair:
        """Read both files in a thread: one at a time, since their disk may hang."""
        if self._reading is None:
            files = self._served.files
            self._reading = asyncio.get_running_loop().run_in_executor(
                None, read_pair, files.certificate, files.key
            )
        reading = self._reading
        try:
            return await asyncio.shield(reading)
        finally:
            if reading.done():
                self._reading = None

    def _refuse(self, why: str, *, insist: bool) -> None:
        """Say what is wrong with what the files hold, once, when it stays so."""
        if insist or (why == self._doubt and why != self._told):
            self._told = why
            self._log.error(
                "certificate.refused",
                reason=why,
                means="the one before it stays in use, and the files are looked at again",
                **self._facts(),
            )
        self._doubt = why

    def _warn(self) -> None:
        """Say once a day that the certificate in use ends soon, or has ended."""
        left, now = self._served.expires - self._clock.now(), self._clock.monotonic()
        if left >= CERTIFICATE_SECONDS or now - self._warned < TOLD_SECONDS:
            return
        self._warned = now
        self._log.warning(
            "certificate.expiring" if left > 0 else "certificate.expired",
            days_left=round(left / 86_400, 1),
            advice="renew it: new files are taken into use by themselves, and one that the server "
            "made (--tls-self-signed) is made anew when it is started again",
            **self._facts(),
        )

    def _facts(self) -> dict[str, object]:
        """Return which certificate it is about: what is in use by now."""
        files, leaf = self._served.files, self._served.pair().leaf
        return {
            "certificate": str(files.certificate),
            "key": str(files.key),
            "in_use_until": "unknown" if leaf is None else leaf.not_valid_after_utc.isoformat(),
        }
