"""A registry with people, teams and images; and mallory, who writes a script wherever text goes."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.functional.programs import free_port
from tests.functional.server import Account, Options, Server
from tests.functional.wire import Wire, written
from tests.images import CONFIG, INDEX, LAYER_GZIP, MANIFEST, noise, sha256_of

HOSTILE: Final = """"'><script>hacked=1</script><img src=x onerror=hacked=1>{{7*191}}</textarea>"""
HOSTILE_URL: Final = "https://hooks.invalid/'\"><script>hacked=1</script>"
HOSTILE_TEMPLATE: Final = '"</textarea><script>hacked=1</script><img src=x onerror=hacked=1>"'
HOSTILE_MARKDOWN: Final = f"""# {HOSTILE}

{HOSTILE} <a href="javascript:hacked=1" onclick="hacked=1">a</a> [b](javascript:hacked=1)
[c](data:text/html,x) ![d](x "onerror=hacked=1") <javascript:hacked=1>
[e](//evil.example "{HOSTILE}")
"""
DESCRIPTION: Final = """The **shop** as people see it. Tags are versions; `latest` is what runs.

- [source](https://git.example.com/acme/web), and how it is built
- questions to the team's channel
"""
COMPUTED: Final = "1337"
"""What a template would make of it."""
BOTH: Final = ("amd64", "arm64")


@dataclass(frozen=True)
class World:
    """What there is to look at."""

    server: Server
    alice: Account
    """Owns acme."""
    bob: Account
    carol: Account
    """They are nobody's colleagues yet."""
    mallory: Account
    secrets: list[str] = field(default_factory=list)
    """What must stand in no log."""
    cookies: dict[str, list[Any]] = field(default_factory=dict)
    """Of who has signed in, by name."""
    hooks: list[str] = field(default_factory=list)
    """Ids of mallory's."""

    @property
    def people(self) -> dict[str, Account]:
        """Return who may sign in, by name."""
        all_ = self.alice, self.bob, self.carol, self.mallory, self.server.admin_account
        return {one.name: one for one in all_}


def make_world(home: Path) -> World:
    """Start it; nothing of it runs on if that fails."""
    port = free_port()
    variables = (("TREESCALE_PUBLIC_URL", f"http://127.0.0.1:{port}"),)
    server = Server(home, Options(workers=1, port=port, variables=variables)).start()
    try:
        return _furnished(server)
    except BaseException:
        server.crash()
        raise


def _furnished(server: Server) -> World:
    names = ("alice", "bob", "carol", "mallory")
    alice, bob, carol, mallory = (server.add_user(name) for name in names)
    server._administer("org", "add", "acme", "--owner", "alice")
    world = World(server, alice, bob, carol, mallory)
    world.secrets.extend(one.password for one in (alice, bob, carol, mallory))
    push_index(Wire(server, alice), "acme/web", "1.8.0", "1.9.0", "1.10.0", "latest")
    push_index(Wire(server, alice), "acme/api", "2.0.0")
    server._administer("repo", "public", "acme/api")
    server._administer("repo", "delete", "acme/web:1.9.0", "--yes")
    push_hostile(Wire(server, mallory), "mallory/app")
    _set_up(world)
    return world


def _set_up(world: World) -> None:
    """Give both namespaces what can be set: acme's as a team has it, mallory's with scripts."""
    told = world.server._administer
    told("repo", "describe", "acme", "--file", "-", text_in=DESCRIPTION)
    told("repo", "describe", "acme/web", "--file", "-", text_in=DESCRIPTION)
    told("repo", "rules", "acme/web", "--immutable", "v*")
    told("repo", "rules", "acme/web", "--keep-last", "20", "--tags", "pr-*")
    world.secrets.append(told("robot", "add", "acme", "ci").strip())
    for of in ("mallory", "mallory/app"):
        told("repo", "describe", of, "--file", "-", text_in=HOSTILE_MARKDOWN)
    told("token", "create", "mallory", "--name", HOSTILE)
    told("repo", "rules", "mallory/app", "--keep-last", "1", "--tags", "x*")
    made = told(
        *("hook", "add", "mallory", HOSTILE_URL, "--header", f"X-Hostile: {HOSTILE}"),
        *("--format", "template", "--template", HOSTILE_TEMPLATE, "--secret-stdin", "--json"),
        text_in="the-secret-of-a-hook-of-mallorys",
    )
    world.hooks.append(json.loads(made)["id"])


def push_image(
    wire: Wire,
    repository: str,
    reference: str,
    config: dict[str, Any],
    *,
    annotations: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Push an image of two layers; return its descriptor."""
    layers = [noise(200_000), json.dumps(config).encode()]
    document = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _blob(wire, repository, document, CONFIG),
        "layers": [_blob(wire, repository, layer, LAYER_GZIP) for layer in layers],
        **({"annotations": annotations} if annotations else {}),
    }
    digest = wire.push_manifest(repository, reference or _digest(manifest), manifest)
    return {"mediaType": MANIFEST, "digest": digest, "size": len(json.dumps(manifest))}


def push_index(wire: Wire, repository: str, *tags: str) -> None:
    """Push an index of two platforms for each tag."""
    for tag in tags:
        images = [
            push_image(wire, repository, "", _config(architecture, tag))
            | {"platform": {"os": "linux", "architecture": architecture}}
            for architecture in BOTH
        ]
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": images}
        wire.push_manifest(repository, tag, index)


def push_hostile(wire: Wire, repository: str) -> None:
    """Push an image that has a script in whatever its builder may write."""
    config = _config(HOSTILE, HOSTILE) | {
        "author": HOSTILE,
        "os": HOSTILE,
        "variant": HOSTILE,
        "created": HOSTILE,
    }
    annotations = {
        HOSTILE: HOSTILE,
        "org.opencontainers.image.title": HOSTILE,
        "org.opencontainers.image.description": HOSTILE,
        "org.opencontainers.image.url": "javascript:hacked=1",
        "org.opencontainers.image.source": "javascript:hacked=1",
    }
    image = push_image(wire, repository, "1", config, annotations=annotations)
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "annotations": annotations,
        "manifests": [image | {"platform": {"os": HOSTILE, "architecture": HOSTILE}}],
    }
    wire.push_manifest(repository, "index", index)
    referrer = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.example.report",
        "config": _blob(wire, repository, b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [_blob(wire, repository, b"{}", "application/vnd.oci.empty.v1+json")],
        "subject": image,
        "annotations": annotations,
    }
    wire.push_manifest(repository, _digest(referrer), referrer)


def _config(architecture: str, text: str) -> dict[str, Any]:
    return {
        "architecture": architecture,
        "os": "linux",
        "created": "2026-11-30T12:00:00Z",
        "config": {
            "Cmd": ["/bin/app", text],
            "Entrypoint": ["/bin/sh", text],
            "Env": ["PATH=/usr/bin:/bin", f"VERSION={text}"],
            "ExposedPorts": {"8080/tcp": {}},
            "Labels": {"org.opencontainers.image.version": text, text: text},
            "User": "app",
            "WorkingDir": "/srv",
        },
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [{"created_by": f"COPY {text} /srv", "comment": text, "author": text}],
    }


def _blob(wire: Wire, repository: str, data: bytes, media_type: str) -> dict[str, Any]:
    digest = wire.push_blob(repository, data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _digest(manifest: dict[str, Any]) -> str:
    return sha256_of(written(manifest))
