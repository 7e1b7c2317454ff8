"""The pages of whoever runs the cluster, and of an image across it."""

from collections.abc import Iterable
from typing import Final

from treescale.console.web.operator.cluster import ClusterPages
from treescale.console.web.operator.spread import SpreadPages
from treescale.console.web.operator.work import CLUSTER, JOBS, WorkPages
from treescale.console.web.page import PageRoute, Who

GET: Final = "GET"
POST: Final = "POST"
ADMINISTRATOR: Final = Who.ADMINISTRATOR


def operator_routes() -> Iterable[PageRoute]:
    """Yield them."""
    cluster, work, spread = ClusterPages(), WorkPages(), SpreadPages()
    yield PageRoute(GET, CLUSTER, ADMINISTRATOR, cluster.show)
    yield PageRoute(GET, f"{CLUSTER}/live", ADMINISTRATOR, cluster.live)
    target = f"{CLUSTER}/targets/{{target}}"
    yield PageRoute(GET, target, ADMINISTRATOR, work.target)
    yield PageRoute(POST, f"{target}/drain", ADMINISTRATOR, work.drain)
    yield PageRoute(POST, f"{target}/undrain", ADMINISTRATOR, work.undrain)
    yield PageRoute(GET, f"{CLUSTER}/work/{{kind}}", ADMINISTRATOR, work.ask)
    yield PageRoute(POST, f"{CLUSTER}/work/{{kind}}", ADMINISTRATOR, work.begin)
    yield PageRoute(GET, f"{JOBS}/{{job}}", ADMINISTRATOR, work.job)
    yield PageRoute(GET, f"{JOBS}/{{job}}/live", ADMINISTRATOR, work.live_job)
    yield PageRoute(GET, f"{CLUSTER}/read-only", ADMINISTRATOR, work.read_only)
    yield PageRoute(POST, f"{CLUSTER}/read-only", ADMINISTRATOR, work.set_read_only)
    for image in ("{name}:{tag}", "{name}@{digest}"):
        # What it takes to read a whole image is not for whoever passes by.
        yield PageRoute(GET, f"/{image}/-/spread", Who.SIGNED_IN, spread.show)
        yield PageRoute(GET, f"/{image}/-/spread/live", Who.SIGNED_IN, spread.live)
