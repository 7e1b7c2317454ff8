"""Machines whose clocks are off: by libfaketime (Debian) from the start, or set while they run.

libfaketime moves all clocks of a program, which is right for one that begins so. What is set while
a program runs leaves its monotonic clock alone, and libfaketime 0.9.10 cannot do that to Python
(`time.sleep` fails with EINVAL): that is done where the program asks for the time.
"""

import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tests.functional.cluster.altered import altered
from tests.functional.wire import Wire

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), Path("libfaketimeMT.so.1"))
READY_SECONDS_MAX = 60
TREESCALE = Path(sys.executable).with_name("treescale")


def ahead_by(seconds: int) -> tuple[str, ...]:
    """Return what runs `treescale` on a machine whose clock is so far ahead; below 0: behind."""
    return (
        "env",
        f"LD_PRELOAD={LIBRARY}",
        f"FAKETIME={seconds:+d}",
        "NO_FAKE_STAT=1",
        str(TREESCALE),
    )


def on_a_machine(ahead: int) -> dict[str, Any]:
    """Return the options of a server whose machine's clock is so far ahead.

    From a minute on it is up, serves, and says that it is not ready.
    """
    fit = "/readyz" if abs(ahead) < READY_SECONDS_MAX else "/healthz"
    return {"launcher": ahead_by(ahead), "fit": fit}


class SetClock:
    """A machine's clock that is set while its server runs."""

    def __init__(self, home: Path) -> None:
        self._file = home / "clock"
        self.set(0)

    def launcher(self, *more: str) -> tuple[str, ...]:
        """Return what runs a server on that machine, altered by more."""
        return altered(",".join((f"clock={self._file}", *more)))

    def set(self, ahead: int) -> None:
        """Set it so many seconds ahead of the others, from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(str(ahead))
        new.replace(self._file)


def may_push(wire: Wire, name: str) -> bool:
    """Say whether this login may push to a repository of its user, with a new token if need be."""
    return wire.request("POST", f"/v2/{name}/app/blobs/uploads/").status == HTTPStatus.ACCEPTED


def is_accepted(holder: Wire, at: Wire) -> bool:
    """Say whether the one bearer token that somebody holds is accepted by another's server."""
    [(room, bearer)] = holder._tokens.items()
    answer = at._send("POST", f"{room}/blobs/uploads/", None, {}, bearer)
    return answer.status != HTTPStatus.UNAUTHORIZED
