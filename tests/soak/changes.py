"""Clients that push tags, one after the other, and keep what they were told of each."""

import json
import threading
import time
from dataclasses import dataclass, field

from tests.functional.wire import written
from tests.images import sha256_of
from tests.soak.client import Client, Cut, Told

TAGS = 5
"""Of a repository, moved in turns."""
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CREATED = 201


@dataclass
class Changes:
    """One client's changes of one repository, which nobody else changes."""

    client: Client
    repository: str
    told: Told
    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    """Tags, and what they point at from then on."""
    pause: float = 0.0

    def run(self, ended: threading.Event, count: int) -> None:
        """Push so many tags, or until it is over."""
        config = self._config()
        while len(self.acknowledged) < count and not ended.is_set():
            self._push(config, len(self.acknowledged))
            time.sleep(self.pause)

    def _config(self) -> dict[str, object]:
        data = json.dumps({"of": self.repository}).encode()
        digest = sha256_of(data)
        path = f"/v2/{self.repository}/blobs/uploads/?digest={digest}"
        assert self.client.ask("POST", path, data).status == CREATED
        return {"mediaType": "text/plain", "digest": digest, "size": len(data)}

    def _push(self, config: dict[str, object], number: int) -> None:
        """Push one, again and again until it is acknowledged; done twice it is one event."""
        tag = f"t{number % TAGS}"
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [],
            "annotations": {"number": str(number)},
        }
        body, path = written(document), f"/v2/{self.repository}/manifests/{tag}"
        while True:
            try:
                answer = self.client.once("PUT", path, body, {"Content-Type": MANIFEST})
            except Cut:
                continue
            if answer.status == CREATED:
                self.acknowledged.append((tag, sha256_of(body)))
                self.told.count("pushes")
                return
            self.told.fault("broken pushes", f"{path}: {answer.status} {answer.body[:200]!r}")
