"""Where an event's message goes, and which streams will do."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treescale.events.nats.subjects import (
    Stream,
    covers,
    everything,
    is_prefix,
    refusal,
    subject_of,
)

FITS = Stream("EVENTS", ("treescale.>",))
WORDS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4)
PATTERNS = st.builds(
    lambda words, last: ".".join([*words, *last]),
    st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=3),
    st.sampled_from([[], [">"]]),
)


def matches(pattern: str, subject: str) -> bool:
    """Match as NATS does: `*` is one word, `>` one or more at the end."""
    words, parts = pattern.split("."), subject.split(".")
    if words[-1] == ">":
        head = words[:-1]
        return len(parts) > len(head) and matches(".".join(head), ".".join(parts[: len(head)]))
    return len(words) == len(parts) and all(
        word in ("*", part) for word, part in zip(words, parts, strict=True)
    )


def test_subjects() -> None:
    """The kind comes first, then the name with a word for each of its parts."""
    for kind, namespace, repository, subject in (
        ("image.pushed", "acme", "acme/team/app", "treescale.image.pushed.acme.team.app"),
        ("image.pushed", "acme", "acme/a.b_c-d", "treescale.image.pushed.acme.a%2Eb_c-d"),
        ("user.created", "acme", None, "treescale.user.created.acme"),
        ("layout.changed", None, None, "treescale.layout.changed"),
    ):
        assert subject_of("treescale", kind, namespace, repository) == subject


@given(
    st.lists(st.text("ab.%/", min_size=1, max_size=6), min_size=2, max_size=2),
)
def test_no_two_repositories_share_a_subject(names: list[str]) -> None:
    """A name can be read back from its subject."""
    first, second = (subject_of("t", "k", None, name) for name in names)
    assert (first == second) == (names[0] == names[1])


@given(PATTERNS, PATTERNS, WORDS)
def test_what_covers_a_pattern_matches_all_that_matches_it(
    pattern: str, other: str, words: list[str]
) -> None:
    """Of no subject we send a stream that was found fit takes no notice."""
    subject = ".".join(words)
    if covers(pattern, other) and matches(other, subject):
        assert matches(pattern, subject)


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (replace(FITS, subjects=("treescale.image.>",)), "has not all of treescale.>"),
        (replace(FITS, subjects=("*.image.>", "treescale.*")), "has not all"),
        (replace(FITS, subjects=("Treescale.>",)), "has not all"),
        (replace(FITS, subjects=()), "has not all"),
        (replace(FITS, copied=True), "mirror"),
        (replace(FITS, sealed=True), "sealed"),
        (replace(FITS, no_ack=True), "no_ack"),
        (replace(FITS, duplicate_seconds=119.0), "remember them for 120 s"),
        (replace(FITS, message_bytes_max=1024), "allow 65536"),
    ],
)
def test_streams_that_will_not_do(stream: Stream, why: str) -> None:
    """Each says why, and what to do."""
    assert why in refusal(stream, "treescale")


def test_streams_that_will_do() -> None:
    """All of ours is among their subjects, alone or with others."""
    for subjects in (("treescale.>",), ("x.y", ">"), ("*.>",)):
        assert not refusal(replace(FITS, subjects=subjects), "treescale")
    assert not refusal(replace(FITS, message_bytes_max=65_536), "treescale")


def test_prefixes() -> None:
    """One has words that no pattern and no other subject has."""
    assert all(map(is_prefix, ("treescale", "a.b-c.D_1")))
    assert not any(map(is_prefix, ("", ".", "a.", "a b", "a.*", ">", "a..b", "é", "$JS.x")))
    assert everything("a.b") == "a.b.>"
