"""Another process that pushes: python pusher.py URL FILE COUNT. FILE says what was acknowledged."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.contracts.metadata_values import ACTOR, APP, NOW, manifest
from treescale.metadata.database import open_database


async def main(url: str, acknowledged: Path, count: int) -> None:
    """Move the tag from manifest to manifest, telling of each once it is acknowledged."""
    database = open_database(url)
    with acknowledged.open("r+b", buffering=0) as told:
        for number in range(1, count + 1):
            await database.manifests.put(
                APP, manifest(b"%d" % number), [], ["latest"], now=NOW, actor=ACTOR
            )
            told.seek(0)
            told.write(b"%010d" % number)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
