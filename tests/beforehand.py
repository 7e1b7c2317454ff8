"""What many tests make first, made before the processes are forked that run them."""

import gc
from typing import Final

from tests.outbounds import outbound
from tests.templates import migrated
from treescale.console.web import rendering

MANY: Final = 300
"""So many tests are likely to need all of it."""


def make_beforehand(tests: int) -> None:
    """Make an empty database, what trusts whom the system trusts, and all templates of pages."""
    if tests < MANY:
        return
    migrated()
    outbound()
    environment = rendering._environment()
    for name in environment.list_templates():
        environment.get_template(name)
    gc.collect()
    gc.freeze()  # else each process looks at all of it, again and again
