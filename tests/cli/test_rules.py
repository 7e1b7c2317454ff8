"""`treescale repo rules`, `treescale repo explain` and `treescale repo delete --force`."""

import pytest

from tests.cli.conftest import Command
from tests.contracts.metadata_values import ACTOR, APP, NOW, manifest, user
from treescale.cli.repo_rules import explained
from treescale.metadata.database import Database

RULES, EXPLAIN = ("repo", "rules"), ("repo", "explain")


@pytest.fixture
def filled(command: Command) -> Command:
    """Alice's repository, with four tags that are years old."""

    async def fill(database: Database) -> None:
        await database.users.add(user("alice"), actor=ACTOR)
        for name in ("v1", "pr-1", "pr-2", "main"):
            what = manifest(name.encode())
            await database.manifests.put(APP, what, [], [name], now=NOW, actor=ACTOR)

    command.database(fill)
    return command


def listed(command: Command, *words: str) -> list[tuple[int, str, str, bool]]:
    found = command.json(*RULES, *words)
    return [(one["rule"], one["of"], one["says"], one["confirmed"]) for one in found]


def test_from_a_rule_to_what_goes(filled: Command) -> None:
    assert "Rule 1 for v*: immutable." in filled.here(*RULES, "alice", "--immutable", "v*")
    made = filled.here(*RULES, "alice", "--keep", "30d", "--keep-last", "1", "--tags", "pr-*")
    assert "keep the last 1, or 30d after a push." in made
    assert "treescale repo rules alice --apply" in made
    assert listed(filled, APP) == [
        (1, "alice", "immutable", True),
        (2, "alice", "keep the last 1, or 30d after a push", False),
    ]
    assert listed(filled, "alice") == listed(filled, APP)
    assert listed(filled, "--cluster") == []
    shown = filled.here(*RULES, "alice", "--dry-run")
    assert [line.split("\t")[:2] for line in shown.splitlines()] == [[APP, "pr-2"]]
    assert not listed(filled, APP)[1][3]
    waiting = filled.here(*EXPLAIN, f"{APP}:pr-2")
    assert "nobody has confirmed" in waiting
    assert "treescale repo rules alice --apply" in waiting
    planned = filled.json(*RULES, "alice", "--apply", "--yes")
    assert (planned["removed"], planned["kept"], planned["applied"]) == (1, 3, True)
    assert listed(filled, APP)[1][3]
    assert (
        "goes within the hour: no rule keeps it.\n  rule 2 of the namespace alice"
        in filled.here(*EXPLAIN, f"{APP}:pr-2")
    )
    assert "among the last" in filled.here(*EXPLAIN, f"{APP}:pr-1")
    assert "no rule of retention speaks of it" in filled.here(*EXPLAIN, f"{APP}:main")
    assert filled.json(*EXPLAIN, f"{APP}:v1")["why"] == "immutable"
    told = filled.run(*RULES, "alice", "--remove", "1", "--data", str(filled.data))
    assert "tags would go" not in told.output
    assert "Rule 2 is removed" in filled.here(*RULES, "alice", "--remove", "2")
    assert listed(filled, APP) == []


def test_what_goes_by_other_rules_once_one_is_removed_is_shown(filled: Command) -> None:
    filled.here(*RULES, APP, "--keep-always")
    filled.here(*RULES, "--cluster", "--keep", "30d", "--apply", "--yes")
    shown = filled.run(*RULES, APP, "--remove", "1", "--yes", "--data", str(filled.data))
    assert (shown.exit_code, "4 tags would go now" in shown.stderr) == (0, True)
    assert listed(filled, APP) == [(2, "the cluster", "keep 30d after a push", True)]


