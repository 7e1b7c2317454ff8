"""The documents name everything there is: routes, error codes, make targets, links that lead on."""

import re
from pathlib import Path

from tests.tables import each_row
from treescale.api.routes import ROUTES
from treescale.http.errors import TABLE
from treescale.metadata.schema import metadata
from treescale.oci.paths import Resource, ResourceKind, parse_path

ROOT = Path(__file__).parent.parent
DOCS = sorted(ROOT.glob("docs/*.md"))
API = (ROOT / "docs/api.md").read_text()
DIGEST = "sha256:" + "0" * 64
EXAMPLES = {"<name>": "alice/app", "<reference>": "latest", "<digest>": DIGEST, "<id>": "some-id"}
README_LINES_MAX = 120


def documented_routes() -> set[tuple[ResourceKind, str]]:
    """Read the table of routes as the router would."""
    found: set[tuple[ResourceKind, str]] = set()
    for methods, path in re.findall(r"^\| ([A-Z, ]+) \| `(/v2/[^`?]*)[^`]*` \|", API, re.MULTILINE):
        for placeholder, example in EXAMPLES.items():
            path = path.replace(placeholder, example)  # noqa: PLW2901
        route = parse_path(path)
        assert isinstance(route, Resource), path
        found |= {(route.kind, method) for method in methods.split(", ")}
    return found


def test_every_route_is_documented_and_every_documented_route_is_there() -> None:
    assert documented_routes() == set(ROUTES)


@each_row(("code", "status"), sorted(set(TABLE.values())))
def test_every_error_code_is_documented_with_its_status(code: str, status: int) -> None:
    row = re.search(rf"^\| `{code}` \| ([0-9, ]+) \|", API, re.MULTILINE)
    assert row is not None, f"docs/api.md does not explain {code}"
    assert str(status) in row[1].split(", ")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES_MAX


@each_row("page", [ROOT / "README.md", *DOCS], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_make_target_is_on_the_hacking_page() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    hacking = (ROOT / "docs/hacking.md").read_text()
    assert targets
    assert [target for target in targets if f"make {target}" not in hacking] == []


def test_every_column_is_on_the_schema_page() -> None:
    text = (ROOT / "docs/schema.md").read_text()
    rows = {
        table: columns
        for tables, columns in re.findall(r"^\| (`\w+`[^|]*) \| ([^|]*) \|", text, re.MULTILINE)
        for table in re.findall(r"`(\w+)`", tables)
    }
    assert set(metadata.tables) <= set(rows)
    for table in metadata.tables.values():
        named = set(re.findall(r"\w+", rows[table.name]))
        assert {column.name for column in table.columns} <= named, table.name


@each_row("page", [ROOT / "README.md", *DOCS], ids=lambda page: page.name)
def test_nothing_is_left_to_be_filled_in(page: Path) -> None:
    assert not re.search(r"@@[A-Z]+@@|TODO|FIXME|XXX", page.read_text())
