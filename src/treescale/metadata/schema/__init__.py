"""The tables, once for both databases; docs/schema.md says what each is for.

Text keys sort by bytes everywhere (SQLite's BINARY, PostgreSQL's "C"), because lists are paginated
by them. Rows that hang on another row go with it (ON DELETE CASCADE), except where a reference must
keep its target alive: a linked blob and a referenced chunk cannot be deleted. An
index with a condition has it on both. It is said as SQLite's alone: SQLAlchemy would import the
dialect of PostgreSQL to read it as that one's.
"""

from treescale.metadata.schema.accounts import (
    access_tokens,
    generations,
    known_addresses,
    members,
    revocations,
    settings,
    signing_keys,
    users,
)
from treescale.metadata.schema.cluster import (
    counters,
    jobs,
    layouts,
    leases,
    owed,
    peer_keys,
    servers,
    stores,
    walks,
)
from treescale.metadata.schema.columns import (
    BYTEWISE,
    NAMING,
    ROW_ID,
    SCHEMA_VERSION,
    SCHEMA_VERSION_TABLE,
    metadata,
)
from treescale.metadata.schema.contents import (
    NAMELESS,
    SETTLED,
    blob_chunks,
    blobs,
    chunks,
    deleted_tags,
    lost_chunks,
    manifest_references,
    manifests,
    namespaces,
    repositories,
    repository_blobs,
    tags,
    upload_parts,
    uploads,
)
from treescale.metadata.schema.descriptions import (
    namespace_descriptions,
    repository_descriptions,
)
from treescale.metadata.schema.events import (
    event_groups,
    event_leases,
    events,
)
from treescale.metadata.schema.freeing import (
    namespace_blobs,
    pulls,
    purge_stores,
    purged_chunks,
    purges,
    repository_usage,
    usage_changes,
)
from treescale.metadata.schema.hooks import deliveries, hooks
from treescale.metadata.schema.people import (
    identities,
    links,
    sessions,
    sign_on_grants,
    sign_on_providers,
    sign_on_states,
)
from treescale.metadata.schema.quotas import namespace_months, quota_blobs, quotas
from treescale.metadata.schema.robots import (
    id_token_uses,
    issuers,
    robot_secrets,
    robots,
    trust_rules,
)
from treescale.metadata.schema.rules import rules

__all__ = [
    "BYTEWISE",
    "NAMELESS",
    "NAMING",
    "ROW_ID",
    "SCHEMA_VERSION",
    "SCHEMA_VERSION_TABLE",
    "SETTLED",
    "access_tokens",
    "blob_chunks",
    "blobs",
    "chunks",
    "counters",
    "deleted_tags",
    "deliveries",
    "event_groups",
    "event_leases",
    "events",
    "generations",
    "hooks",
    "id_token_uses",
    "identities",
    "issuers",
    "jobs",
    "known_addresses",
    "layouts",
    "leases",
    "links",
    "lost_chunks",
    "manifest_references",
    "manifests",
    "members",
    "metadata",
    "namespace_blobs",
    "namespace_descriptions",
    "namespace_months",
    "namespaces",
    "owed",
    "peer_keys",
    "pulls",
    "purge_stores",
    "purged_chunks",
    "purges",
    "quota_blobs",
    "quotas",
    "repositories",
    "repository_blobs",
    "repository_descriptions",
    "repository_usage",
    "revocations",
    "robot_secrets",
    "robots",
    "rules",
    "servers",
    "sessions",
    "settings",
    "sign_on_grants",
    "sign_on_providers",
    "sign_on_states",
    "signing_keys",
    "stores",
    "tags",
    "trust_rules",
    "upload_parts",
    "uploads",
    "usage_changes",
    "users",
    "walks",
]
