"""Every metric there is, with what it says. Pure. docs/metrics.md has a section for each.

Labels have values of closed lists, or the ids of stores and servers: never what a client chose.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What a metric is, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"treescale_{name}_total", Kind.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"treescale_{name}", Kind.GAUGE, text, labels)


def _seconds(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"treescale_{name}_duration_seconds", Kind.HISTOGRAM, text, labels)


# Counted by all processes of the server.
REQUESTS: Final = _counter("http_requests", "Requests answered.", "route", "method", "status")
REQUEST_SECONDS: Final = _seconds(
    "http_request", "Time from a request's head to the end of its answer.", "route", "method"
)
IN_FLIGHT: Final = _gauge("http_requests_in_flight", "Requests being answered now.", "route")
TRAFFIC_BYTES: Final = _counter("traffic_bytes", "Bytes of blobs, manifests and chunks.", "flow")
LOGINS_REFUSED: Final = _counter("authentication_failures", "Credentials refused.", "reason")
DATABASE_SECONDS: Final = _seconds("database_call", "Time of calls that were answered.", "call")
DATABASE_FAILURES: Final = _counter(
    "database_calls_failed", "Calls the database did not answer, or could not do.", "call"
)
STORE_SECONDS: Final = _seconds(
    "store_call", "Time of calls on a disk of this server.", "store", "call"
)
BACKGROUND_FAILURES: Final = _counter(
    "background_failures", "Runs of background work that failed.", "work"
)
LINES_DROPPED: Final = _counter("log_lines_dropped", "Log lines that could not be written.")
DELIVERIES: Final = _counter("hook_deliveries", "Webhooks that were sent, by result.", "result")
FOLLOWERS: Final = _gauge("event_followers", "Who follows the events here, in all workers.")
NATS_CONNECTED: Final = _gauge("nats_connected", "Whether this server sends events to NATS now.")
PROCESSES_STARTED: Final = _counter("processes_started", "Processes that began to count.")
PROCESSES: Final = _gauge("processes", "Processes of this server that live, but the supervisor.")

# Of this server, as it is now.
BUILD_INFO: Final = _gauge("build_info", "Always 1.", "version", "python", "server")
CHECK_OK: Final = _gauge("check_ok", "Whether a check of /readyz is well.", "check")
CERTIFICATE_EXPIRY: Final = _gauge(
    "certificate_expiry_timestamp_seconds", "When the certificate that is served ends."
)
PEER_UP: Final = _gauge("peer_up", "Whether another server is asked, by who answers this.", "peer")
STORE_SIZE: Final = _gauge("store_size_bytes", "Size of the file system of a store.", "store")
STORE_FREE: Final = _gauge("store_free_bytes", "Free bytes of the file system.", "store")
STORE_READABLE: Final = _gauge("store_readable", "Whether a store answers reads.", "store")
STORE_WRITABLE: Final = _gauge("store_writable", "Whether a store takes writes.", "store")

# Of the stores of this server, as the cluster's database has it.
STORE_IN_LAYOUT: Final = _gauge("store_in_layout", "Whether new chunks go to it.", "store")
STORE_MISSING: Final = _gauge("store_copies_missing", "Copies it should have and lacks.", "store")
STORE_MISPLACED: Final = _gauge("store_copies_misplaced", "Copies that belong elsewhere.", "store")
STORE_PENDING: Final = _gauge(
    "store_partitions_pending", "Partitions of 4,096 its walk has still to look at.", "store"
)
STORE_WALK_RATE: Final = _gauge(
    "store_walk_bytes_per_second", "Bytes a second that its walk moves.", "store"
)
STORE_LOOKED: Final = _gauge(
    "store_looked_timestamp_seconds", "Since when all of it was looked at.", "store"
)
STORE_VERIFIED: Final = _gauge(
    "store_verified_timestamp_seconds", "Since when all of it was read back.", "store"
)
STORE_WAITING: Final = _gauge(
    "store_collection_waiting_bytes", "Bytes no blob names, whose lease runs.", "store"
)
STORE_TRASH: Final = _gauge("store_trash_bytes", "Bytes in its trash.", "store")
STORE_COLLECTION_PAUSED: Final = _gauge(
    "store_collection_paused", "Whether nothing is taken from it.", "store"
)

# Of the cluster: every server says the same.
FIGURES_KNOWN: Final = _gauge(
    "cluster_figures_known", "Whether the cluster's rows could be read for this page."
)
SERVERS: Final = _gauge("cluster_servers", "Servers, by how they are.", "condition")
STORES: Final = _gauge("cluster_stores", "Stores, by how they are.", "condition")
SERVER_UP: Final = _gauge(
    "cluster_server_up", "Whether a server was heard of lately.", "server", "name"
)
CLOCK_ERROR: Final = _gauge(
    "cluster_server_clock_error_seconds", "How far its clock is ahead.", "server"
)
UNREACHED_BY: Final = _gauge(
    "cluster_server_unreached_by", "Servers that are up and do not reach it.", "server"
)
LAYOUT: Final = _gauge("cluster_layout_number", "Number of the layout in force.")
COPIES: Final = _gauge("cluster_copies", "Copies of each chunk under it.")
COPIES_OWED: Final = _gauge("cluster_copies_owed", "Copies that were noted as missing by pushes.")
COPIES_MISSING: Final = _gauge("cluster_copies_missing", "Copies that stores should have and lack.")
COPIES_MISPLACED: Final = _gauge("cluster_copies_misplaced", "Copies that belong elsewhere.")
PARTITIONS_PENDING: Final = _gauge(
    "cluster_partitions_pending", "Partitions that walks have still to look at, of all stores."
)
LOST_CHUNKS: Final = _gauge("cluster_lost_chunks", "Chunks of which no good copy is left.")
LOST_BLOBS: Final = _gauge("cluster_lost_blobs", "Blobs that lack such a chunk.")
MAY_STOP: Final = _gauge("cluster_may_stop", "Whether any one server may be stopped now.")
COLLECTION_PAUSED: Final = _gauge(
    "cluster_collection_paused", "Whether nothing is taken away in the cluster."
)
BACKUP_SUCCESS: Final = _gauge(
    "cluster_backup_last_success_timestamp_seconds",
    "When the last backup that was read back was taken; 0 is never.",
)
BACKUP_SIZE: Final = _gauge("cluster_backup_size_bytes", "Size of that backup.")
READ_ONLY: Final = _gauge("cluster_read_only", "Whether all of the registry is read-only.")
EVENTS_SEQUENCE: Final = _gauge("cluster_events_sequence", "Number of the newest event.")
EVENTS_WAITING: Final = _gauge(
    "cluster_events_waiting", "Events that are committed and have no number yet."
)
HOOKS: Final = _gauge("cluster_hooks", "Webhooks, by state.", "state")
DELIVERIES_WAITING: Final = _gauge(
    "cluster_hook_deliveries_waiting", "Deliveries that are still to be sent."
)
DELIVERIES_AGE: Final = _gauge(
    "cluster_hook_deliveries_oldest_seconds", "Age of the oldest of them; 0 without any."
)
QUOTAS: Final = _gauge(
    "cluster_quotas", "Namespaces that have used 80 % of their quota, or all of it.", "level"
)
GROUPS: Final = _gauge("cluster_event_groups", "Groups of consumers, of all namespaces.")
GROUPS_LAG: Final = _gauge(
    "cluster_event_groups_lag_events",
    "Numbers of events that the group furthest behind has not been given yet; 0 without any.",
)
NATS_LAG: Final = _gauge("cluster_nats_lag_events", "Events that NATS has not got yet.")

ALL: Final = tuple(each for each in globals().copy().values() if isinstance(each, Metric))
