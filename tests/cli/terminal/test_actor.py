"""Who is said to have done what a command did."""

import getpass
import os
import socket

import pytest

from treescale.cli.terminal.actor import cli_actor


def test_user_and_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    monkeypatch.setattr(socket, "gethostname", lambda: "node-1")
    assert cli_actor() == "cli:ann@node-1"


@pytest.mark.parametrize("error", [KeyError, OSError, ImportError])
def test_a_user_without_a_name_is_a_number(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def nobody() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setattr(socket, "gethostname", lambda: "")
    assert cli_actor() == f"cli:{os.getuid()}@?"


def test_what_cannot_be_printed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "a\nb\x1b")
    monkeypatch.setattr(socket, "gethostname", lambda: "h\0")
    assert cli_actor() == "cli:ab@h"
