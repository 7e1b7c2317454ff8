"""Which tags go: against a model that knows nothing of ranks and levels, and by examples."""

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.metadata.rules.records import (
    THE_CLUSTER,
    Rule,
    RuleKind,
    RuleScope,
    Saying,
    TagFacts,
    Whose,
    latest_pull,
)
from treescale.registry.rules.planner import Verdict, Why, plan

NOW: Final = 1_700_000_000.0
DAY: Final = 86_400.0
APP: Final = Whose(RuleScope.REPOSITORY, "acme/app")
ACME: Final = Whose(RuleScope.NAMESPACE, "acme")
KEEP, IMMUTABLE = RuleKind.RETENTION, RuleKind.IMMUTABLE
SIGNATURE: Final = f"sha256-{'0' * 64}.sig"


def tag(name: str, age: float = 0.0, pulled: float | None = None) -> TagFacts:
    """Return a tag that was pushed, and pulled, so many days ago."""
    return TagFacts(
        name, f"digest of {name}", NOW - age * DAY, None if pulled is None else NOW - pulled * DAY
    )


def rule(number: int, whose: Whose = APP, *, armed: bool = True, **says: object) -> Rule:
    """Return a rule of retention, unless `kind` says otherwise."""
    return Rule(number, whose, Saying(**{"kind": KEEP, **says}), armed)  # type: ignore[arg-type]


def gone(verdicts: list[Verdict]) -> list[str]:
    return [verdict.tag.name for verdict in verdicts if not verdict.is_kept]


def one(found: TagFacts, *rules: Rule) -> Verdict:
    """Return what becomes of a tag that is alone."""
    (verdict,) = plan([found], rules, NOW)
    return verdict


@each_row(
    ("found", "rules", "why"),
    [
        (tag("a", 99), [], Why.NO_RULE),
        (tag("a", 99), [rule(1, tags=("b*",), keep_last=1)], Why.NO_RULE),
        (tag("a", 99), [rule(1, keep_last=1)], Why.LAST),
        (tag("a", 99), [rule(1, keep_pushed=30 * DAY)], Why.NOT_KEPT),
        (tag("a", 29), [rule(1, keep_pushed=30 * DAY)], Why.PUSHED),
        (tag("a", 99), [rule(1, keep_pulled=30 * DAY)], Why.NOT_KEPT),
        (tag("a", 99, 29), [rule(1, keep_pulled=30 * DAY)], Why.PULLED),
        (tag("a", 29), [rule(1, keep_pulled=30 * DAY)], Why.PULLED),
        (tag("a", 1, 40), [rule(1, keep_pulled=30 * DAY)], Why.PULLED),
        (tag("a", 99), [rule(1)], Why.ALWAYS),
        (tag("a", 99), [rule(1, keep_pushed=DAY), rule(2)], Why.ALWAYS),
        (tag("a", 99), [rule(1, keep_pushed=DAY), rule(2, ACME)], Why.NOT_KEPT),
        (tag("a", 99), [rule(1, ACME, keep_pushed=DAY), rule(2)], Why.ALWAYS),
        (tag("a", 99), [rule(1, THE_CLUSTER, keep_pushed=DAY), rule(2, ACME)], Why.ALWAYS),
        (tag("a", 99), [rule(1, THE_CLUSTER, keep_pushed=DAY)], Why.NOT_KEPT),
        (tag("a", 99), [rule(1, keep_pushed=DAY, armed=False)], Why.UNCONFIRMED),
        (
            tag("a", 99),
            [rule(1, ACME, keep_pushed=DAY), rule(2, keep_pushed=DAY, armed=False)],
            Why.UNCONFIRMED,
        ),
        (tag("a", 99), [rule(1, keep_pushed=DAY), rule(2, kind=IMMUTABLE)], Why.IMMUTABLE),
        (
            tag("a", 99),
            [rule(1, keep_pushed=DAY), rule(2, kind=IMMUTABLE, may_expire=True)],
            Why.NOT_KEPT,
        ),
        (
            tag("a", 99),
            [
                rule(1, keep_pushed=DAY),
                rule(2, kind=IMMUTABLE, may_expire=True),
                rule(3, THE_CLUSTER, kind=IMMUTABLE),
            ],
            Why.IMMUTABLE,
        ),
        (
            tag("a", 99),
            [rule(1, keep_pushed=DAY), rule(2, kind=IMMUTABLE, tags=("v*",))],
            Why.NOT_KEPT,
        ),
        (tag(SIGNATURE, 99), [rule(1, keep_pushed=DAY)], Why.OF_IMAGE),
        (tag("sha256-abc", 99), [rule(1, keep_pushed=DAY)], Why.NOT_KEPT),
    ],
)
def test_why_a_tag_stays_or_goes(found: TagFacts, rules: list[Rule], why: Why) -> None:
    assert one(found, *rules).why is why


