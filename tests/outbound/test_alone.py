"""Nothing else in the server asks a URL that somebody has set."""

import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "treescale"
CLIENTS = re.compile(r"\b(ClientSession|urlopen|urllib\.request|http\.client|import requests)\b")
OTHERS = {
    "cli/demo/image.py": "speaks to servers that the demo has started",
    "cli/demo/command.py": "likewise",
    "cli/remote/server.py": "no server: it is whoever types who names one and logs in to it",
}


def test_there_is_one_client_for_everything_outbound() -> None:
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if CLIENTS.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"outbound/client.py", *OTHERS}
