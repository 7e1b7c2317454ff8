"""Whether the caller may make a secret: who shows a password may, or has just signed in.

Whoever bears an access token may not: one that leaked would else make others that outlive it.
"""

from treescale.console.route import Asked
from treescale.errors import PasswordNeeded


def check_fresh(asked: Asked) -> None:
    """Raise PasswordNeeded for an access token, whatever it is for, and an older session."""
    if not asked.is_fresh:
        raise PasswordNeeded("you signed in a while ago: prove it once more at /-/account")
    if asked.principal.token_id:
        raise PasswordNeeded(
            "an access token makes no secrets: ask for this with the password of the user"
        )