def test_what_is_immutable_says_which_rules_speak_in_vain() -> None:
    by, immutable = rule(1, keep_pushed=DAY), rule(2, ACME, kind=IMMUTABLE)
    verdict = one(tag("v1", 99), by, immutable)
    assert (verdict.rules, verdict.against) == ((immutable,), (by,))


def test_until_when_it_stays_is_told() -> None:
    by = [rule(1, keep_pushed=30 * DAY), rule(2, keep_pulled=60 * DAY)]
    verdict = one(tag("a", 10, 5), *by)
    assert (verdict.rules, verdict.until) == ((by[1],), NOW + 55 * DAY)
    assert one(tag("a"), rule(1, keep_last=1)).until is None, "nobody knows when the next come"


def test_of_the_last_count_those_alone_of_which_the_rule_decides() -> None:
    rules = [
        rule(1, ACME, keep_last=2),
        rule(2, tags=("main",)),
        rule(3, THE_CLUSTER, kind=IMMUTABLE, tags=("v*",)),
    ]
    tags = [tag("main", 0), tag("v1", 1), tag("v2", 2), tag("a", 3), tag("b", 4), tag("c", 5)]
    assert gone(plan(tags, rules, NOW)) == ["c"]


def test_what_is_looked_at_before_it_is_confirmed_is_what_goes_afterwards() -> None:
    tags = [tag("a", 1), tag("b", 40)]
    waiting = rule(1, ACME, keep_pushed=30 * DAY, armed=False)
    assert gone(plan(tags, [waiting], NOW)) == []
    assert gone(plan(tags, [waiting], NOW, confirmed=APP)) == []
    assert gone(plan(tags, [waiting], NOW, confirmed=ACME)) == ["b"]
    assert gone(plan(tags, [replace(waiting, is_armed=True)], NOW)) == ["b"]


@each_row(
    ("pulled", "parts", "at"),
    [
        ({}, {}, None),
        ({"a": 1.0}, {}, 1.0),
        ({"a": 1.0, "d": 3.0}, {}, 3.0),
        ({"c": 5.0}, {"d": ["c"]}, 5.0),
        ({"e": 7.0, "a": 1.0}, {"d": ["c"], "c": ["e"]}, 7.0),
        ({"other": 9.0}, {"x": ["d"]}, None),
        ({"d": 2.0}, {"d": ["d"]}, 2.0),
    ],
)
def test_a_pull_of_a_part_counts_for_what_has_it(
    pulled: dict[str, float], parts: dict[str, list[str]], at: float | None
) -> None:
    assert latest_pull(("a", "d"), pulled, parts) == at


NAMES = ["a", "b1", "b2", "main", "v1", "v2", SIGNATURE]
globs = st.sampled_from(["*", "b*", "v?", "main", "no"])
ages = st.integers(0, 60).map(float)
facts = st.lists(
    st.builds(tag, st.sampled_from(NAMES), ages, st.none() | ages),
    unique_by=lambda each: each.name,
    max_size=len(NAMES),
)
times = st.none() | st.integers(1, 50).map(lambda days: days * DAY)
keeping = st.builds(
    Saying,
    st.just(KEEP),
    st.lists(globs, min_size=1, max_size=2).map(tuple),
    keep_last=st.none() | st.integers(1, 4),
    keep_pushed=times,
    keep_pulled=times,
)
fixing = st.builds(
    Saying, st.just(IMMUTABLE), st.tuples(globs), may_delete=st.booleans(), may_expire=st.booleans()
)
places = st.sampled_from([APP, ACME, THE_CLUSTER])


