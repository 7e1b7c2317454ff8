"""What one client of the soak does, by chance: push, mount, move, delete, restore, give up, pull.

It alone changes its repositories, so it knows what is in them; their layers are everybody's.
"""

import http.client
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random  # noqa: TID251  a seeded source

from tests.images import sha256_of
from tests.soak.client import Client, Cut, Told
from tests.soak.content import Layer, Layers
from tests.soak.model import INDEX, MANIFEST, Image, Lane, Repository, age, image_of, index_of
from tests.soak.pushing import Pusher, Session

Administer = Callable[..., bool]
REPOSITORIES = 3
IMAGES_MAX = 4
"""Of a repository, about: then deleting is likelier than pushing."""
ACCEPT = {"Accept": f"{MANIFEST}, {INDEX}"}
PAUSE_SECONDS = 0.02


class Worker:
    """The client of one lane; runs in a thread of its own."""

    def __init__(
        self,
        lane: Lane,
        *,
        clients: tuple[Client, Client],
        told: Told,
        chance: Random,
        layers: Layers,
        others: list[Lane],
        administer: Administer,
        times: tuple[float, float],
    ) -> None:
        """`times`: the lease, and for how long what was deleted can be restored."""
        self.lane = lane
        self._client = clients[0]
        self._told = told
        self._chance = chance
        self._layers = layers
        self._others = others
        self._administer = administer
        self._lease, self._undelete = times
        self._pushers = tuple(
            Pusher(client, told, Random(chance.random()), self._lease, self._sources)  # noqa: S311
            for client in clients
        )
        self._gone = (202, 404) if told.kills else (202,)
        """What a DELETE of something that is there says; sent again after a cut, that it is not."""
        self._marks = 0

    def run(self, ended: threading.Event) -> None:
        """Do something, again and again, until it is enough."""
        try:
            while not ended.wait(PAUSE_SECONDS):
                self._told.count("events")
                self._something()
        except (AssertionError, ValueError, KeyError) as error:
            self._told.fault("given up", f"{self.lane.name}: {error!r}")

    def _something(self) -> None:
        repository = self.lane.of(self._chance.randrange(REPOSITORIES))
        many = len(repository.live()) >= IMAGES_MAX
        works: dict[Callable[[Repository], None], int] = {
            self._push: 2 if many else 12,
            self._push_again: 3,
            self._push_dying: 5,
            self._push_twice: 2,
            self._push_index: 1 if many else 2,
            self._push_referrer: 1 if many else 2,
            self._move_tag: 2,
            self._pull: 10,
            self._delete_image: 12 if many else 3,
            self._delete_tag: 2,
            self._delete_repository: 2 if many else 1,
            self._delete_blob: 2,
            self._restore_image: 3,
            self._restore_tag: 1,
            self._restore_repository: 2,
            self._give_up: 3,
            self._push_blob_alone: 2,
        }
        (work,) = self._chance.choices([*works], [*works.values()])
        for pusher in self._pushers:
            pusher.note(f"{work.__name__} {repository.name}")
        work(repository)

    def _sources(self, layer: Layer) -> list[str]:
        """Return repositories that have, or had, a layer: most of them other clients'."""
        return [
            repository.name
            for lane in self._others
            for repository in lane.repositories()
            if any(layer in image.layers for image in list(repository.images.values()))
        ]

    # Pushing

    def _new_image(self, subject: Image | None = None) -> Image:
        layers = tuple(self._layers.some(self._chance) for _ in range(self._chance.choice((1, 2))))
        self._marks += 1
        return image_of(layers, self._layers.config, subject=subject, mark=self._marks)

    def _tag(self) -> str:
        return self._chance.choice(("", "latest", "v1", "v2", "v3"))

    def _keep(self, repository: Repository, image: Image, tag: str) -> None:
        """Note that an image was pushed: it is there, whatever it was before."""
        self.lane.here[repository.name] = repository
        known = repository.images.setdefault(image.digest, image)
        known.live = True
        if tag:
            repository.tags[tag] = image.digest
            repository.cut.pop(tag, None)

    def _push(self, repository: Repository) -> None:
        image, tag = self._new_image(), self._tag()
        self._pushers[0].push(repository.name, image, tag, slow=self._chance.random() < 0.25)
        self._keep(repository, image, tag)

    def _push_again(self, repository: Repository) -> None:
        if not repository.images:
            return
        image = self._chance.choice([*repository.images.values()])
        if image.children or image.subject:
            return
        tag = self._tag()
        self._pushers[0].push(repository.name, image, tag, slow=self._chance.random() < 0.25)
        self._keep(repository, image, tag)
        self._told.count("pushed again")

    def _push_dying(self, repository: Repository) -> None:
        """Push layers of an image that was deleted: their rows, or files, are just going."""
        of = repository
        if self._chance.random() < 0.3:
            of = self._chance.choice([*self._chance.choice(self._others).repositories()] or [of])
        span = self._undelete + 4 * self._lease
        dead = [x for x in list(of.images.values()) if not x.live and age(x.deleted) < span]
        layers = self._chance.choice(dead).layers[1:] if dead else ()
        if layers:
            self._marks += 1
            image = image_of(layers, self._layers.config, mark=self._marks)
            self._pushers[0].push(repository.name, image, "", slow=self._chance.random() < 0.5)
            self._keep(repository, image, "")
            self._told.count("pushed while going")

    def _push_twice(self, repository: Repository) -> None:
        """Two clients push the same image at once."""
        image, tag = self._new_image(), self._tag()
        with ThreadPoolExecutor(2) as both:
            pushes = [both.submit(p.push, repository.name, image, tag) for p in self._pushers]
            for push in pushes:
                push.result()
        self._keep(repository, image, tag)

    def _push_index(self, repository: Repository) -> None:
        children = [image for image in repository.live() if image.layers and not image.subject]
        if len(children) < 2:
            return
        index = index_of(self._chance.sample(children, 2))
        self._put_known(repository, index)

    def _push_referrer(self, repository: Repository) -> None:
        subjects = [image for image in repository.live() if image.layers]
        if subjects:
            referrer = self._new_image(self._chance.choice(subjects))
            self._pushers[0].push(repository.name, referrer, "")
            self._keep(repository, referrer, "")

    def _move_tag(self, repository: Repository) -> None:
        if live := repository.live():
            self._put_known(repository, self._chance.choice(live))

    def _put_known(self, repository: Repository, image: Image) -> None:
        """Put a manifest all of whose parts are there, since a live image has them."""
        tag = self._tag() or "latest"
        answer = self._pushers[0].put(repository.name, image, tag)
        if answer.status != http.client.CREATED:
            self._told.fault("broken pushes", f"{repository.name}:{tag}: {answer.status}")
            return
        self._keep(repository, image, tag)

    def _push_blob_alone(self, repository: Repository) -> None:
        self._pushers[0].provide(repository.name, self._layers.some(self._chance))
        self.lane.here[repository.name] = repository

    def _give_up(self, repository: Repository) -> None:
        """Leave an upload behind, cancel one, or say a wrong digest."""
        layer, pusher = self._layers.some(self._chance), self._pushers[0]
        how = self._chance.choice(("leave", "cancel", "wrong"))
        try:
            place = pusher.begin(repository.name).expect(202).location
            place = pusher.append(place, layer.data)
            if how == "cancel":
                self._client.once("DELETE", place)
            elif how == "wrong":
                pusher.finish(place, sha256_of(b"something else"), b"").expect(400)
        except (Cut, Session):
            pass
        self._told.count("uploads given up")

    # Taking away, and bringing back

    def _choose(self, repository: Repository) -> Image | None:
        """Choose an image that may go alone: no index has it."""
        live = [each for each in repository.live() if not repository.in_an_index(each.digest)]
        return self._chance.choice(live) if live else None

    def _delete_image(self, repository: Repository) -> None:
        image = self._choose(repository)
        if image is None:
            return
        repository.doubt()
        began = time.monotonic()
        path = f"/v2/{repository.name}/manifests/{image.digest}"
        self._expect(self._client.ask("DELETE", path), self._gone, path)
        repository.delete(image.digest, began)
        repository.settle()
        self._expect(self._client.ask("GET", path, headers=ACCEPT), (404,), path)
        self._told.count("deletes")

    def _delete_tag(self, repository: Repository) -> None:
        if not repository.tags:
            return
        tag = self._chance.choice([*repository.tags])
        began = time.monotonic()
        path = f"/v2/{repository.name}/manifests/{tag}"
        self._expect(self._client.ask("DELETE", path), self._gone, path)
        repository.cut[tag] = (repository.tags.pop(tag), began)
        self._told.count("deletes")

    def _delete_repository(self, repository: Repository) -> None:
        if repository.name not in self.lane.here:
            return
        repository.doubt()
        began = time.monotonic()
        if not self._administer("repo", "delete", repository.name, "--yes"):
            self._told.fault("wrong answers", f"{repository.name} cannot be deleted")
            return
        self.lane.delete(repository, began)
        self._told.count("deletes")

    def _delete_blob(self, repository: Repository) -> None:
        layers = sorted({layer for image in repository.images.values() for layer in image.layers})
        layer = self._chance.choice(layers) if layers else self._layers.some(self._chance)
        path = f"/v2/{repository.name}/blobs/{layer.digest}"
        answer = self._client.ask("DELETE", path)
        self._pushers[0].note(f"deleted: {path}: {answer.status}")
        held = repository.referred(layer.digest)
        self._expect(answer, (405,) if held else (202, 404), path)
        self._told.count("deletes")

    def _restore_image(self, repository: Repository) -> None:
        dead = [image for image in repository.images.values() if not image.live]
        if not dead or repository.name not in self.lane.here:
            return
        image = max(dead, key=lambda each: each.deleted)
        subject = repository.images.get(image.subject)
        if image.children or (subject is not None and not subject.live):
            return
        back = self._administer("repo", "restore", f"{repository.name}@{image.digest}")
        if self._is_restored(repository.name, image.deleted, back=back):
            repository.bring_back(image.digest)
            self._pull_one(repository, image, all_of_it=True)

    def _restore_tag(self, repository: Repository) -> None:
        tags = [tag for tag in repository.cut if tag not in repository.tags]
        if not tags or repository.name not in self.lane.here:
            return
        tag = self._chance.choice(tags)
        digest, when = repository.cut[tag]
        if not repository.images[digest].live:
            return
        back = self._administer("repo", "restore", f"{repository.name}:{tag}")
        if self._is_restored(f"{repository.name}:{tag}", when, back=back):
            repository.tags[tag] = digest
        repository.cut.pop(tag)

    def _restore_repository(self, _: Repository) -> None:
        names = [name for name in self.lane.gone if name not in self.lane.here]
        if not names:
            return
        repository = self.lane.gone[self._chance.choice(names)]
        back = self._administer("repo", "restore", repository.name)
        if self._is_restored(repository.name, repository.deleted, back=back):
            self.lane.bring_back(repository)
            repository.settle()
            for image in repository.live():
                self._pull_one(repository, image)
        else:
            self.lane.gone.pop(repository.name)

    def _is_restored(self, name: str, deleted: float, *, back: bool) -> bool:
        """Say whether it is back, and whether it had to be."""
        if not back and age(deleted) < self._undelete:
            self._told.fault("not restored", f"{name}, {age(deleted):.1f} s after it was deleted")
        self._told.count("restored" if back else "restored too late")
        return back

    def _expect(self, answer: object, statuses: tuple[int, ...], path: str) -> None:
        status = getattr(answer, "status", 0)
        if status not in statuses:
            self._told.fault("wrong answers", f"{path}: {status}, not {statuses}")

    # Pulling

    def _pull(self, _: Repository) -> None:
        """Pull something of anybody's."""
        there = [r for lane in self._others for r in lane.repositories() if r.live()]
        if there:
            repository = self._chance.choice(there)
            live = repository.live()
            if live:
                self._pull_one(repository, self._chance.choice(live))

    def _pull_one(self, repository: Repository, image: Image, *, all_of_it: bool = False) -> None:
        layers = image.layers if all_of_it else image.layers[-1:]
        pull(self._client, self._told, repository, image, layers)


def pull(
    client: Client, told: Told, repository: Repository, image: Image, layers: tuple[Layer, ...]
) -> None:
    """Pull an image with some of its layers, and compare each byte; it must be there."""
    epoch = image.epoch
    if epoch % 2:
        return
    wanted = [(f"manifests/{image.digest}", image.digest)]
    wanted += [(f"blobs/{layer.digest}", layer.digest) for layer in layers]
    for path, digest in wanted:
        answer = client.ask("GET", f"/v2/{repository.name}/{path}", headers=ACCEPT)
        told.count("pulls")
        told.count("bytes pulled", len(answer.body))
        if not image.live or image.epoch != epoch:
            return  # it was taken away meanwhile
        if answer.status != http.client.OK:
            told.fault("unreadable", f"{repository.name}/{path}: {answer.status}")
        elif sha256_of(answer.body) != digest:
            told.fault("wrong bytes", f"{repository.name}/{path}")
