"""The whole registry against a model of it: any requests, through either of two workers, restarted.

What was acknowledged is there with its own bytes, what was deleted is gone, a tag is what the last
acknowledged push made it, whichever worker is asked; who lacks a right is told 401, nothing more.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    rule,
    run_state_machine_as_test,
)

from tests.api.client import Answer
from tests.contracts.metadata_values import ACTOR
from tests.fuzz.budget import CASE, SEED, TIMEOUT, again, cases
from tests.fuzz.callers import CALLERS, DELETE, PULL, PUSH
from tests.fuzz.conftest import NewTally
from tests.fuzz.content import BLOBS, SAMPLES, SUBJECTS, Sample
from tests.fuzz.machine import Act, Registry, Request, Setting
from tests.fuzz.model import ALWAYS, Expected, Given, Model, Session, hash_of

SHARE = 0.5
RUNS_PER_CASE = 5
STEPS = 60
# Making a failure smaller takes minutes, and for a race is in vain: done for a case sent alone.
PHASES = tuple(Phase) if CASE else (Phase.generate,)
NAMES = ("alice/app", "alice/base", "bob/app", "alice/manifests/tags")
TAGS = ("latest", "v1", "V1", "_0", "a.b-c")

names = st.sampled_from([*NAMES[:1] * 5, *NAMES])
callers = st.sampled_from([*["alice"] * 7, "bob", "reader", "app-only", "nobody"])
owners = st.sampled_from([*["alice"] * 10, "bob", "app-only"])
workers = st.integers(0, 1)
hows = st.sampled_from(["basic", "fresh", "held"])
blobs = st.sampled_from(list(BLOBS))
algorithms = st.sampled_from(["sha256", "sha256", "sha256", "sha512"])
tags = st.sampled_from([*TAGS[:1] * 5, *TAGS])
more_tags = st.lists(tags, max_size=2).map(tuple)
samples = st.sampled_from([*SAMPLES[:6] * 2, *SAMPLES])
conditions = st.just(ALWAYS) | st.builds(
    Given,
    st.sampled_from(["If-Match", "If-None-Match"]),
    st.just("*") | st.builds(lambda sample: sample.digest("sha256"), samples),
    st.sampled_from([False, False, True]),
)
positions = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 5, 8])
pages = st.sampled_from([None, None, 0, 1, 2, 5])
lasts = st.sampled_from(["", "", "alice/app", "b", "latest", "v"])
who = st.tuples(callers, workers, hows)
owner = st.tuples(owners, workers, hows)
Who = tuple[str, int, str]


def query(**parameters: object) -> str:
    """Return a query of the parameters that are there."""
    given = [f"{name}={value}" for name, value in parameters.items() if value not in (None, "")]
    return "?" + "&".join(given) if given else ""


class Requests(RuleBasedStateMachine):
    """Everything that can be asked of a registry."""

    setting: ClassVar[Setting]

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry(self.setting)
        self.uploads: list[str] = ["0" * 32]

    def teardown(self) -> None:
        """Look at everything once more, and stop."""
        try:
            self._look_at_everything()
        finally:
            self.registry.end()

    def upload(self, position: int) -> tuple[str, str, str]:
        """Return a session, 0 the latest there ever was: its id, its repository, its user.

        When that has ended, 0 and 1 begin another one.
        """
        upload = self.uploads[-1 - position % len(self.uploads)]
        if upload not in self.registry.models[0].sessions and position < 2:
            self.begin(("alice", position, "basic"), NAMES[0])
            upload = self.uploads[-1]
        found = self.registry.models[0].sessions.get(upload)
        return (upload, found.repository, found.user) if found else (upload, NAMES[0], "alice")

    # --- administration

    @rule(name=names, public=st.booleans(), worker=workers)
    def publish(self, name: str, public: bool, worker: int) -> None:  # noqa: FBT001
        repositories = self.registry.workers[worker].database.repositories
        self.registry.run(repositories.set_public(name, public=public, now=0, actor=ACTOR))
        for model in self.registry.models:
            model.set_public(name, public=public)

    @rule(name=names, worker=workers, sure=st.integers(0, 3))
    def delete_repository(self, name: str, worker: int, sure: int) -> None:
        there = [name in model.repositories for model in self.registry.models]
        if sure or not all(there):
            return
        self.registry.run(
            self.registry.workers[worker].database.repositories.delete(name, actor=ACTOR)
        )
        for model in self.registry.models:
            model.delete_repository(name)

    @rule(worker=workers, sure=st.integers(0, 2))
    def restart(self, worker: int, sure: int) -> None:
        if not sure:
            self.registry.restart(worker)

    # --- uploads

    @rule(who=owner, name=names)
    def begin(self, who: Who, name: str) -> None:
        request = Request(*who, "POST", f"/v2/{name}/blobs/uploads/", name, PUSH)
        answer = self.registry.ask(request, lambda model: model.mount(name, "", ()))
        self._opened(answer, who, name)

    def _opened(self, answer: Answer, who: Who, name: str) -> None:
        if answer.status == 202:
            self.uploads.append(self.registry.opened(answer, name, CALLERS[who[0]].user))

    @rule(who=who, position=positions)
    def status(self, who: Who, position: int) -> None:
        upload, name, _ = self.upload(position)
        user = CALLERS[who[0]].user
        request = Request(*who, "GET", f"/v2/{name}/blobs/uploads/{upload}", name, PUSH)
        self.registry.ask(request, lambda model: model.status(name, user, upload))

    def _offset(self, upload: str, shift: int | None) -> int | None:
        if shift is None:
            return None
        session = self.registry.models[0].sessions.get(upload)
        return max(0, (len(session.data) if session else 0) + shift)

    shifts = st.sampled_from([None, None, 0, 0, 0, 1, -1])

    @rule(who=owner, position=positions, blob=blobs, shift=shifts, streamed=st.booleans())
    def append(
        self,
        who: Who,
        position: int,
        blob: str,
        shift: int | None,
        streamed: bool,  # noqa: FBT001
    ) -> None:
        self._append(who, position, blob, shift, 0, streamed=streamed)

    @rule(
        who=owner,
        position=positions,
        blob=blobs,
        shift=st.sampled_from([0, 0, 0, 1]),
        more=st.sampled_from([1, -1, 2**20]),
        streamed=st.booleans(),
    )
    def append_another_length(
        self,
        who: Who,
        position: int,
        blob: str,
        shift: int,
        more: int,
        streamed: bool,  # noqa: FBT001
    ) -> None:
        """The Content-Range says another length than the body has."""
        self._append(who, position, blob, shift, more, streamed=streamed)

    def _append(
        self, who: Who, position: int, blob: str, shift: int | None, more: int, *, streamed: bool
    ) -> None:
        data = BLOBS[blob]
        upload, name, _ = self.upload(position)
        announced = max(1, len(data) + more)
        at = self._offset(upload, shift) if data or more else None
        headers = {} if at is None else {"Content-Range": f"{at}-{at + announced - 1}"}
        path = f"/v2/{name}/blobs/uploads/{upload}"
        request = Request(*who, "PATCH", path, name, PUSH, headers, data, streamed)
        user = CALLERS[who[0]].user
        streamed = streamed and bool(data)

        def act(model: Model) -> Expected:
            return model.append(name, user, upload, data, at, announced, streamed=streamed)

        self.registry.ask(request, act)

    @rule(
        who=owner,
        position=positions,
        blob=st.just("empty") | blobs,
        shift=shifts,
        algorithm=algorithms,
        wrong=st.integers(0, 4),
        streamed=st.booleans(),
    )
    def finish(
        self,
        who: Who,
        position: int,
        blob: str,
        shift: int | None,
        algorithm: str,
        wrong: int,
        streamed: bool,  # noqa: FBT001
    ) -> None:
        data = BLOBS[blob]
        upload, name, _ = self.upload(position)
        session = self.registry.models[0].sessions.get(upload)
        whole = (session.data if session else b"") + data
        digest = hash_of(whole if wrong else whole + b"!", algorithm)
        at = self._offset(upload, shift) if data else None
        headers = {} if at is None else {"Content-Range": f"{at}-{at + len(data) - 1}"}
        path = f"/v2/{name}/blobs/uploads/{upload}?digest={digest}"
        request = Request(*who, "PUT", path, name, PUSH, headers, data, streamed)
        user = CALLERS[who[0]].user
        self.registry.ask(request, lambda model: model.finish(name, user, upload, data, digest, at))

    @rule(who=owner, position=positions, sure=st.integers(0, 2))
    def cancel(self, who: Who, position: int, sure: int) -> None:
        upload, name, _ = self.upload(position)
        user = CALLERS[who[0]].user
        if not sure:
            request = Request(*who, "DELETE", f"/v2/{name}/blobs/uploads/{upload}", name, PUSH)
            self.registry.ask(request, lambda model: model.cancel(name, user, upload))

    @rule(position=positions, worker=workers, blob=blobs, missing=st.integers(1, 100))
    def cut(self, position: int, worker: int, blob: str, missing: int) -> None:
        """A client leaves in the middle of a PATCH; what came may stay, and is continued."""
        data = BLOBS[blob]
        upload, name, user = self.upload(position)
        if upload not in self.registry.models[0].sessions:
            return
        path = f"/v2/{name}/blobs/uploads/{upload}"
        request = Request(user, worker, "basic", "PATCH", path, name, PUSH, data=data)
        self.registry.cut(request, upload, missing)

    @rule(position=positions, one=blobs, other=blobs, workers=st.permutations([0, 1]))
    def two_writers(self, position: int, one: str, other: str, workers: list[int]) -> None:
        """Two PATCHes at once: each is added whole, or told 416 and not at all."""
        upload, name, user = self.upload(position)
        path = f"/v2/{name}/blobs/uploads/{upload}"
        first, second = BLOBS[one], BLOBS[other]
        requests = [
            Request(user, number, "basic", "PATCH", path, name, PUSH, data=data)
            for number, data in zip(workers, (first, second), strict=True)
        ]

        def added(data: bytes) -> Act:
            return lambda model: model.append(name, user, upload, data, None)

        def lost(model: Model) -> Expected:
            return model.lost(name, user, upload)

        a, b = (0, added(first)), (1, added(second))
        self.registry.race(requests, [[a, b], [b, a], [a, (1, lost)], [b, (0, lost)]])

    @rule(
        who=owner,
        name=names,
        blob=blobs,
        algorithm=algorithms,
        right=st.integers(0, 5),
        streamed=st.booleans(),
    )
    def push_whole(
        self,
        who: Who,
        name: str,
        blob: str,
        algorithm: str,
        right: int,
        streamed: bool,  # noqa: FBT001
    ) -> None:
        data = BLOBS[blob]
        digest = hash_of(data if right else data + b"!", algorithm)
        self._push_whole(who, name, data, digest, streamed=streamed)

    def _push_whole(self, who: Who, name: str, data: bytes, digest: str, *, streamed: bool) -> None:
        path = f"/v2/{name}/blobs/uploads/?digest={digest}"
        request = Request(*who, "POST", path, name, PUSH, data=data, streamed=streamed)
        self.registry.ask(request, lambda model: model.put_whole(name, data, digest))

    @rule(who=owner, name=names, source=names, blob=blobs, named=st.booleans())
    def mount(self, who: Who, name: str, source: str, blob: str, named: bool) -> None:  # noqa: FBT001
        data = BLOBS[blob]
        digest = hash_of(data)
        path = f"/v2/{name}/blobs/uploads/" + query(
            mount=digest, **{"from": source if named else None}
        )
        how = "basic" if who[2] == "basic" else "held"
        request = Request(*who[:2], how, "POST", path, name, PUSH, source=source)
        _, granted = self.registry.rights(request)
        # Without a source, those that the bearer token names for pulling; Basic names none.
        sources = [source] if named else sorted(granted) if who[2] != "basic" else []
        sources = [one for one in sources if PULL in granted.get(one, ())]
        answer = self.registry.ask(request, lambda model: model.mount(name, digest, sources))
        self._opened(answer, who, name)

    # --- blobs

    @rule(
        who=who,
        name=names,
        blob=blobs,
        algorithm=algorithms,
        method=st.sampled_from(["GET", "GET", "HEAD"]),
        part=st.none() | st.tuples(st.integers(-5, 9), st.integers(0, 9) | st.just(2**40)),
        far=st.booleans(),
    )
    def get_blob(
        self,
        who: Who,
        name: str,
        blob: str,
        algorithm: str,
        method: str,
        part: tuple[int, int] | None,
        far: bool,  # noqa: FBT001
    ) -> None:
        data = BLOBS[blob]
        digest = hash_of(data, algorithm)
        headers = {}
        wanted = None
        if part is not None and method == "GET":
            first, last = part
            if first < 0:
                headers["Range"] = f"bytes={first}"
                wanted = max(0, len(data) + first), 2**40
            else:
                shift = max(0, len(data) - 4) if far else 0
                wanted = first + shift, last + shift
                end = "" if last == 2**40 else str(wanted[1])
                headers["Range"] = f"bytes={wanted[0]}-{end}"
        path = f"/v2/{name}/blobs/{digest}"
        request = Request(*who, method, path, name, PULL, headers)
        self.registry.ask(request, lambda model: model.get_blob(name, digest, wanted))

    @rule(who=who, name=names, blob=blobs, algorithm=algorithms, there=positions)
    def delete_blob(self, who: Who, name: str, blob: str, algorithm: str, there: int) -> None:
        digest = hash_of(BLOBS[blob], algorithm)
        known = sorted(self.registry.models[0].at(name).blobs)
        if known and there:
            digest = known[there % len(known)]
        request = Request(*who, "DELETE", f"/v2/{name}/blobs/{digest}", name, DELETE)
        self.registry.ask(request, lambda model: model.delete_blob(name, digest))
        self._look_at_blob((name.partition("/")[0], there % 2, "basic"), name, digest)

    # --- manifests

    @rule(
        who=owner,
        name=names,
        tag=tags,
        sample=samples,
        more=more_tags,
        streamed=st.booleans(),
        given=conditions,
    )
    def put_by_tag(
        self,
        who: Who,
        name: str,
        tag: str,
        sample: Sample,
        more: tuple[str, ...],
        streamed: bool,  # noqa: FBT001
        given: Given,
    ) -> None:
        self._put(who, name, tag, sample, more, given, streamed=streamed)

    @rule(
        who=owner,
        name=names,
        sample=samples,
        named=st.none() | st.none() | st.none() | samples,
        algorithm=algorithms,
        more=more_tags,
        given=conditions,
    )
    def put_by_digest(
        self,
        who: Who,
        name: str,
        sample: Sample,
        named: Sample | None,
        algorithm: str,
        more: tuple[str, ...],
        given: Given,
    ) -> None:
        reference = (named or sample).digest(algorithm)
        self._put(who, name, reference, sample, more, given, streamed=False)

    @rule(who=owner, name=names, tag=tags, sample=samples)
    def push_image(self, who: Who, name: str, tag: str, sample: Sample) -> None:
        for blob, data in BLOBS.items():
            if hash_of(data) in sample.required:
                self._push_whole(who, name, data, hash_of(data), streamed=blob == "2.5 MB")
        self._put(who, name, tag, sample, (), streamed=False)

    def _put(
        self,
        who: Who,
        name: str,
        reference: str,
        sample: Sample,
        more: tuple[str, ...],
        given: Given = ALWAYS,
        *,
        streamed: bool,
    ) -> None:
        path = f"/v2/{name}/manifests/{reference}" + query(tag="&tag=".join(more))
        headers = {"Content-Type": sample.media_type, **given.headers}
        request = Request(*who, "PUT", path, name, PUSH, headers, sample.payload, streamed)
        self.registry.ask(
            request, lambda model: model.put_manifest(name, reference, more, sample, given)
        )
        self._look_at_tags(name, (reference, *more))

    references = st.one_of(
        tags, st.builds(lambda sample, algorithm: sample.digest(algorithm), samples, algorithms)
    )

    @rule(
        who=who,
        name=names,
        reference=references,
        method=st.sampled_from(["GET", "HEAD"]),
        given=conditions,
    )
    def get_manifest(
        self, who: Who, name: str, reference: str, method: str, given: Given = ALWAYS
    ) -> None:
        path = f"/v2/{name}/manifests/{reference}"
        request = Request(*who, method, path, name, PULL, given.headers)
        self.registry.ask(request, lambda model: model.get_manifest(name, reference, given))

    @rule(who=who, name=names, reference=references, there=positions, given=conditions)
    def delete_manifest(
        self, who: Who, name: str, reference: str, there: int, given: Given
    ) -> None:
        here = self.registry.models[0].at(name)
        known = sorted(here.manifests if there % 2 else here.tags)
        if known and there:
            reference = known[there % len(known)]
        path = f"/v2/{name}/manifests/{reference}"
        request = Request(*who, "DELETE", path, name, DELETE, given.headers)
        self.registry.ask(request, lambda model: model.delete_manifest(name, reference, given))
        self._look_at_tags(name, (reference,))

    def _look_at_tags(self, name: str, tags: Sequence[str]) -> None:
        """Through both workers at once after a change: it has happened for everybody."""
        for tag in tags:
            for worker in (0, 1):
                self.get_manifest((name.partition("/")[0], worker, "basic"), name, tag, "GET")

    @rule(
        name=names,
        tag=tags,
        pair=st.tuples(samples, samples),
        kind=st.integers(0, 3),
        given=conditions,
    )
    def two_at_once(
        self, name: str, tag: str, pair: tuple[Sample, Sample], kind: int, given: Given
    ) -> None:
        """Two requests about one tag at once: as if one had come before the other."""
        user = name.partition("/")[0]
        path = f"/v2/{name}/manifests/{tag}"

        def put(worker: int, sample: Sample) -> Request:
            headers = {"Content-Type": sample.media_type, **given.headers}
            return Request(user, worker, "basic", "PUT", path, name, PUSH, headers, sample.payload)

        first, second = pair
        others: dict[int, tuple[Request, Act]] = {
            0: (put(1, second), lambda model: model.put_manifest(name, tag, (), second, given)),
            1: (
                Request(user, 1, "basic", "GET", path, name, PULL),
                lambda model: model.get_manifest(name, tag),
            ),
            2: (
                Request(user, 1, "basic", "DELETE", path, name, DELETE, given.headers),
                lambda model: model.delete_manifest(name, tag, given),
            ),
            3: (
                Request(user, 1, "basic", "GET", f"/v2/{name}/tags/list", name, PULL),
                lambda model: model.tags(name, None, ""),
            ),
        }
        request, act = others[kind]
        a: tuple[int, Act] = 0, lambda model: model.put_manifest(name, tag, (), first, given)
        b = 1, act
        self.registry.race([put(0, first), request], [[a, b], [b, a]])

    # --- lists

    @rule(who=who, name=names, n=pages, last=lasts)
    def list_tags(self, who: Who, name: str, n: int | None, last: str) -> None:
        path = f"/v2/{name}/tags/list" + query(n=n, last=last)
        request = Request(*who, "GET", path, name, PULL)
        self.registry.ask(request, lambda model: model.tags(name, n, last))

    @rule(who=who, n=pages, last=lasts)
    def list_catalog(self, who: Who, n: int | None, last: str) -> None:
        caller = CALLERS[who[0]]
        hidden = [name for name in NAMES if PULL not in caller.rights(name, public=False)]
        path = "/v2/_catalog" + query(n=n, last=last)
        request = Request(*who, "GET", path, need="")
        self.registry.ask(request, lambda model: model.catalog(caller.user, hidden, n, last))

    @rule(
        who=who,
        name=names,
        subject=st.sampled_from(SUBJECTS),
        wanted=st.sampled_from(["", "application/x.bill", "no/such"]),
        n=pages,
    )
    def list_referrers(self, who: Who, name: str, subject: str, wanted: str, n: int | None) -> None:
        path = f"/v2/{name}/referrers/{subject}" + query(artifactType=wanted, n=n)
        request = Request(*who, "GET", path, name, PULL)
        self.registry.ask(request, lambda model: model.referrers(name, subject, wanted, n, ""))

    # --- at the end

    def _look_at_everything(self) -> None:
        """Through both workers: every tag, manifest, blob and session is what the model says."""
        for name in NAMES:
            user = name.partition("/")[0]
            for worker in (0, 1):
                here: Who = (user, worker, "basic")
                self.list_tags(here, name, None, "")
                known = self.registry.models[0].at(name)
                for reference in (*TAGS, *known.manifests):
                    self.get_manifest(here, name, reference, "GET")
                for digest in known.blobs:
                    self._look_at_blob(here, name, digest)
        for upload, session in list(self.registry.models[0].sessions.items()):
            path = f"/v2/{session.repository}/blobs/uploads/{upload}"
            request = Request(session.user, 1, "basic", "GET", path, session.repository, PUSH)
            self.registry.ask(request, partial(_status, session, upload))

    def _look_at_blob(self, who: Who, name: str, digest: str) -> None:
        request = Request(*who, "GET", f"/v2/{name}/blobs/{digest}", name, PULL)
        self.registry.ask(request, lambda model: model.get_blob(name, digest, None))


def _status(session: Session, upload: str, model: Model) -> Expected:
    return model.status(session.repository, session.user, upload)


def run_machine(setting: Setting, number: int, *, runs: int, phases: tuple[Phase, ...]) -> None:
    """Run the machine some times, with what this case draws."""
    Requests.setting = setting
    options = settings(
        max_examples=runs,
        stateful_step_count=STEPS,
        phases=phases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    machine = seed(hash_of(f"{SEED}/{number}".encode()))(Requests)
    run_state_machine_as_test(machine, settings=options)


@pytest.mark.long
@pytest.mark.early
@pytest.mark.timeout(TIMEOUT)
def test_any_requests_as_the_model_says(home: Path, tmp_path: Path, new_tally: NewTally) -> None:
    with asyncio.Runner() as runner:
        setting = Setting(home, tmp_path, runner, new_tally("state machine"))
        for case in cases(SHARE):
            try:
                run_machine(setting, case, runs=RUNS_PER_CASE, phases=PHASES)
            except BaseException as error:
                error.add_note(again(case))
                raise
