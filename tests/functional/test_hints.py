"""What a command takes away is gone within a second or so; without the log, at the next poll."""

import json
from functools import partial

import pytest

from tests.functional.cluster.altered import altered
from tests.functional.conftest import Serve
from tests.functional.programs import wait_until
from tests.functional.server import TREESCALE, Options
from tests.functional.test_accounts import locked_out, status

HINTED_SECONDS_MAX = 4.0
"""A second until somebody looks, and what a busy machine takes; the poll alone takes five."""
POLLED_SECONDS_MAX = 20.0


@pytest.mark.parametrize(
    ("launcher", "seconds_max"),
    [((str(TREESCALE),), HINTED_SECONDS_MAX), (altered("read-no-log"), POLLED_SECONDS_MAX)],
    ids=["log", "no log"],
)
def test_a_revoked_token_is_refused(
    serve: Serve, launcher: tuple[str, ...], seconds_max: float
) -> None:
    """Each worker refuses what it has let in just before."""
    server = serve(Options(workers=2, launcher=launcher))
    account = server.add_token(server.admin_account)
    assert {status(server, account) for _ in range(8)} == {200}
    token, *_ = json.loads(server.admin("token", "list", "admin", "--json"))
    server.admin("token", "revoke", token["id"])
    refused = partial(locked_out, server, account)
    wait_until("each worker refuses it", refused, seconds=seconds_max, every=0.1)
