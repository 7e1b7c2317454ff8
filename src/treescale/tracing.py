"""Traces: what a request took and where, also on other servers, as spans of OpenTelemetry.

Off, and a look at `TRACING` for each question, until a process calls `start`: they are an extra
(`treescale[otel]`), and nothing imports them before. Only what belongs to a request is told: work
in the background begins no trace. Where spans go, and how many, is said by the standard's own
variables (OTEL_…), which the packages read.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import Enum
from typing import Any, Final

HEADER: Final = "traceparent"
"""How a trace is named to another server (W3C Trace Context)."""
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Where spans go; without either there are none."""
DISABLED: Final = "OTEL_SDK_DISABLED"
SERVICE: Final = "treescale"
_ERROR_STATUS: Final = 500


class Kind(Enum):
    """Which side of a question a span is."""

    ANSWERING = "SERVER"
    ASKING = "CLIENT"


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Say whether spans are to be sent, by the variables of the environment."""
    off = environment.get(DISABLED, "").strip().lower() == "true"
    return not off and any(environment.get(name) for name in ENDPOINTS)


class Tracer:
    """What makes spans and sends them in a thread of its own; a full queue drops the newest."""

    def __init__(self, server_id: str, version: str) -> None:
        """Begin to send; call it in a process for good.

        Raises ImportError without the packages, ValueError for variables that they do not take.
        """
        # Half a second of a start, for those who ask for it.
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        about = {"service.version": version, "service.instance.id": server_id}
        named = Resource.create(about)
        if str(named.attributes.get("service.name", "")).startswith("unknown_service"):
            named = named.merge(Resource({"service.name": SERVICE}))
        self._provider = TracerProvider(resource=named, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(SERVICE, version)
        self._trace = trace
        self._context = TraceContextTextMapPropagator()

    @contextmanager
    def span(
        self, name: str, kind: Kind, parent: str | None = None, **attributes: str
    ) -> Iterator[Any]:
        """Have a span for the time of a block; an exception is told in it, and goes on.

        `parent` is what another program calls the span above (its header); without it that is the
        one around this, if there is one.
        """
        context = None if parent is None else self._context.extract({HEADER: parent})
        with self._tracer.start_as_current_span(
            name,
            context=context,
            kind=self._trace.SpanKind[kind.value],
            attributes={key.replace("__", "."): value for key, value in attributes.items()},
        ) as span:
            yield span

    def answered(self, span: Any, name: str, status: int) -> None:
        """Say how a request was answered, and what it was for."""
        span.update_name(name)
        span.set_attribute("http.response.status_code", status)
        if status >= _ERROR_STATUS:
            span.set_status(self._trace.StatusCode.ERROR)

    def is_in_trace(self) -> bool:
        """Say whether this belongs to a request of which spans are told."""
        return bool(self._trace.get_current_span().is_recording())

    @contextmanager
    def asking(self, name: str, **attributes: str) -> Iterator[str]:
        """Have a span for a question to somebody else; yields what names it to them."""
        with self.span(name, Kind.ASKING, **attributes):
            carrier: dict[str, str] = {}
            self._context.inject(carrier)
            yield carrier.get(HEADER, "")

    def end(self) -> None:
        """Send what is left; blocks, for seconds when nobody takes it."""
        self._provider.shutdown()


class Tracing:
    """The one tracer of this process, if it has one."""

    tracer: Tracer | None = None

    def start(self, environment: Mapping[str, str], server_id: str, version: str) -> str | None:
        """Begin, if the environment asks for it; return why that cannot be."""
        if not is_wanted(environment):
            return None
        try:
            self.tracer = Tracer(server_id, version)
        except ImportError as missing:
            return f"{missing}: install treescale[otel], or unset OTEL_EXPORTER_OTLP_ENDPOINT"
        except ValueError as wrong:  # a queue of no length, or one that is shorter than a batch
            return f"{wrong}: change the variable OTEL_… that says so"
        return None

    def asking(self, name: str, **attributes: str) -> AbstractContextManager[str]:
        """Have a span for a question, where it belongs to a request of which spans are told.

        Yields what names it to whoever is asked, "" without a span.
        """
        tracer = self.tracer
        if tracer is None or not tracer.is_in_trace():
            return _NOTHING
        return tracer.asking(name, **attributes)


_NOTHING: Final = nullcontext("")
TRACING: Final = Tracing()
