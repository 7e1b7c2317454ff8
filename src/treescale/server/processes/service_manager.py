"""Telling whoever started this server how it is, as sd_notify(3) says: systemd, or podman.

One datagram for each thing said, to the socket that NOTIFY_SOCKET names. Only the supervisor
speaks, and no process that it starts knows of it. The watchdog is fed while the supervisor runs
*and* some worker's event loop has come round lately: a server none of whose workers answers is
restarted, one of whose workers some are dead or hang goes on. So does one that nobody listens to.
"""

import mmap
import socket
from collections.abc import MutableMapping
from typing import Final, Self

from treescale.clock import Clock
from treescale.log import get_logger

PULSE_SECONDS: Final = 1.0
"""How often a worker's event loop says that it comes round."""
PULSE_LATE_SECONDS_MIN: Final = 3.0
"""A pulse that is younger is a pulse, however short the watchdog's time is."""
SEND_SECONDS_MAX: Final = 1.0
"""How long a message may wait for room: the supervisor has processes to look after."""
NEVER: Final = float("inf")


class Pulse:
    """When the event loop of some worker last came round; to be made before they are forked."""

    def __init__(self) -> None:
        self._at = memoryview(mmap.mmap(-1, 8)).cast("d")  # shared with forks

    def beat(self, now: float) -> None:
        """Note that it does now, in monotonic seconds."""
        self._at[0] = now

    def age(self, now: float) -> float:
        """Return how long ago that was."""
        return now - self._at[0]


class ServiceManager:
    """Who started this server and wants to hear of it; without an address, nobody does."""

    def __init__(self, address: str, watchdog_seconds: float, *, clock: Clock) -> None:
        self.pulse = Pulse()
        """What workers let beat."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._interval = watchdog_seconds / 2
        self._clock = clock
        self._due = NEVER
        self._withheld = False
        self._unheard = False

    @classmethod
    def of(cls, environment: MutableMapping[str, str], pid: int, *, clock: Clock) -> Self:
        """Take what it says of itself out of the environment, so that no child is told.

        `pid` is this process: a watchdog may be meant for another.
        """
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        meant = environment.pop("WATCHDOG_PID", "") in ("", str(pid))
        if address and not address.startswith(("/", "@")):
            get_logger().warning("notify.unsupported", address=address)
            address = ""
        seconds = int(microseconds) / 1e6 if microseconds.isdecimal() and meant else 0.0
        return cls(address, seconds if address else 0.0, clock=clock)

    def ready(self) -> None:
        """Say that the server serves; from now on the watchdog is fed."""
        self._tell("READY=1")
        if self._interval:
            self._due = self._clock.monotonic() + self._interval

    def stopping(self) -> None:
        """Say that it ends."""
        self._due = NEVER
        self._tell("STOPPING=1")

    def look(self) -> float:
        """Say that the server lives, if that is due and true; return when to look again, in s."""
        now = self._clock.monotonic()
        if now < self._due:
            return self._due - now
        age = self.pulse.age(now)
        withheld = age > max(self._interval, PULSE_LATE_SECONDS_MIN)
        if withheld is not self._withheld:
            self._withheld = withheld
            say = get_logger().error if withheld else get_logger().info
            say("watchdog.withheld" if withheld else "watchdog.fed", silent_seconds=round(age, 1))
        if withheld:
            return PULSE_SECONDS
        self._tell("WATCHDOG=1")
        self._due = now + self._interval
        return self._interval

    def _tell(self, what: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(SEND_SECONDS_MAX)
                sender.sendto(what.encode(), self._address)
        except OSError as error:  # also a full table of open files
            if not self._unheard:  # once: each pulse would say it again
                get_logger().warning("notify.unheard", said=what, error=str(error))
            self._unheard = True
