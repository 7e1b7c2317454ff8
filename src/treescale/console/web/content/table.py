"""Every page of content, on this screen."""

from collections.abc import Iterable
from typing import Final

from treescale.console.web.content.deleting import DeletingPages
from treescale.console.web.content.home import HomePages
from treescale.console.web.content.namespace import NamespacePages
from treescale.console.web.content.repository import RepositoryPages
from treescale.console.web.page import PageRoute, Who

GET: Final = "GET"
POST: Final = "POST"
ANYBODY: Final = Who.ANYBODY
SIGNED_IN: Final = Who.SIGNED_IN


def content_pages() -> Iterable[PageRoute]:
    """Yield them. What is not public is for who is signed in: the management API says what is."""
    home, namespace = HomePages(), NamespacePages()
    repository, deleting = RepositoryPages(), DeletingPages()
    yield PageRoute(GET, "/", SIGNED_IN, home.show)
    yield PageRoute(GET, "/-/", ANYBODY, home.move)
    yield PageRoute(GET, "/-/search", SIGNED_IN, home.search)
    yield PageRoute(GET, "/{namespace}", ANYBODY, namespace.show)
    yield PageRoute(GET, "/{namespace}/-/deleted", SIGNED_IN, namespace.deleted)
    yield PageRoute(POST, "/{namespace}/-/restore", SIGNED_IN, namespace.restore)
    yield PageRoute(GET, "/{name}", ANYBODY, repository.show)
    yield PageRoute(GET, "/{name}:{tag}", ANYBODY, repository.show_tag)
    yield PageRoute(GET, "/{name}@{digest}", ANYBODY, repository.show_digest)
    yield PageRoute(GET, "/{name}/-/deleted", SIGNED_IN, deleting.deleted)
    yield PageRoute(POST, "/{name}/-/restore", SIGNED_IN, deleting.restore)
    yield PageRoute(GET, "/{name}/-/delete", SIGNED_IN, deleting.show_delete)
    yield PageRoute(POST, "/{name}/-/delete", SIGNED_IN, deleting.delete_repository)
    yield PageRoute(POST, "/{name}/-/tags/delete", SIGNED_IN, deleting.delete_tags)
    yield PageRoute(POST, "/{name}/-/tags/move", SIGNED_IN, deleting.move_tag)
    yield PageRoute(POST, "/{name}/-/images/delete", SIGNED_IN, deleting.delete_image)
