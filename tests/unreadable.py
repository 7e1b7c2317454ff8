"""Settings of a cluster as somebody wrote them by hand: of each name texts that nobody can read."""

from typing import Final

from treescale.lease_times import (
    COLLECTION_SETTING,
    LEASE_SETTING,
    UNDELETE_SETTING,
    UNTAGGED_SETTING,
)

NO_TIME: Final = (
    "",
    "abc",
    "-3h",
    "1e999",
    "nan",
    "24",
    "24h\n",
    "\u0661h",
    "9" * 5000,
    "9" * 5000 + "d",
    "999999999w",
)
UNREADABLE: Final = {
    LEASE_SETTING: (*NO_TIME, "0s", "31d"),
    UNDELETE_SETTING: NO_TIME,
    UNTAGGED_SETTING: (*NO_TIME, "0d"),
    COLLECTION_SETTING: (*NO_TIME, "On"),
    "copies": (*NO_TIME[:5], "9" * 5000, "0", "11", "3.0"),
}
NO_NUMBER: Final = ("", "abc", "-3", "1e9", "nan", "inf", "12 ", "0x1", "\u0661", ".5", "9" * 5000)
"""What servers note is a number; these stand where one of theirs was."""
EACH: Final = [(name, value) for name, values in UNREADABLE.items() for value in values]
SOME: Final = [
    (name, value) for name, (first, *rest) in UNREADABLE.items() for value in (first, *rest[-3:])
]
"""For what reads them as everybody does: who reads each text is `contracts/metadata_cluster`."""
OF_COLLECTION: Final = [(name, value) for name, value in EACH if name != "copies"]
MENDED_BY: Final = {
    LEASE_SETTING: "lease=24h",
    UNDELETE_SETTING: "undelete=7d",
    UNTAGGED_SETTING: "untagged=keep",
    COLLECTION_SETTING: "collection=on",
    "copies": "copies=3",
}