def test_a_rule_and_what_it_would_do_in_one_command(filled: Command) -> None:
    words = ("--keep-pulled", "8w", "--tags", "pr-?", "--dry-run")
    shown = filled.here(*RULES, APP, *words)
    assert [line.split("\t")[1] for line in shown.splitlines()] == ["pr-1", "pr-2"]
    filled.here(*RULES, "--cluster", "--keep-always", "--tags", "main")
    assert listed(filled, "--cluster") == [(2, "the cluster", "keep always", False)]
    filled.here(*RULES, "--cluster", "--immutable", "v*", "--may-delete", "--may-expire")
    loose = "immutable, may delete, may expire"
    assert (3, "the cluster", loose, True) in listed(filled, APP)


def test_a_repository_with_immutable_tags_is_deleted_by_force(filled: Command) -> None:
    filled.here(*RULES, APP, "--immutable", "v*")
    delete = ("repo", "delete")
    for what in (APP, f"{APP}:v1", f"{APP}@{manifest(b'v1').digest}"):
        refused = filled.refused(*delete, what, "--yes")
        assert "v1 is immutable, by rule 1 of the repository alice/app (v*)" in refused
        assert f"treescale repo rules {APP} --remove 1" in refused
    filled.here(*delete, f"{APP}:pr-1", "--yes")
    filled.here(*delete, APP, "--yes", "--force")


def test_each_mistake_is_told(filled: Command) -> None:
    filled.here(*RULES, APP, "--immutable", "v*")
    for words, said in (
        ((APP, "--immutable", "v*"), "rule 1 of the repository alice/app (v*) says so already"),
        ((APP, "--immutable", "v 1"), "is no pattern of tags"),
        ((APP, "--keep", "30m"), "less than an hour"),
        ((APP, "--keep", "a month"), "say 30m, 24h, 7d or 2w"),
        ((APP, "--keep-last", "0"), "keep the last 1"),
        ((APP, "--remove", "9"), "has no rule 9"),
        (("alice/none", "--keep", "1d"), "no repository alice/none: `treescale repo list"),
        (("nobody", "--keep", "1d"), "no organisation and no user nobody"),
        (("A", "--keep", "1d"), "lower-case"),
    ):
        assert said in filled.refused(*RULES, *words), words
    unclear: list[tuple[tuple[str, ...], str]] = [
        ((), "say NAME, NAMESPACE or --cluster"),
        ((APP, "--cluster"), "say NAME, NAMESPACE or --cluster"),
        ((APP, "--tags", "a"), "--tags goes with"),
        ((APP, "--keep-always", "--keep", "1d"), "said alone"),
    ]
    for typed, said in unclear:
        result = filled.run(*RULES, *typed, "--data", str(filled.data))
        assert (result.exit_code, said in result.stderr) == (2, True), result.output
    result = filled.run(*RULES, APP, "--apply", "--yes", "--data", str(filled.data))
    assert (result.exit_code, "nothing to confirm" in result.stderr) == (1, True)
    assert "no tag none in" in filled.refused(*EXPLAIN, f"{APP}:none")
    assert "say which tag" in filled.refused(*EXPLAIN, APP)


def test_what_stays_for_a_time_and_what_a_rule_says_in_vain_is_told() -> None:
    rule = {
        "rule": 4,
        "scope": "cluster",
        "name": "",
        "kind": "retention",
        "tags": ["a*", "b"],
        "keep_last": None,
        "keep_pushed": None,
        "keep_pulled": 7200.0,
    }
    immutable = {**rule, "rule": 1, "kind": "immutable", "may_delete": False, "may_expire": False}
    found = {"repository": APP, "tag": "a", "kept": True, "against": [], "until": None}
    until = {"why": "pulled", "rules": [rule], "until": "2026-12-01T10:00:00Z"}
    assert explained({**found, **until}) == (
        "alice/app:a stays until 2026-12-01 10:00 UTC at least: it was pulled lately, or pushed.\n"
        "  rule 4 of the cluster (a*,b): keep 2h after a pull"
    )
    told = explained({**found, "why": "immutable", "rules": [immutable], "against": [rule]})
    assert told.endswith(
        "in vain, as it is immutable, rule 4 of the cluster (a*,b): keep 2h after a pull"
    )
