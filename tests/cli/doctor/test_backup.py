"""What is found of the last backup."""

from pathlib import Path

from msgspec.structs import replace

from tests.cli.conftest import Command
from tests.tables import each_row
from treescale.cli.doctor.backup import BackupFacts, backup, backup_age
from treescale.cli.doctor.finding import State
from treescale.config import load
from treescale.metadata.portable.last_backup import LastBackup, note_backup

DAY = 86_400.0
NOW = 1000 * DAY
LAST = LastBackup(NOW - DAY, "cli:root@s1", 12_300_000, "/b", encrypted=False)


@each_row(
    ("last", "oldest", "state", "told"),
    [
        (LAST, 0.0, State.OK, "of 24 hours ago, 12.3 MB, by cli:root@s1"),
        (replace(LAST, taken=NOW - 1.9 * DAY), 0.0, State.OK, "46 hours ago"),
        (replace(LAST, taken=NOW - 3 * DAY), 0.0, State.WARNING, "3 days ago"),
        (replace(LAST, taken=NOW + 5), 0.0, State.OK, "of 0 s ago"),
        (replace(LAST, taken=NOW + 300 * DAY), 0.0, State.WARNING, "is dated 300 days ahead"),
        (None, 0.0, State.WARNING, "none that was read back is known"),
        (None, NOW - DAY, State.OK, "none yet"),
        (None, None, State.OK, "none yet"),
    ],
)
def test_how_old_it_may_be(
    last: LastBackup | None, oldest: float | None, state: State, told: str
) -> None:
    found = backup_age(BackupFacts(NOW, last, oldest))
    assert found.state is state
    assert told in found.found
    assert ("--keep 14" in found.advice) == (state is State.WARNING)


def test_it_is_looked_up_in_the_database(command: Command) -> None:
    settings = load({"data": [str(command.data)]}, {}).settings
    (found,) = backup(settings)
    assert found.found.startswith("none yet")
    command.database(lambda database: note_backup(database, LAST))
    (found,) = backup(settings)
    assert (found.state, "12.3 MB" in found.found) == (State.WARNING, True)
    command.database(lambda database: database.settings.put("last_backup", "of whom?"))
    (found,) = backup(settings)
    assert found.found.startswith("none yet"), "what cannot be read is none"


def test_without_a_database_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert [*backup(load({"data": [str(tmp_path)]}, {}).settings)] == []
    (tmp_path / "treescale.db").write_bytes(b"no database" * 1000)
    assert [*backup(load({"data": [str(tmp_path)]}, {}).settings)] == []
