"""The lists that labels are of, beside what there is; and what is written of metrics elsewhere."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from treescale.api.routes import ROUTES
from treescale.http.errors import TABLE
from treescale.metrics.catalog import ALL, Kind
from treescale.metrics.meters import JOBS, METHODS, STATUSES, Call, Refusal, Route, Sent
from treescale.oci.paths import ResourceKind

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/metrics.md").read_text()
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
TESTS = sorted(ROOT.glob("deploy/prometheus/*.test.yaml"))
DASHBOARD = ROOT / "deploy/grafana/treescale.json"
GRAFANA_COLUMNS = 24
UNUSED = {
    "treescale_cluster_partitions_pending": "the sum of what the stores tell, which has a panel",
}
"""Metrics without a panel or an alert, and why."""
NAME = re.compile(r"\btreescale_[a-z0-9_]+")
MADE_OF_HISTOGRAMS = ("_bucket", "_sum", "_count")


def names_in(text: str) -> set[str]:
    """Return the metrics that are named, a histogram by what its lines are called."""
    known = {metric.name for metric in ALL if metric.kind is Kind.HISTOGRAM}
    found = set()
    for name in NAME.findall(text):
        base = next(
            (name.removesuffix(end) for end in MADE_OF_HISTOGRAMS if name.endswith(end)), ""
        )
        found.add(base if base in known else name)
    return found


def test_every_metric_is_documented_as_it_is_and_every_documented_one_exists() -> None:
    rows = re.findall(r"^\| `(treescale_\w+)` \| (\w+) \| ([^|]*)\|", DOCUMENT, re.MULTILINE)
    documented = {
        name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows
    }
    assert len(rows) == len(documented), "one is documented twice"
    assert documented == {metric.name: (metric.kind.value, metric.labels) for metric in ALL}


def test_the_document_names_every_value_of_a_label() -> None:
    values = [each.name.lower() for kind in (Route, Refusal, Call, Sent) for each in kind]
    assert [value for value in (*values, *METHODS) if f"`{value}`" not in DOCUMENT] == []


def test_alerts_and_dashboard_name_metrics_that_exist() -> None:
    known = {metric.name for metric in ALL}
    for path in (ALERTS, *TESTS, DASHBOARD):
        named = names_in(path.read_text())
        assert named, path
        assert named - known == set(), path


def test_what_does_not_exist_would_be_found() -> None:
    assert names_in('rate(treescale_gone_total{a="b"}[5m])') == {"treescale_gone_total"}
    assert names_in("treescale_cluster_copies_count") == {"treescale_cluster_copies_count"}


def test_every_alert_has_a_test() -> None:
    alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text())
    assert len(alerts) > 10
    assert set(alerts) == set(
        re.findall(r"alertname: (\w+)", "".join(x.read_text() for x in TESTS))
    )


def test_the_dashboard_is_json_whose_panels_all_ask_something() -> None:
    panels = [each for each in json.loads(DASHBOARD.read_text())["panels"] if each["type"] != "row"]
    assert len(panels) > 10
    assert all(target["expr"] for panel in panels for target in panel["targets"])
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_metric_is_on_the_dashboard_or_raises_an_alert() -> None:
    used = names_in(DASHBOARD.read_text()) | names_in(ALERTS.read_text())
    assert {metric.name for metric in ALL} - used == set(UNUSED)
    assert names_in("treescale_nobody_asks") - used, "the control"


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        across, down = range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
        cells = {(x, y) for x in across for y in down}
        assert max(x for x, _ in cells) < GRAFANA_COLUMNS
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_kind_of_resource_is_a_route() -> None:
    assert {kind.name for kind in ResourceKind} <= {route.name for route in Route}
    assert {method for _, method in ROUTES} <= set(METHODS)


def test_every_status_of_an_error_is_in_the_list() -> None:
    assert {str(status) for _, status in TABLE.values()} <= set(STATUSES)
    assert len(set(STATUSES)) == len(STATUSES)


def jobs_of(path: Path) -> Iterator[str]:
    """Yield the names of the background work that a file registers, up to a slash."""
    text = path.read_text()
    if not re.search(r"\b(Job|Work)\(", text):
        return
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
            continue
        first = node.args[0]
        if node.func.id in ("Job", "Work") and isinstance(first, ast.JoinedStr):
            first = first.values[0]
        if node.func.id in ("Job", "Work") and isinstance(first, ast.Constant):
            yield str(first.value).partition("/")[0]


def test_no_label_is_one_of_prometheus_own() -> None:
    """A scrape would rename it: `job` and `instance` say where a sample is from."""
    kinds = r"\| (?:counter|gauge|histogram) \|([^|]*)\|"
    labels = set(re.findall(r"`(\w+)`", " ".join(re.findall(kinds, DOCUMENT))))
    assert "work" in labels
    assert not labels & {"job", "instance"}


def test_every_background_job_has_its_label() -> None:
    """One that has none would be counted as `other`."""
    files = (ROOT / "src/treescale").rglob("*.py")
    named = {name for path in files for name in jobs_of(path)}
    assert len(named) > 20
    assert named == set(JOBS) - {"other"}
