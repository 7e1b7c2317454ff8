"""The same server on PostgreSQL: pushed with docker, pulled after a crash, continued anywhere."""

from pathlib import Path

from tests import images
from tests.functional.conftest import Serve
from tests.functional.docker import Docker
from tests.functional.server import Options
from tests.functional.wire import Wire
from tests.images import Image, sha256_of

MIB = 1024 * 1024


def test_docker_pushes_and_pulls(
    docker: Docker, serve: Serve, postgres_url: str, perl: Image, tmp_path: Path
) -> None:
    server = serve(Options(workers=3, database=postgres_url))
    account = server.add_user("heidi")
    name = f"{server.address}/heidi/perl:1"
    docker.load(perl, name, tmp_path / "layout")
    docker.login(server.address, server.add_token(account))
    docker("push", name)
    server.crash()
    server.start()
    docker.forget_images()
    docker("pull", name)
    assert docker.run(name) == "hello from perl\n"


def test_an_upload_goes_on_after_the_server_was_killed(serve: Serve, postgres_url: str) -> None:
    server = serve(Options(workers=2, database=postgres_url))
    wire = Wire(server, server.add_user("heidi"))
    data = images.noise(12 * MIB)
    half = 5 * MIB + 3
    place = wire.begin_upload("heidi/app")
    place = wire.request("PATCH", place, data[:half]).expect(202).location
    server.crash()
    server.start()
    place = wire.request("PATCH", place, data[half:]).expect(202).location
    wire.finish_upload(place, sha256_of(data)).expect(201)
    assert wire.pull_blob("heidi/app", sha256_of(data)) == data
