"""Real images, made on this machine from the files of installed Debian packages.

Layers are deterministic (sorted, no times), so the same machine makes the same digests; they are
kept in `.make/images` between runs. `Layout` writes an OCI image layout, which skopeo copies from.
"""

import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

CACHE: Final = Path(__file__).parents[1] / ".make" / "images"

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER_TAR: Final = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"

LIBC: Final = ("libc6", "libgcc-s1", "libtinfo6", "base-files")
SHELL: Final = ("coreutils", "dash", "bash", "libselinux1", "libpcre2-8-0", "libacl1", "libattr1")
PERL: Final = ("perl-base", "libcrypt1")
TOOLS: Final = ("skopeo",)
DATA: Final = ("tzdata", "ca-certificates")

Descriptor = dict[str, Any]


def sha256_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Layer:
    """A tar on disk, and how its bytes go over the wire."""

    path: Path
    """The uncompressed tar."""
    compressed: bool = True

    @cached_property
    def diff_id(self) -> str:
        """The digest of the uncompressed tar."""
        return sha256_of(self.path.read_bytes())

    @cached_property
    def content(self) -> bytes:
        """The bytes as pushed."""
        data = self.path.read_bytes()
        return gzip.compress(data, 6, mtime=0) if self.compressed else data

    @property
    def media_type(self) -> str:
        return LAYER_GZIP if self.compressed else LAYER_TAR


@dataclass(frozen=True)
class Image:
    """What a runnable image is made of; the lowest layer comes first."""

    layers: Sequence[Layer]
    command: Sequence[str]
    architecture: str = "amd64"
    labels: dict[str, str] = field(default_factory=dict)

    def uncompressed(self) -> "Image":
        """Return the same image with its layers as they are."""
        layers = [Layer(layer.path, compressed=False) for layer in self.layers]
        return Image(layers, self.command, self.architecture, self.labels)

    @cached_property
    def config(self) -> bytes:
        """The image's configuration, as JSON."""
        config = {
            "architecture": self.architecture,
            "os": "linux",
            "config": {"Cmd": list(self.command), "Env": ["PATH=/usr/bin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]},
            "history": [{"created_by": layer.path.stem} for layer in self.layers],
        }
        if self.labels:
            config["config"] |= {"Labels": self.labels}  # type: ignore[operator]
        return json.dumps(config).encode()


class Layout:
    """An OCI image layout in a directory: `skopeo copy oci:PATH:TAG …` reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index: list[Descriptor] = []
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data: bytes, media_type: str) -> Descriptor:
        """Keep the bytes and return what points to them."""
        digest = sha256_of(data)
        (self.path / "blobs" / "sha256" / digest.partition(":")[2]).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def image(self, image: Image) -> Descriptor:
        """Keep an image; `tag` makes it reachable."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(image.config, CONFIG),
            "layers": [self.blob(layer.content, layer.media_type) for layer in image.layers],
        }
        return self.blob(json.dumps(manifest).encode(), MANIFEST)

    def index(self, images: Iterable[Image]) -> Descriptor:
        """Keep an index of one image per platform."""
        manifests = [
            self.image(image) | {"platform": {"os": "linux", "architecture": image.architecture}}
            for image in images
        ]
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        return self.blob(json.dumps(index).encode(), INDEX)

    def tagged(self, image: Image, tag: str) -> str:
        """Keep an image under a tag, and return how skopeo and podman call it."""
        return self.tag(self.image(image), tag)

    def tag(self, descriptor: Descriptor, tag: str) -> str:
        """Name an image or index, and return how skopeo and podman call it."""
        named = descriptor | {"annotations": {"org.opencontainers.image.ref.name": tag}}
        self._index.append(named)
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self._index}
        (self.path / "index.json").write_text(json.dumps(index))
        return f"oci:{self.path}:{tag}"


def busybox_layer() -> Layer:
    """Return a layer with a static busybox and its commands as links: 2 MB that run anywhere."""

    def fill(tar: tarfile.TarFile) -> None:
        add_file(tar, Path("/bin/busybox"))
        commands = subprocess.check_output(["/bin/busybox", "--list"], text=True).split()
        for command in sorted(set(commands) - {"busybox"}):
            add_link(tar, f"bin/{command}", "busybox")

    return _kept("busybox", fill)


def debian_layer(name: str, packages: Sequence[str]) -> Layer:
    """Return a layer with every file that these installed packages own on this machine."""

    def fill(tar: tarfile.TarFile) -> None:
        for path in sorted(set(_package_files(packages))):
            add_file(tar, path)

    return _kept(name, fill)


def text_layer(target: Path, files: dict[str, str]) -> Layer:
    """Write a small layer of text files to `target`."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for path, text in sorted(files.items()):
            _add(tar, tarfile.TarInfo(path), text.encode())
    return Layer(target)


def changed(layer: Layer, target: Path, files: dict[str, str]) -> Layer:
    """Write the layer with some more files in front, as a rebuild of the same image makes it."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for path, text in sorted(files.items()):
            _add(tar, tarfile.TarInfo(path), text.encode())
        with tarfile.open(layer.path) as old:
            for member in old:
                tar.addfile(member, old.extractfile(member) if member.isfile() else None)
    return Layer(target)


def noise(size: int) -> bytes:
    """Return bytes that nothing compresses, the same each time."""
    return hashlib.shake_256(b"treescale").digest(size)


def noise_sha256(size: int) -> str:
    """Return the hex SHA-256 of that noise, as `sha256sum` prints it."""
    return hashlib.sha256(noise(size)).hexdigest()


def noise_layer(name: str, size: int) -> Layer:
    """Return a layer of one file, /noise."""
    return _kept(name, lambda tar: _add(tar, tarfile.TarInfo("noise"), noise(size)))


def add_file(tar: tarfile.TarFile, path: Path) -> None:
    """Add a file, link or directory of this machine under its own name; of root, from 1970."""
    info = tar.gettarinfo(path, arcname=str(path).lstrip("/"))
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    _add(tar, info, path.read_bytes() if info.isfile() else b"")


def add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    """Add a symbolic link."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
    _add(tar, info, b"")


def _add(tar: tarfile.TarFile, info: tarfile.TarInfo, data: bytes) -> None:
    info.mtime = 0
    info.size = len(data)
    if info.islnk():  # the same inode met again: keep it a file, whatever came before
        info.type = tarfile.REGTYPE
    tar.addfile(info, io.BytesIO(data))


def _package_files(packages: Sequence[str]) -> Iterator[Path]:
    listed = subprocess.check_output(["dpkg-query", "-L", *packages], text=True)
    for line in listed.splitlines():
        if not line.startswith("/") or line == "/." or not os.path.lexists(line):
            continue  # a diversion's remark, the root, or what this machine left out (manuals)
        path = Path(line).parent.resolve() / Path(line).name  # /bin is a link to /usr/bin
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode):
            yield path


def _kept(name: str, fill: Callable[[tarfile.TarFile], None]) -> Layer:
    """Return the layer `name` from the cache; make it whole under another name first."""
    path = CACHE / f"{name}.tar"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
            fill(tar)
        partial.replace(path)
    return Layer(path)
