"""What every page may say."""

from collections.abc import Mapping
from typing import Final

BASE: Final[Mapping[str, str]] = {
    "product": "TreeScale",
    "skip": "Skip to the content",
    "signed_in_as": "Signed in as",
    "sign_in": "Sign in",
    "sign_out": "Sign out",
    "account": "Account",
    "needs_tls_title": "This page needs TLS",
    "needs_tls": (
        "Passwords and sessions are not sent where others can read along. Open this registry by "
        "https://, or from the machine that it runs on. An administrator sets up TLS as "
        "docs/operations.md says."
    ),
    "not_found_title": "Nothing here",
    "forbidden_title": "You may not do this",
    "not_found": "There is no such page.",
    "error_title": "That did not work",
    "error": "That did not work. If it lasts, tell the operator: request {request_id}",
    "to_sign_in": "To the sign-in page",
    "to_home": "To my repositories",
    "to_account": "To my account",
    "ended_title": "Your session has ended",
    "ended": "Sign in again.",
    "form_stale": "This form is of an earlier session: open the page anew, and try again.",
    "home": "Home",
    "cluster": "Cluster",
    "people": "People",
    "search": "Search",
    "search_hint": "Repositories, tags, digests",
    "navigation": "Pages",
    "you_are_here": "Where you are",
    "more": "Next page",
    "copy": "Copy",
    "copied": "Copied",
    "live_on": "Live",
    "live_off": "Not live: the connection is lost, and is tried again.",
    "too_many_live": "Too many pages are live at once: close some of yours, or try again later.",
    "for_administrators_alone": "This page is for administrators.",
}
