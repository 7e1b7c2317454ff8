"""What a registry must answer: the whole of it as a few dicts, and nothing of the real one's code.

Each method is one request that its caller has the right to make: it changes the model as the
registry must change, and returns what the answer must be.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from tests.fuzz.content import Sample

INDEX: Final = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Expected:
    """An answer: its status; the error's code; headers, body or JSON where the model knows them."""

    status: int
    code: str = ""
    headers: dict[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    json: Any = None


@dataclass(frozen=True)
class Given:
    """A condition: a header field, and what it lists: `*`, a digest, or a digest weakly."""

    field: str = ""
    listed: str = "*"
    weak: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """Return it as a header; nothing when there is none."""
        mark = "W/" if self.weak else ""
        text = "*" if self.listed == "*" else f'{mark}"{self.listed}"'
        return {self.field: text} if self.field else {}

    def holds(self, there: str | None) -> bool:
        """Return whether it is true of the digest that is there."""
        listed = there is not None and self.listed in ("*", there)
        if self.field == "If-Match":
            return listed and (self.listed == "*" or not self.weak)
        return not (self.field and listed)


ALWAYS: Final = Given()


def refused(status: int, code: str, **headers: str) -> Expected:
    """Return a refusal."""
    return Expected(
        status, code, {name.replace("_", "-"): value for name, value in headers.items()}
    )


@dataclass
class Repository:
    """What one repository holds; a tag names a manifest's digest."""

    public: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, Sample] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class Session:
    """An upload under way."""

    repository: str
    user: str
    data: bytes = b""


