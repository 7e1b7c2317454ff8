"""The pages that tests look at in Chromium, by who looks; a name is that of its picture."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from tests.functional.console.world import HOSTILE

ASKED = quote(HOSTILE, safe="")
OF_ANYBODY = {"sign-in": "/-/sign-in", "public": "/acme/api"}
OF_ALICE = {
    "home": "/",
    "search": "/-/search?q=acme",
    "namespace": "/acme",
    "repository": "/acme/web",
    "image": "/acme/web:1.10.0",
    "spread": "/acme/web:1.10.0/-/spread",
    "deleted": "/acme/web/-/deleted",
    "delete": "/acme/web/-/delete",
    "all-deleted": "/acme/-/deleted",
    "members": "/acme/-/members",
    "robots": "/acme/-/robots",
    "robot": "/acme/-/robots/ci",
    "hooks": "/acme/-/hooks",
    "rules": "/acme/-/rules",
    "plan": "/acme/web/-/rules/plan",
    "namespace-settings": "/acme/-/settings",
    "settings": "/acme/web/-/settings",
    "account": "/-/account",
}
OF_MALLORY = {
    "home": "/",
    "search": f"/-/search?q={ASKED}",
    "namespace": "/mallory",
    "repository": f"/mallory/app?filter={ASKED}",
    "by-date": "/mallory/app?order=pushed",
    "image": "/mallory/app:1",
    "index": "/mallory/app:index",
    "spread": "/mallory/app:1/-/spread",
    "deleted": "/mallory/app/-/deleted",
    "delete": "/mallory/app/-/delete",
    "hooks": "/mallory/-/hooks",
    "hooks-of-repository": "/mallory/app/-/hooks",
    "hook": "/mallory/-/hooks/{hook}",
    "rules": "/mallory/app/-/rules",
    "settings": "/mallory/app/-/settings",
    "namespace-settings": "/mallory/-/settings",
    "account": "/-/account",
}
OF_THE_ADMINISTRATOR = {
    "cluster": "/-/cluster",
    "work": "/-/cluster/work/verify",
    "collect": "/-/cluster/work/collect",
    "read-only": "/-/cluster/read-only",
    "people": "/-/people",
    "new-organisation": "/-/organisations/new",
    "invite": "/-/invite",
}
PATHS: Final[Mapping[str, Mapping[str, str]]] = {
    "alice": OF_ALICE,
    "mallory": OF_MALLORY,
    "admin": OF_THE_ADMINISTRATOR,
}
NOT_LOOKED_AT: Final = {
    "/-/": "leads to /",
    "/-/sign-on/{provider}": "leads to a provider",
    "/-/sign-on/{provider}/callback": "leads on",
    "/-/invitation/{secret}": "the form of the account's password",
    "/-/reset/{secret}": "likewise",
    "/{name}@{digest}": "as by a tag",
    "/{name}@{digest}/-/spread": "likewise",
    "/-/cluster/targets/{target}": "a sentence and a button",
    "/-/cluster/jobs/{job}": "a table of numbers",
    "/{namespace}/-/rules/plan": "as a repository's",
    "/{name}/-/hooks/{hook}": "as a namespace's",
    "/{namespace}/-/rules/{rule}/remove": "a sentence and a button",
    "/{name}/-/rules/{rule}/remove": "likewise",
}
"""Rows of the table of pages, and why not."""
