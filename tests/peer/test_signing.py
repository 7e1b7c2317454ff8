"""A signature holds for one request: whatever is changed, it holds no more."""

from dataclasses import replace
from itertools import pairwise

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as some

from tests.tables import each_row
from treescale.errors import Unauthorized
from treescale.peer.signing import (
    NO_BODY,
    PeerKeys,
    SignedRequest,
    SignedRequestRead,
    Signer,
    authenticate,
    body_digest,
)

OLD, NEW, FOREIGN = b"o" * 32, b"n" * 32, b"f" * 32
NOW = 1_700_000_000.0
PATH = "/peer/v1/stores/s/have"
BODY = body_digest(b"ids")


def signed(keys: PeerKeys | None = None, *, now: float = NOW, to: str = "b") -> SignedRequest:
    signer = Signer("a", to, lambda: keys or PeerKeys(OLD), lambda: now, lambda: "5" * 32)
    return signer.sign("POST", PATH, length=3, body=BODY, deadline_ms=2000)


def accepted(header: str | None, keys: PeerKeys | None = None) -> SignedRequestRead:
    return authenticate(keys or PeerKeys(OLD), "POST", PATH, 3, header)


def test_a_signed_request_is_authentic() -> None:
    found = accepted(signed().header)
    found.check_meant("b", NOW)
    assert (found.sender, found.addressee, found.deadline_ms) == ("a", "b", 2000)
    assert (found.sent_ms, found.body) == (1_700_000_000_000, BODY)


def test_the_signature_is_the_one_docs_formats_describes() -> None:
    fields = f"1 a b 1700000000000 2000 {'5' * 32} {BODY}"
    text = f"treescale peer request\nPOST {PATH}\n3\n{fields}"
    mac = blake3(text.encode(), key=OLD).hexdigest()
    assert signed().header == f"{fields} {mac}"
    answer = blake3(f"treescale peer answer\n{mac}\n200 1 -".encode(), key=OLD).hexdigest()
    assert accepted(signed().header).sign_answer(200, 1, NO_BODY) == answer


@given(some.data())
def test_no_character_of_it_may_change(data: some.DataObject) -> None:
    header = signed().header
    at = data.draw(some.integers(0, len(header) - 1))
    other = data.draw(some.characters().filter(lambda found: found != header[at]))
    with pytest.raises(Unauthorized):
        accepted(header[:at] + other + header[at + 1 :])


@each_row(
    ("method", "path", "length"),
    [
        ("PUT", PATH, 3),
        ("POST", PATH + "?", 3),
        ("POST", PATH.replace("/s/", "/t/"), 3),
        ("POST", PATH, 4),
        ("POST", "\udcff", 3),
    ],
)
def test_it_holds_for_nothing_else(method: str, path: str, length: int) -> None:
    with pytest.raises(Unauthorized, match="another cluster, or changed"):
        authenticate(PeerKeys(OLD), method, path, length, signed().header)


@given(some.one_of(some.none(), some.text()))
def test_anything_else_is_no_signature(header: str | None) -> None:
    with pytest.raises(Unauthorized):
        accepted(header)


def test_a_foreign_key_is_not_accepted_and_one_of_the_cluster_is() -> None:
    header = signed(PeerKeys(FOREIGN)).header
    with pytest.raises(Unauthorized):
        accepted(header, PeerKeys(OLD, (NEW,)))
    accepted(header, PeerKeys(OLD, (FOREIGN,)))


def test_keys_are_changed_without_a_refusal() -> None:
    """Each server is one step ahead or behind; no server refuses another at any moment."""
    steps = [PeerKeys(OLD), PeerKeys(OLD, (NEW,)), PeerKeys(NEW, (OLD,)), PeerKeys(NEW)]
    for before, after in pairwise(steps):
        for sender, receiver in ((before, after), (after, before)):
            request = signed(sender)
            answer = accepted(request.header, receiver).sign_answer(200, 0, NO_BODY)
            assert request.is_answered_by(answer, 200, 0, NO_BODY)


def test_it_is_for_one_server_alone() -> None:
    with pytest.raises(Unauthorized, match="for server c, and this is b"):
        accepted(signed(to="c").header).check_meant("b", NOW)


@pytest.mark.parametrize("off", [-60, 0, 60])
def test_clocks_may_differ_by_a_minute(off: float) -> None:
    accepted(signed(now=NOW + off).header).check_meant("b", NOW)


@pytest.mark.parametrize(("off", "way"), [(-60.1, "60.1 s behind"), (3600, "3600.0 s ahead of")])
def test_clocks_that_differ_by_more_are_told_by_how_much(off: float, way: str) -> None:
    with pytest.raises(Unauthorized, match=f"clock of server a is {way} that of b"):
        accepted(signed(now=NOW + off).header).check_meant("b", NOW)


@pytest.mark.parametrize(
    ("status", "length", "body"), [(201, 1, "-"), (200, 2, "-"), (200, 1, BODY)]
)
def test_an_answer_is_to_one_request_and_cannot_be_changed(
    status: int, length: int, body: str
) -> None:
    request = signed()
    answer = accepted(request.header).sign_answer(200, 1, NO_BODY)
    assert request.is_answered_by(answer, 200, 1, NO_BODY)
    assert not request.is_answered_by(answer, status, length, body)
    assert not signed(now=NOW + 0.001).is_answered_by(answer, 200, 1, NO_BODY)


@each_row("answer", [None, "", "\udcff", "\u00e9", "0" * 64])
def test_other_signatures_of_answers_are_none(answer: str | None) -> None:
    assert not signed().is_answered_by(answer, 200, 0, NO_BODY)


def test_a_request_does_not_pass_for_its_answer() -> None:
    request = signed()
    assert not request.is_answered_by(request.mac, 200, 0, NO_BODY)


@each_row("name", ["", "a b", "a\nb", "\u00e4", "x" * 254])
def test_a_name_that_does_not_fit_into_the_header_is_no_server(name: str) -> None:
    with pytest.raises(AssertionError):
        replace(Signer("a", "b", lambda: PeerKeys(OLD), lambda: 0.0, str), sender=name)


def test_a_short_key_is_none() -> None:
    with pytest.raises(AssertionError):
        PeerKeys(OLD, (b"short",))