@dataclass
class Model:
    """The registry."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)

    def copy(self) -> "Model":
        """Return another of the same content."""
        return Model(
            {
                name: Repository(one.public, {**one.blobs}, {**one.manifests}, {**one.tags})
                for name, one in self.repositories.items()
            },
            {
                name: Session(one.repository, one.user, one.data)
                for name, one in self.sessions.items()
            },
        )

    def at(self, name: str) -> Repository:
        """Return a repository to look at; an empty one when there is none."""
        return self.repositories.get(name) or Repository()

    def make(self, name: str) -> Repository:
        """Return a repository to write to."""
        return self.repositories.setdefault(name, Repository())

    def set_public(self, name: str, *, public: bool) -> None:
        """Administration: open it to everybody, or close it."""
        self.make(name).public = public

    def delete_repository(self, name: str) -> bool:
        """Administration: remove it with all it holds; return whether there was one."""
        return self.repositories.pop(name, None) is not None

    # --- uploads

    def begun(self, upload: str, repository: str, user: str) -> None:
        """Know a session that the registry has opened."""
        self.sessions[upload] = Session(repository, user)

    def _session(self, repository: str, user: str, upload: str) -> Session | None:
        found = self.sessions.get(upload)
        known = found is not None and (found.repository, found.user) == (repository, user)
        return found if known else None

    def status(self, repository: str, user: str, upload: str) -> Expected:
        """GET of a session."""
        session = self._session(repository, user, upload)
        return _unknown_upload() if session is None else _progress(204, upload, session)

    def append(
        self,
        repository: str,
        user: str,
        upload: str,
        data: bytes,
        at: int | None,
        announced: int | None = None,
        *,
        streamed: bool = False,
    ) -> Expected:
        """PATCH; `announced` is the length that Content-Range says, when that is another one."""
        session = self._session(repository, user, upload)
        if session is None:
            return _unknown_upload()
        lies = at is not None and announced not in (None, len(data))
        if at is not None and at != len(session.data) and (streamed or not lies):
            return _out_of_order(upload, session)
        if lies:  # told by the header, or by the end of the body
            return Expected(400, "SIZE_INVALID", _progress(400, upload, session).headers)
        session.data += data
        return _progress(202, upload, session)

    def lost(self, repository: str, user: str, upload: str) -> Expected:
        """PATCH, when another one moved the session meanwhile."""
        session = self._session(repository, user, upload)
        return _unknown_upload() if session is None else _out_of_order(upload, session)

    def finish(
        self, repository: str, user: str, upload: str, data: bytes, digest: str, at: int | None
    ) -> Expected:
        """PUT of a session."""
        session = self._session(repository, user, upload)
        if session is None:
            there = digest in self.at(repository).blobs
            return _created(repository, "blobs", digest) if there else _unknown_upload()
        if at is not None and at != len(session.data):
            return _out_of_order(upload, session)
        answer = self.put_whole(repository, session.data + data, digest)
        if answer.status == 201:
            del self.sessions[upload]
            return answer
        return Expected(answer.status, answer.code, _progress(400, upload, session).headers)

    def cancel(self, repository: str, user: str, upload: str) -> Expected:
        """DELETE of a session."""
        if self._session(repository, user, upload) is None:
            return _unknown_upload()
        del self.sessions[upload]
        return Expected(204)

    def put_whole(self, repository: str, data: bytes, digest: str) -> Expected:
        """POST with ?digest= and the bytes."""
        if hash_of(data, digest.partition(":")[0]) != digest:
            return refused(400, "DIGEST_INVALID")
        self.make(repository).blobs[digest] = data
        return _created(repository, "blobs", digest)

    def mount(self, repository: str, digest: str, sources: Iterable[str]) -> Expected:
        """POST with ?mount=: 202 means that a session was opened instead."""
        for source in sources:
            data = self.at(source).blobs.get(digest)
            if data is not None:
                self.make(repository).blobs[digest] = data
                return _created(repository, "blobs", digest)
        return Expected(202)

    # --- blobs

    def get_blob(self, repository: str, digest: str, part: tuple[int, int] | None) -> Expected:
        """GET of a whole blob, or of the bytes first to last (past the end at will)."""
        data = self.at(repository).blobs.get(digest)
        if data is None:
            return refused(404, "BLOB_UNKNOWN")
        known: dict[str, str | None] = {"Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
        if part is None:
            return Expected(200, headers=known, body=data)
        first, last = part[0], min(part[1], len(data) - 1)
        if not data and first == 0:
            return Expected(200, headers=known, body=data)
        if first > last:
            return refused(416, "RANGE_INVALID", Content_Range=f"bytes */{len(data)}")
        known["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return Expected(206, headers=known, body=data[first : last + 1])

    def delete_blob(self, repository: str, digest: str) -> Expected:
        """DELETE of a blob: not of one that an image of the repository refers to."""
        here = self.at(repository)
        if digest not in here.blobs:
            return refused(404, "BLOB_UNKNOWN")
        if any(digest in sample.required for sample in here.manifests.values()):
            return refused(405, "UNSUPPORTED")
        del here.blobs[digest]
        return Expected(202)

    # --- manifests

    def put_manifest(
        self,
        repository: str,
        reference: str,
        tags: tuple[str, ...],
        sample: Sample,
        given: Given = ALWAYS,
    ) -> Expected:
        """PUT of a manifest by tag or digest, with further tags.

        The condition is about all the tags, without any about the manifest.
        """
        if sample.code:
            return refused(400, sample.code)
        by_digest = ":" in reference
        digest = sample.digest(reference.partition(":")[0] if by_digest else "sha256")
        if by_digest and digest != reference:
            return refused(400, "DIGEST_INVALID")
        here = self.at(repository)
        if any(one not in here.blobs and one not in here.manifests for one in sample.required):
            return refused(400, "MANIFEST_BLOB_UNKNOWN")
        tags = tags if by_digest else (reference, *tags)
        there = [here.tags.get(tag) for tag in tags] if tags else [_known(here, digest)]
        if not all(given.holds(one) for one in there):
            return refused(412, "PRECONDITION_FAILED")
        here = self.make(repository)
        here.manifests[digest] = sample
        for tag in tags:
            here.tags[tag] = digest
        answer = _created(repository, "manifests", digest)
        return Expected(201, headers={**answer.headers, "OCI-Subject": sample.subject})

    def get_manifest(self, repository: str, reference: str, given: Given = ALWAYS) -> Expected:
        """GET of a manifest."""
        here = self.at(repository)
        digest = reference if ":" in reference else here.tags.get(reference, "")
        sample = here.manifests.get(digest)
        if sample is None:
            return refused(404, "MANIFEST_UNKNOWN")
        if not given.holds(digest):
            if given.field == "If-Match":
                return refused(412, "PRECONDITION_FAILED")
            return Expected(304, headers={"ETag": f'"{digest}"'})
        headers: dict[str, str | None] = {
            "Docker-Content-Digest": digest,
            "Content-Type": sample.media_type,
        }
        return Expected(200, headers=headers, body=sample.payload)

    def delete_manifest(self, repository: str, reference: str, given: Given = ALWAYS) -> Expected:
        """DELETE of a tag, or of a manifest with its tags and with what is said of it."""
        here = self.at(repository)
        there = _known(here, reference) if ":" in reference else here.tags.get(reference)
        if there is not None and not given.holds(there):
            return refused(412, "PRECONDITION_FAILED")
        if ":" not in reference:
            gone = here.tags.pop(reference, None) is not None
        else:
            gone = reference in here.manifests
            _take_away(here, reference)
        return Expected(202) if gone else refused(404, "MANIFEST_UNKNOWN")

    # --- lists

    def tags(self, repository: str, n: int | None, last: str) -> Expected:
        """GET of a page of tags."""
        if repository not in self.repositories:
            return refused(404, "NAME_UNKNOWN")
        path = f"/v2/{repository}/tags/list"
        page, link = _page(self.at(repository).tags, n, last, path, {})
        return Expected(200, headers=link, json={"name": repository, "tags": page})

    def catalog(self, user: str, hidden: Iterable[str], n: int | None, last: str) -> Expected:
        """GET of a page of repositories; `hidden` are private ones the caller may not pull."""
        visible = [
            name
            for name, one in self.repositories.items()
            if one.public or (user and name.startswith(f"{user}/") and name not in hidden)
        ]
        page, link = _page(visible, n, last, "/v2/_catalog", {})
        return Expected(200, headers=link, json={"repositories": page})

    def referrers(
        self, repository: str, subject: str, wanted: str, n: int | None, last: str
    ) -> Expected:
        """GET of a page of what refers to a manifest."""
        found = {
            digest: sample
            for digest, sample in self.at(repository).manifests.items()
            if sample.subject == subject and wanted in ("", sample.artifact_type)
        }
        filters = {"artifactType": wanted} if wanted else {}
        path = f"/v2/{repository}/referrers/{subject}"
        page, headers = _page(found, n, last, path, filters)
        headers["OCI-Filters-Applied"] = "artifactType" if wanted else None
        headers["Content-Type"] = INDEX
        listed = [_descriptor(digest, found[digest]) for digest in page]
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
        return Expected(200, headers=headers, json=document)


def hash_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of some bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def _known(here: Repository, digest: str) -> str | None:
    return digest if digest in here.manifests else None


def _take_away(here: Repository, digest: str) -> None:
    """Take a manifest and its tags away, and what has it as its subject and stands nowhere else."""
    going = {digest}
    while going:
        here.manifests = {it: sample for it, sample in here.manifests.items() if it not in going}
        here.tags = {tag: it for tag, it in here.tags.items() if it not in going}
        tagged = set(here.tags.values())
        going = {
            it
            for it, sample in here.manifests.items()
            if sample.subject in going
            and it not in tagged
            and not any(it in one.required for one in here.manifests.values())
        }


def _unknown_upload() -> Expected:
    return refused(404, "BLOB_UPLOAD_UNKNOWN")


def _progress(status: int, upload: str, session: Session) -> Expected:
    headers: dict[str, str | None] = {
        "Location": f"/v2/{session.repository}/blobs/uploads/{upload}",
        "Docker-Upload-UUID": upload,
        "Range": f"0-{max(0, len(session.data) - 1)}",
    }
    return Expected(status, headers=headers)


def _out_of_order(upload: str, session: Session) -> Expected:
    return Expected(416, "BLOB_UPLOAD_INVALID", _progress(416, upload, session).headers)


def _created(repository: str, kind: str, digest: str) -> Expected:
    location = f"/v2/{repository}/{kind}/{digest}"
    return Expected(201, headers={"Location": location, "Docker-Content-Digest": digest})


def _descriptor(digest: str, sample: Sample) -> dict[str, object]:
    found: dict[str, object] = {
        "mediaType": sample.media_type,
        "digest": digest,
        "size": len(sample.payload),
    }
    if sample.artifact_type:
        found["artifactType"] = sample.artifact_type
    if sample.annotations:
        found["annotations"] = sample.annotations
    return found


def _page(
    entries: Iterable[str], n: int | None, last: str, path: str, filters: dict[str, str]
) -> tuple[list[str], dict[str, str | None]]:
    """Return the entries of a page, and the Link to the next one."""
    left = sorted(entry for entry in entries if entry > last)
    page = left if n is None else left[:n]
    if not page or len(page) == len(left):
        return page, {"Link": None}
    query = urlencode({**filters, "n": str(n), "last": page[-1]}, quote_via=quote, safe="")
    return page, {"Link": f'<{path}?{query}>; rel="next"'}
