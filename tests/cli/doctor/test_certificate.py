"""What is found of certificates, with each fault made."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.certificates import DAY, Authority
from tests.tables import each_row
from treescale.cli.doctor.certificate import (
    CertificateFacts,
    certificate,
    chain,
    end,
    facts_of,
    key_mode,
    names,
)
from treescale.cli.doctor.finding import State
from treescale.clock import SystemClock
from treescale.config import load

NOW: Final = 1_800_000_000.0
AUTHORITY: Final = Authority()
NONE: Final = load({}, {}).settings


def facts(begin: float, end: float, *covered: str, **flags: object) -> CertificateFacts:
    pair = AUTHORITY.pair(NOW + begin * DAY, NOW + end * DAY, *covered)
    return facts_of(pair, load(flags, {}).settings, NOW, 0o600)


@each_row(
    ("begin", "ends", "state", "told"),
    [
        (-1, 15, State.OK, "valid until 2027-01-30"),
        (-1, 13, State.WARNING, "ends soon"),
        (-9, -1, State.FAILURE, "expired"),
        (1, 90, State.FAILURE, "not begun"),
    ],
)
def test_its_time(begin: float, ends: float, state: State, told: str) -> None:
    found = end(facts(begin, ends))
    assert (found.state, told in found.found) == (state, True), found


@each_row(
    ("covered", "flags", "missing"),
    [
        (["r.example"], {"public_url": "https://r.example"}, ""),
        (["R.example"], {"public_url": "https://r.example:5000"}, ""),
        (["*.example"], {"public_url": "https://r.example"}, ""),
        (["*.example"], {"public_url": "https://a.r.example"}, "a.r.example"),
        (["10.0.0.1"], {"advertise": "https://10.0.0.1:5000"}, ""),
        (["2001:db8::1"], {"advertise": "https://[2001:db8:0::1]"}, ""),
        (["r.example"], {"advertise": "https://s1.example"}, "s1.example"),
        (["r.example"], {}, ""),
    ],
)
def test_its_names(covered: list[str], flags: dict[str, object], missing: str) -> None:
    found = names(facts(-1, 90, *covered, **flags))
    assert found.state is (State.FAILURE if missing else State.OK)
    assert missing in found.found


def test_its_chain() -> None:
    pair, other = AUTHORITY.pair(NOW, NOW + DAY), Authority("another")
    alone = facts_of(pair, NONE, NOW, 0)
    assert chain(alone).state is State.OK
    assert "must trust CN=test authority itself" in chain(alone).found
    whole = replace(pair, certificate=pair.certificate + AUTHORITY.pem)
    assert chain(facts_of(whole, NONE, NOW, 0)).found == "2 in order"
    for wrong in (pair.certificate + other.pem, AUTHORITY.pem + pair.certificate):
        found = chain(facts_of(replace(pair, certificate=wrong), NONE, NOW, 0))
        assert (found.state, "fullchain.pem" in found.advice) == (State.FAILURE, True)


def test_a_key_that_everybody_can_read() -> None:
    good = facts(-1, 90)
    assert key_mode(good).state is State.OK
    assert key_mode(replace(good, key_mode=0o100644)).state is State.WARNING


@pytest.mark.parametrize("broken", ["key", "certificate", "both"])
def test_files_that_do_not_fit_are_one_failure(tmp_path: Path, broken: str) -> None:
    now = SystemClock().now()
    pair = AUTHORITY.pair(now - DAY, now + 90 * DAY)
    for name, content in (("certificate", pair.certificate), ("key", pair.key)):
        if broken not in (name, "both"):
            (tmp_path / name).write_bytes(content)
    flags = {"tls_cert": str(tmp_path / "certificate"), "tls_key": str(tmp_path / "key")}
    (found,) = certificate(load(flags, {}).settings)
    assert (found.state, "cannot read" in found.found) == (State.FAILURE, True)


def test_without_tls_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    assert [*certificate(NONE)] == []
    flags = {"tls_self_signed": True, "data": (str(tmp_path),)}
    assert [*certificate(load(flags, {}).settings)] == [], "it is made at the first start"
    peer_ca = load({"peer_ca": str(tmp_path / "absent")}, {}).settings
    assert [each.state for each in certificate(peer_ca)] == [State.FAILURE]
