"""What the functional tests share: a server, a dockerd, accounts, images; and logs of failures."""

import itertools
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import images
from tests.figures import add_logs, mark_functional, write_lines
from tests.functional.cluster.record import COLUMNS
from tests.functional.docker import Daemon, Docker
from tests.functional.podman import Podman
from tests.functional.programs import unmount_below
from tests.functional.server import Account, Options, Server
from tests.functional.skopeo import Skopeo
from tests.functional.wire import Wire
from tests.images import Image
from tests.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]  # fixtures

Serve = Callable[[Options], Server]
Measured = Callable[[str], None]
HERE = Path(__file__).parent
MEASURED = "measured"
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this directory `functional`."""
    mark_functional(items, HERE)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of every running program's log with a failed test."""
    report = yield
    add_logs(report, item, HERE)
    return report


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Measured:
    """Return what publishes a figure at the end of the run; docs/reliability.md quotes them."""
    return lambda line: record_property(MEASURED, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures; they come from every process of the run."""
    write_lines(terminalreporter, MEASURED, "faults of servers, measured", COLUMNS)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return the server that tests share which do it no harm: SQLite, one disk, two workers."""
    server = Server(tmp_path_factory.mktemp("server")).start()
    yield server
    assert server.stop() == 0


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return what starts servers of the test's own, which it may crash."""
    started: list[Server] = []

    def start(options: Options) -> Server:
        started.append(Server(tmp_path / f"server{len(started)}", options))
        return started[-1].start()

    yield start
    for server in started:
        server.crash()


@pytest.fixture
def alice(server: Server) -> Account:
    """Return a user of the shared server whom no other test knows."""
    return server.add_user(f"alice{next(_numbers)}")


@pytest.fixture
def bob(server: Server) -> Account:
    """Return another one."""
    return server.add_user(f"bob{next(_numbers)}")


@pytest.fixture
def wire(server: Server, alice: Account) -> Wire:
    """Return raw HTTP in alice's name."""
    return Wire(server, alice)


@contextmanager
def short_directory() -> Iterator[Path]:
    """Return a directory whose name is short, as containerd's and podman's sockets need it."""
    with tempfile.TemporaryDirectory(prefix="treescale-") as place:
        yield Path(place)
        unmount_below(Path(place))


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    """Return the dockerd that the tests share."""
    with short_directory() as home:
        daemon = Daemon(home).start()
        yield daemon
        daemon.stop()


@pytest.fixture
def docker(daemon: Daemon, tmp_path: Path) -> Docker:
    """Return a docker command line that never logged in, on a dockerd without images."""
    return Docker(daemon, tmp_path / "docker-config")


@pytest.fixture
def skopeo(server: Server, alice: Account, tmp_path: Path) -> Skopeo:
    """Return a skopeo that is logged in as alice."""
    return Skopeo(server, alice, tmp_path)


@pytest.fixture
def podman() -> Iterator[Podman]:
    """Return a podman without images and logins."""
    with short_directory() as home:
        podman = Podman(home)
        yield podman
        podman.close()


@pytest.fixture(scope="session")
def busybox() -> Image:
    """Return an image of one layer that runs anywhere."""
    return Image([images.busybox_layer()], ["/bin/busybox", "echo", "hello from busybox"])


@pytest.fixture(scope="session")
def perl() -> Image:
    """Return an image of three layers of Debian packages, 50 MB, that runs perl."""
    layers = [
        images.debian_layer("libc", images.LIBC),
        images.debian_layer("shell", images.SHELL),
        images.debian_layer("perl", images.PERL),
    ]
    return Image(layers, ["perl", "-e", 'print "hello from perl\n"'])


@pytest.fixture(scope="session")
def tools() -> Image:
    """Return an image that shares two of its three layers with perl's."""
    layers = [
        images.debian_layer("libc", images.LIBC),
        images.debian_layer("shell", images.SHELL),
        images.debian_layer("tools", images.TOOLS),
    ]
    return Image(layers, ["bash", "-c", "echo hello from bash"])
