"""`treescale demo`: a server, an image pushed in two versions and pulled back, its chunks shown.

Needs no other software: the image is made of Python's own standard library, and the client is the
few requests that `docker push` and `docker pull` send. Everything lies in a temporary directory.
"""

import asyncio
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import aiohttp
import click
from rich.console import Console
from rich.table import Table

from treescale.config import PASSWORD_VARIABLE
from treescale.errors import Failed

disks: Final = 3
start_seconds: Final = 30.0
layer_bytes_max: Final = 48 * 1024 * 1024
REPOSITORY: Final = "admin/demo"


@click.command("demo")
def demo() -> None:
    """Run a server, push an image in two versions, pull it back, show its chunks."""
    console = Console(soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="treescale-demo-") as place:
        stores = [Path(place) / f"disk{number}" for number in range(1, disks + 1)]
        address = f"127.0.0.1:{_free_port()}"
        password = os.urandom(16).hex()
        console.print(f"Starting a server with {disks} disks at http://{address} …")
        with _server(stores, address, password):
            asyncio.run(_show(console, stores, address, password))
    console.print("Server stopped, everything removed.")


async def _show(console: Console, stores: list[Path], address: str, password: str) -> None:
    client = aiohttp.ClientSession(f"http://{address}")
    async with client:
        await _wait_until_ready(client)
        await _authorize(client, password)
        first, second = _layer(b"version 1\n"), _layer(b"version 2, one line changed\n")
        for tag, layer in (("1", first), ("2", second)):
            await _push_image(client, tag, layer)
            console.print(
                f"Pushed {address}/{REPOSITORY}:{tag}, one layer of {len(layer) / 1e6:.1f} MB"
            )
        _draw(console, stores, len(first) + len(second))
        pulled = await _pull_layer(client, "2")
        assert pulled == second, "the digest was checked"
        console.print(
            f"Pulled {address}/{REPOSITORY}:2 back: {len(pulled) / 1e6:.1f} MB, "
            f"sha256 {hashlib.sha256(pulled).hexdigest()[:16]}… as pushed"
        )


def _draw(console: Console, stores: list[Path], pushed: int) -> None:
    """Show where the chunks lie, and what the second version did not cost."""
    table = Table("disk", "chunks", "MB", "share")
    held = {store: [path.stat().st_size for path in _chunk_files(store)] for store in stores}
    total = sum(sum(sizes) for sizes in held.values())
    for store, sizes in held.items():
        share = sum(sizes) / total
        bar = "█" * round(share * 40)
        table.add_row(store.name, str(len(sizes)), f"{sum(sizes) / 1e6:.1f}", f"{bar} {share:.0%}")
    console.print(table)
    console.print(
        f"{pushed / 1e6:.1f} MB pushed, {total / 1e6:.1f} MB stored: "
        f"what both versions share is kept once."
    )


def _chunk_files(store: Path) -> Iterator[Path]:
    return (path for path in (store / "chunks").rglob("*") if path.is_file())


def _layer(changed: bytes) -> bytes:
    """Return a tar of the standard library's modules, with one small file that differs."""
    library = Path(sysconfig.get_path("stdlib"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(library.rglob("*.py")):
            if buffer.tell() > layer_bytes_max or "site-packages" in path.parts:
                continue
            archive.add(path, arcname=str(Path("lib") / path.relative_to(library)))
        entry = tarfile.TarInfo("etc/release")
        entry.size = len(changed)
        archive.addfile(entry, io.BytesIO(changed))
    return buffer.getvalue()


async def _push_image(client: aiohttp.ClientSession, tag: str, layer: bytes) -> None:
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}})
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": await _push_blob(
            client, config.encode(), "application/vnd.oci.image.config.v1+json"
        ),
        "layers": [await _push_blob(client, layer, "application/vnd.oci.image.layer.v1.tar")],
    }
    path = f"/v2/{REPOSITORY}/manifests/{tag}"
    headers = {"Content-Type": str(manifest["mediaType"])}
    async with client.put(path, data=json.dumps(manifest), headers=headers) as answer:
        _expect(answer, 201)


async def _push_blob(
    client: aiohttp.ClientSession, data: bytes, media_type: str
) -> dict[str, object]:
    """Push a blob as dockerd does and return its descriptor."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    async with client.post(f"/v2/{REPOSITORY}/blobs/uploads/") as answer:
        _expect(answer, 202)
        location = answer.headers["Location"]
    async with client.patch(location, data=io.BytesIO(data)) as answer:
        _expect(answer, 202)
        location = answer.headers["Location"]
    async with client.put(location, params={"digest": digest}) as answer:
        _expect(answer, 201)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


async def _pull_layer(client: aiohttp.ClientSession, tag: str) -> bytes:
    async with client.get(f"/v2/{REPOSITORY}/manifests/{tag}") as answer:
        _expect(answer, 200)
        layer = json.loads(await answer.read())["layers"][0]
    async with client.get(f"/v2/{REPOSITORY}/blobs/{layer['digest']}") as answer:
        _expect(answer, 200)
        data = await answer.read()
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != layer["digest"]:
        raise Failed("the layer came back with other bytes than were pushed")
    return data


def _expect(answer: aiohttp.ClientResponse, status: int) -> None:
    if answer.status != status:
        raise Failed(f"{answer.method} {answer.url.path} answered {answer.status}, not {status}")


async def _authorize(client: aiohttp.ClientSession, password: str) -> None:
    scope = {"scope": f"repository:{REPOSITORY}:pull,push"}
    login = {"Authorization": aiohttp.encode_basic_auth("admin", password)}
    async with client.get("/token", params=scope, headers=login) as answer:
        _expect(answer, 200)
        token = (await answer.json())["token"]
    client.headers["Authorization"] = f"Bearer {token}"


async def _wait_until_ready(client: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(start_seconds):
        while True:
            try:
                async with client.get("/readyz") as answer:
                    if answer.status == 200:  # noqa: PLR2004
                        return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


@contextmanager
def _server(stores: list[Path], address: str, password: str) -> Iterator[None]:
    """Run `treescale serve` for as long as the block lasts."""
    command = [sys.executable, "-m", "treescale.cli.main", "serve", "--listen", address]
    for store in stores:
        command += ["--data", str(store)]
    environment = {**os.environ, PASSWORD_VARIABLE: password}
    with (stores[0].parent / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=start_seconds)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
