"""Traces: off unless they are asked for, and then at no cost; on, spans are of requests alone."""

import subprocess
import sys

import pytest

from tests.tables import each_row
from treescale.tracing import TRACING, Tracing, is_wanted

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@each_row(
    ("environment", "wanted"),
    [
        ({}, False),
        ({ENDPOINT: ""}, False),
        ({ENDPOINT: "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({ENDPOINT: "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_SERVICE_NAME": "registry"}, False),
    ],
)
def test_they_are_sent_where_the_environment_says(
    environment: dict[str, str], *, wanted: bool
) -> None:
    assert is_wanted(environment) is wanted


@pytest.mark.long  # starts an interpreter
def test_without_an_endpoint_nothing_is_imported_and_nothing_begun() -> None:
    script = (
        "import sys, treescale.server.worker\n"
        "from treescale.tracing import TRACING\n"
        "assert TRACING.start({}, 'me', '1') is None and TRACING.tracer is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    with TRACING.asking("database read") as trace:
        assert trace == ""


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    tracing = Tracing()
    why = tracing.start({ENDPOINT: "http://127.0.0.1:9"}, "me", "1")
    assert why is not None
    assert "install treescale[otel]" in why
    assert tracing.tracer is None


@each_row(
    ("name", "value"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),  # a batch is of 512
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
    ],
)
def test_variables_that_cannot_be_are_told_and_no_server_fails_of_them(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    tracing = Tracing()
    why = tracing.start({ENDPOINT: "http://127.0.0.1:9"}, "me", "1")
    assert why is not None
    assert "OTEL_" in why
    assert tracing.tracer is None
