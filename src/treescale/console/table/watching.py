"""The rows for whoever looks on: the cluster at this moment, an image across it."""

from collections.abc import Iterable

from treescale.clock import Clock
from treescale.console.route import GET, ApiRoute, Who
from treescale.console.watch.desk import WatchDesk
from treescale.console.watch.gathering import ClusterGatherer
from treescale.console.watch.images import ImageSpread, SpreadDesk
from treescale.console.watch.rows import ClusterNow
from treescale.console.watch.sights import Sights
from treescale.events.live import LiveLog
from treescale.metadata.database import Database

_IMAGE = {"tag": "Of the image with this tag.", "digest": "Of the one with this digest."}


def watching_rows(
    database: Database, clock: Clock, live: LiveLog, sights: Sights
) -> Iterable[ApiRoute]:
    """Yield them; `sights` are what this process sees by itself."""
    gatherer = ClusterGatherer(database, clock, live, sights)
    cluster, images = WatchDesk(gatherer), SpreadDesk(database, clock, gatherer)
    what = "The cluster at this moment, as this server sees it: cheap, to be asked every second"
    yield ApiRoute(GET, "/cluster/now", Who.ADMINISTRATOR, what, cluster.now, ClusterNow)
    what, path = (
        "Where an image's chunks lie, and which server may die",
        "/repositories/{name}/spread",
    )
    yield ApiRoute(GET, path, Who.USER, what, images.show, ImageSpread, query=_IMAGE)