@st.composite
def rule_lists(draw: st.DrawFn) -> list[Rule]:
    found = draw(st.lists(st.tuples(places, st.one_of(keeping, keeping, fixing)), max_size=5))
    unarmed = draw(st.frozensets(places, max_size=1))
    return [
        Rule(number, whose, says, says.kind is IMMUTABLE or whose not in unarmed)
        for number, (whose, says) in enumerate(found, 1)
    ]


def speaks(each: Rule, name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in each.says.tags)


def decides(rules: list[Rule], name: str) -> list[Rule]:
    """Return which rules decide of a tag, if any: each scope is tried on its own."""
    if name == SIGNATURE:
        return []
    for each in rules:
        if each.says.kind is IMMUTABLE and not each.says.may_expire and speaks(each, name):
            return []
    for whose in (APP, ACME, THE_CLUSTER):
        found = [
            each
            for each in rules
            if each.says.kind is KEEP and each.whose == whose and speaks(each, name)
        ]
        if found:
            return found
    return []


def keeps(each: Rule, found: TagFacts, tags: list[TagFacts], rules: list[Rule]) -> bool:
    """Say whether one rule keeps a tag of which it decides."""
    says = each.says
    if says.keeps_always:
        return True
    ahead = [
        other
        for other in tags
        if each in decides(rules, other.name)
        and (
            other.pushed > found.pushed
            or (other.pushed == found.pushed and other.name < found.name)
        )
    ]
    if says.keep_last is not None and len(ahead) < says.keep_last:
        return True
    if says.keep_pushed is not None and NOW - found.pushed < says.keep_pushed:
        return True
    used = max(found.pushed, found.pulled or 0.0)
    return says.keep_pulled is not None and NOW - used < says.keep_pulled


def model(tags: list[TagFacts], rules: list[Rule]) -> list[str]:
    """Return which tags go."""
    found = []
    for each in tags:
        deciding = decides(rules, each.name)
        kept = any(keeps(by, each, tags, rules) for by in deciding)
        if deciding and not kept and all(by.is_armed for by in deciding):
            found.append(each.name)
    return found


@given(facts, rule_lists())
def test_it_is_what_the_model_says(tags: list[TagFacts], rules: list[Rule]) -> None:
    verdicts = plan(tags, rules, NOW)
    assert [verdict.tag for verdict in verdicts] == tags
    assert gone(verdicts) == model(tags, rules)


@given(facts, rule_lists(), places, keeping)
def test_a_rule_lets_nothing_go_of_which_it_does_not_speak(
    tags: list[TagFacts], rules: list[Rule], whose: Whose, says: Saying
) -> None:
    new = Rule(99, whose, says)
    more = {*gone(plan(tags, [*rules, new], NOW))} - {*gone(plan(tags, rules, NOW))}
    assert all(speaks(new, name) for name in more)


@given(facts, rule_lists())
def test_the_older_it_gets_the_more_goes(tags: list[TagFacts], rules: list[Rule]) -> None:
    now, later = ({*gone(plan(tags, rules, at))} for at in (NOW, NOW + 7 * DAY))
    assert now <= later


@given(facts, rule_lists())
def test_what_stays_until_a_time_stays_until_then_and_not_beyond(
    tags: list[TagFacts], rules: list[Rule]
) -> None:
    for verdict in plan(tags, rules, NOW):
        if verdict.until is not None:
            name = verdict.tag.name
            before, after = (
                {each.tag.name: each for each in plan(tags, rules, at)}[name]
                for at in (verdict.until - 1, verdict.until)
            )
            assert before.is_kept
            assert after.why in (Why.NOT_KEPT, Why.UNCONFIRMED)
