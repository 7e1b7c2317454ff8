"""What an image's config says: what it runs, and how it was built. Pure.

Builders wrote it, and anybody may have: whatever is of another form than the specification has it
is left out, and all that is shown is text.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

CONFIG_ENTRIES_MAX: Final = 500
"""Of each list."""


class Step(msgspec.Struct):
    """A step of the build."""

    command: str
    created: str
    comment: str
    is_empty: bool
    """Whether it made no layer."""


class ConfigReport(msgspec.Struct):
    """The config of an image."""

    os: str
    architecture: str
    created: str
    author: str
    user: str
    working_dir: str
    entrypoint: list[str]
    command: list[str]
    environment: list[str]
    ports: list[str]
    volumes: list[str]
    labels: dict[str, str]
    history: list[Step]


def config_of(content: bytes) -> ConfigReport | None:
    """Return what a config says; None when it is none."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    if not isinstance(found, dict):
        return None
    run = _table(found.get("config"))
    return ConfigReport(
        os=_text(found.get("os")),
        architecture=_platform(found),
        created=_text(found.get("created")),
        author=_text(found.get("author")),
        user=_text(run.get("User")),
        working_dir=_text(run.get("WorkingDir")),
        entrypoint=_texts(run.get("Entrypoint")),
        command=_texts(run.get("Cmd")),
        environment=_texts(run.get("Env")),
        ports=[*_table(run.get("ExposedPorts"))][:CONFIG_ENTRIES_MAX],
        volumes=[*_table(run.get("Volumes"))][:CONFIG_ENTRIES_MAX],
        labels={
            name: value
            for name, value in [*_table(run.get("Labels")).items()][:CONFIG_ENTRIES_MAX]
            if isinstance(value, str)
        },
        history=[_step(_table(one)) for one in _list(found.get("history"))],
    )


def _platform(found: Mapping[str, Any]) -> str:
    words = (_text(found.get("architecture")), _text(found.get("variant")))
    return "/".join(word for word in words if word)


def _step(one: Mapping[str, Any]) -> Step:
    return Step(
        _text(one.get("created_by")),
        _text(one.get("created")),
        _text(one.get("comment")),
        one.get("empty_layer") is True,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return value[:CONFIG_ENTRIES_MAX] if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [value] if isinstance(value, str) else [one for one in _list(value) if _text(one)]


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
