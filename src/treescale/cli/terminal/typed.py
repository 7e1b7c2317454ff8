"""Commands in messages, as the reader can paste them.

Whoever writes a message names a command in backticks, `treescale VERB …`, and knows neither how
this process was started nor where its cluster is. Here, where messages reach people, both are put
in: the path or module it was started by, and the --config, --data or --database it was told, quoted
for a shell. A command that is all of its line loses its backticks.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treescale.config import PREFIX, Loaded, shown

PROGRAM: Final = "treescale"
MESSAGE: Final = "text"
"""The key of rows that speak to people."""
_COMMAND: Final = re.compile(r"(?m)(^[ ]*)?`treescale ((?!demo)[^`]+)`((?(1)$)?)")
_FLAG: Final = "--"
_ALONE: Final = ("login", "logout")
"""Commands of no cluster that was told."""
_DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Typed:
    """How this process was started, and the flags that lead to the same cluster."""

    program: tuple[str, ...] = (PROGRAM,)
    cluster: tuple[str, ...] = ()
    server: tuple[str, ...] = ()
    """For `serve`, which must be told of all disks."""

    def put(self, text: str) -> str:
        """Return a message with its commands as they can be pasted."""
        return _COMMAND.sub(self._spelled, text) if "`" in text else text

    def put_row(self, row: Mapping[str, object]) -> dict[str, object]:
        """Return a row with the message in it, if there is one, as `put` returns it.

        Everything else is data, and stays what it is.
        """
        return {
            key: [self.put_row(one) if isinstance(one, Mapping) else one for one in value]
            if isinstance(value, list | tuple)
            else self.put(value)
            if key == MESSAGE and isinstance(value, str)
            else value
            for key, value in row.items()
        }

    def _spelled(self, found: re.Match[str]) -> str:
        verb = found[2].split()[0]
        flags = () if verb in _ALONE else self.server if verb == "serve" else self.cluster
        words = " ".join([shlex.join(self.program), found[2], shlex.join(flags)]).rstrip()
        alone = found[1] is not None and found.string[found.end() :][:1] in ("", "\n")
        return f"{found[1] or ''}{words}" if alone else f"{found[1] or ''}`{words}`"


PLAIN: Final = Typed()


def started_by() -> tuple[str, ...]:
    """Return the words by which this process was started, as far as its command line's verbs."""
    spec = sys.modules["__main__"].__spec__
    if spec is not None and spec.name.partition(".")[0] == PROGRAM:
        return sys.orig_argv[0], "-m", spec.name.removesuffix(".__main__")
    path = sys.argv[0]
    if Path(path).name != PROGRAM or path == _on_the_path():
        return (PROGRAM,)
    return (path,)


def typed(loaded: Loaded) -> Typed:
    """Return how to say commands to this cluster, from how this process came to its settings."""
    sources, settings = loaded.sources, loaded.settings
    files = {one for one in sources.values() if _is_file(one)}
    config = [word for one in sorted(files) for word in ("--config", _absolute(one))]
    data = [
        word
        for path in ([] if sources["data"] in (_DEFAULT, *files) else settings.data)
        for word in ("--data", _absolute(path))
    ]
    database: list[str] = []
    if sources["database"] not in (_DEFAULT, *files):
        database = ["--database", str(shown(settings)["database"])]
        if sources["database"].startswith(PREFIX) and "***" in database[1]:
            database = []  # a password: the reader has the variable, too
    cluster = [*config, *(database or data[:2])]
    return Typed(started_by(), tuple(cluster), (*config, *data, *database))


def typed_to(server: str | None, ca_file: str | None) -> Typed:
    """Return how to say commands to a server that is asked by HTTP, from the flags given."""
    flags = [("--server", server)] if server else []
    if ca_file:
        flags.append(("--ca-file", _absolute(ca_file)))
    return Typed(started_by(), tuple(word for pair in flags for word in pair))


def _absolute(path: str) -> str:
    """Return the path as it can be typed in another directory."""
    return str(Path.cwd() / path)


def _is_file(source: str) -> bool:
    return source != _DEFAULT and not source.startswith((_FLAG, PREFIX))


def _on_the_path() -> str | None:
    """Return what `treescale` alone would start."""
    return shutil.which(PROGRAM)
