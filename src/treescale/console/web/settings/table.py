"""The rows of pages of settings."""

from collections.abc import Iterable
from typing import Final

from treescale.console.web.page import Handler, PageRoute, Who
from treescale.console.web.settings import (
    hooks,
    members,
    namespace,
    people,
    repository,
    robots,
    rules,
)

GET: Final = "GET"
POST: Final = "POST"
REPOSITORY: Final = "/{name}/-"
NAMESPACE: Final = "/{namespace}/-"
DESCRIPTION_FORM_BYTES_MAX: Final = 160_000
"""Three characters of a form for each byte, and more for ends of lines."""


def settings_routes() -> Iterable[PageRoute]:
    """Yield them; those of repositories before those of namespaces."""
    yield from _of_repositories()
    yield from _of_namespaces()
    for base in (REPOSITORY, NAMESPACE):
        yield from _of_hooks(base)
        yield from _of_rules(base)
    yield from _of_robots()
    yield PageRoute(GET, "/-/people", Who.ADMINISTRATOR, people.show)
    yield PageRoute(POST, "/-/people/reset", Who.ADMINISTRATOR, people.reset)
    yield PageRoute(POST, "/-/people/suspend", Who.ADMINISTRATOR, people.suspend)
    yield PageRoute(POST, "/-/people/withdraw", Who.ADMINISTRATOR, people.withdraw)
    yield PageRoute(GET, "/-/organisations/new", Who.ADMINISTRATOR, people.show_new)
    yield PageRoute(POST, "/-/organisations/new", Who.ADMINISTRATOR, people.add)
    yield PageRoute(GET, "/-/invite", Who.ADMINISTRATOR, people.show_invite)
    yield PageRoute(POST, "/-/invite", Who.ADMINISTRATOR, people.invite)


def _row(method: str, path: str, handler: Handler) -> PageRoute:
    return PageRoute(method, path, Who.SIGNED_IN, handler)


def _described(path: str, handler: Handler) -> PageRoute:
    most = DESCRIPTION_FORM_BYTES_MAX
    return PageRoute(POST, path, Who.SIGNED_IN, handler, form_bytes_max=most)


def _of_repositories() -> Iterable[PageRoute]:
    base = f"{REPOSITORY}/settings"
    yield _row(GET, base, repository.show)
    yield _described(f"{base}/description", repository.describe)
    yield _row(POST, f"{base}/visibility", repository.set_visibility)
    yield _row(POST, f"{base}/read-only", repository.set_read_only)
    yield _row(POST, f"{base}/move", repository.move)


def _of_namespaces() -> Iterable[PageRoute]:
    base = f"{NAMESPACE}/settings"
    yield _row(GET, base, namespace.show)
    yield _described(f"{base}/description", namespace.describe)
    yield _row(POST, f"{base}/visibility", namespace.set_visibility)
    yield _row(POST, f"{base}/read-only", namespace.set_read_only)
    yield _row(POST, f"{base}/remove", namespace.remove)
    base = f"{NAMESPACE}/members"
    yield _row(GET, base, members.show)
    yield _row(POST, base, members.grant)
    yield _row(POST, f"{base}/revoke", members.revoke)


def _of_hooks(base: str) -> Iterable[PageRoute]:
    hooks_path = f"{base}/hooks"
    one = f"{hooks_path}/{{hook}}"
    yield _row(GET, hooks_path, hooks.show)
    yield _row(POST, hooks_path, hooks.add)
    yield _row(GET, one, hooks.show_one)
    yield _row(POST, f"{one}/rotate", hooks.rotate)
    yield _row(POST, f"{one}/ping", hooks.ping)
    yield _row(POST, f"{one}/enable", hooks.enable)
    yield _row(POST, f"{one}/disable", hooks.disable)
    yield _row(POST, f"{one}/redeliver", hooks.redeliver)
    yield _row(POST, f"{one}/remove", hooks.remove)


def _of_rules(base: str) -> Iterable[PageRoute]:
    rules_path = f"{base}/rules"
    yield _row(GET, rules_path, rules.show)
    yield _row(POST, rules_path, rules.add)
    yield _row(GET, f"{rules_path}/plan", rules.show_plan)
    yield _row(POST, f"{rules_path}/plan", rules.confirm)
    yield _row(GET, f"{rules_path}/{{rule}}/remove", rules.show_removal)
    yield _row(POST, f"{rules_path}/{{rule}}/remove", rules.remove)


def _of_robots() -> Iterable[PageRoute]:
    base = f"{NAMESPACE}/robots"
    one = f"{base}/{{robot}}"
    yield _row(GET, base, robots.show)
    yield _row(POST, base, robots.add)
    yield _row(GET, one, robots.show_one)
    yield _row(POST, f"{one}/rotate", robots.rotate)
    yield _row(POST, f"{one}/trust", robots.trust)
    yield _row(POST, f"{one}/distrust", robots.distrust)
    yield _row(POST, f"{one}/remove", robots.remove)
