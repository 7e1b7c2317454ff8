"""What each process of `test_processes_share_one_file` does: python process.py URL NUMBER."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.contracts.metadata_values import ACTOR, APP, NOW, blob_reference, large, manifest, part
from treescale.errors import UploadOutOfOrder
from treescale.metadata.database import Database, open_database
from treescale.metadata.records import EMPTY_TAIL, UploadProgress


async def extend(database: Database, number: int) -> None:
    """Add one chunk to the upload all processes add to, wherever it stands by then."""
    start = 0
    while True:
        chunk = part(start // 1000 + 1000 * number)
        step = UploadProgress(start, start + 1000, "", (chunk,), EMPTY_TAIL)
        try:
            await database.uploads.advance("upload", step, now=NOW)
        except UploadOutOfOrder as error:
            start = error.offset
        else:
            return


async def main(url: str, number: int) -> None:
    """Do everything twenty times."""
    database = open_database(url)
    for n in range(20):
        own = 1000 * (number + 1) + n
        await database.blobs.commit(APP, large(n, part(0)), upload_id=None, now=NOW, actor=ACTOR)
        await database.blobs.commit(
            APP, large(own, part(0), part(number + 1)), upload_id=None, now=NOW, actor=ACTOR
        )
        put = manifest(b"%d" % own)
        await database.manifests.put(
            APP, put, [blob_reference(own)], ["latest"], now=NOW, actor=ACTOR
        )
        await database.manifests.resolve(APP, "latest")
        await extend(database, number)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
