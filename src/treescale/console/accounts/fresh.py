"""Whether the caller may make a secret: who shows a password may, whoever bears a token may not.

An access token that leaked would else make others that outlive it.
"""

from treescale.console.route import Asked
from treescale.errors import PasswordNeeded


def check_fresh(asked: Asked) -> None:
    """Raise PasswordNeeded for an access token, whatever it is for."""
    if asked.principal.token_id:
        raise PasswordNeeded(
            "an access token makes no secrets: ask for this with the password of the user"
        )
