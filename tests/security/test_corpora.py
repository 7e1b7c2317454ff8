"""Python's own traps, sent over HTTP: an answer from the specification each, never a 500.

The reasons are Python's: `int` reads underscores and Arabic digits, `$` matches before a newline,
`json` accepts NaN and keys twice, `b64decode` skips junk, `bool` is an int, `lower()` turns the
Kelvin sign into k.
"""

import base64
import json
from typing import Final
from urllib.parse import quote

import pytest

from tests.api.client import Client, Repository
from tests.api.running import PASSWORD
from tests.oci.documents import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, descriptor, digest, image
from treescale.oci.digest import is_digest

CONFIG: Final = descriptor(b"{}", OCI_CONFIG)
NUMBERS: Final = [
    "1_0",
    "+5",
    " 5",
    "5 ",
    "5\n",
    "٣",
    "²",
    "-0",
    "-1",
    "0x5",
    "5.0",
    "1e3",
    "5",
    "\uff15",
    "\U0001d7d3",
    "5\0",
    "9" * 5000,
    "NaN",
]
TAGS: Final = [
    "a\n",
    "a\0",
    "a b",
    "-a",
    ".a",
    "a" * 129,
    "\u212a",
    "\u017f",
    "ä",
    "a%",
    "a\\",
    "a/../b",
]
NAMES: Final = [
    "alice/app\n",
    "alice/app\0",
    "alice/..",
    "../alice/app",
    "alice/../bob/app",
    "alice/.hidden",
    "/etc/passwd",
    "//etc/passwd",
    "alice//app",
    "Alice/app",
    "alice/\u212a",
    "alice/\u017f",
    "alice/%2e%2e",
    "alice\\app/b",
    "alice/" + "a" * 300,
    "alice/app%00",
    "alice/app%",
    "alice/\ud7ff",
    "alice/٣",
]
DIGESTS: Final = [
    digest(b"x") + "\n",
    digest(b"x").upper(),
    "sha256:" + "٣" * 64,
    "sha256:" + "0" * 63,
    "sha256:../../../etc/passwd",
    "sha256:/etc/passwd",
    "sha1:" + "0" * 40,
    "md5:" + "0" * 32,
    ":" + "0" * 64,
    "sha256:",
    "SHA256:" + "0" * 64,
    "sha256:" + "0" * 64 + "\0",
    "\u017fha256:" + "0" * 64,
]


@pytest.fixture
async def repository(alice: Client) -> Repository:
    found = alice.repository("alice/app")
    await found.push_blob(b"{}")
    return found


@pytest.mark.parametrize("where", ["/v2/_catalog", "/v2/alice/app/tags/list"])
@pytest.mark.usefixtures("repository")
async def test_numbers_in_queries(alice: Client, where: str, subtests: pytest.Subtests) -> None:
    for number in NUMBERS:
        with subtests.test(number=number[:40]):
            answer = await alice.request("GET", f"{where}?n={quote(number)}")
            if number == "5":
                answer.expect(200)
            else:
                answer.expect(400, "PAGINATION_NUMBER_INVALID")


async def test_where_a_page_starts(repository: Repository, subtests: pytest.Subtests) -> None:
    for last in ["\0", "\n", "٣", "a" * 5000, "%ff", "\ud7ff"]:
        with subtests.test(last=last[:40]):
            text = last if last == "%ff" else quote(last)
            (await repository.get(f"tags/list?last={text}")).expect(400)


IN_A_HEADER: Final = sorted(
    {
        # No client library sends the others in a header; framing is tested raw.
        one if one.isprintable() and one.isascii() and len(one) <= 100 else "1_0"
        for one in NUMBERS
        if one not in ("5", "-0")
    }
)


async def test_numbers_in_content_range(repository: Repository, subtests: pytest.Subtests) -> None:
    for number in IN_A_HEADER:
        with subtests.test(number=number):
            location = await repository.start_upload()
            headers = {"Content-Range": f"0-{number}"}
            answer = await repository.request("PATCH", location, headers=headers, data=b"x")
            assert answer.status in (400, 416), answer.status
            assert (await repository.get(location)).expect(204).headers["Range"] == "0-0"


async def test_tags(repository: Repository, subtests: pytest.Subtests) -> None:
    for tag in TAGS:
        with subtests.test(tag=tag[:40]):
            for answer in (
                await repository.put_manifest(image(config=CONFIG), quote(tag, safe="")),
                await repository.get(f"manifests/{quote(tag, safe='')}"),
            ):
                assert answer.status in (400, 404), answer.status
            query = f"{digest(b'x')}?tag={quote(tag, safe='')}"
            answer = await repository.put_manifest(image(config=CONFIG), query)
            assert answer.status == 400
            assert (await repository.get("tags/list")).json["tags"] == []


async def test_names(alice: Client, subtests: pytest.Subtests) -> None:
    for name in NAMES:
        with subtests.test(name=name[:40]):
            for encoded in (quote(name, safe="/"), quote(name, safe="/%")):
                for method, path in (("GET", "tags/list"), ("POST", "blobs/uploads/")):
                    answer = await alice.request(method, f"/v2/{encoded}/{path}", scopes=())
                    assert answer.status in (400, 401, 404), (encoded, answer.status)
            answer = await alice.ask_token(f"repository:{name}:pull,push")
            assert answer.status in (200, 400)
            if answer.status == 200:
                assert "push" not in answer.json["scope"]


async def test_digests(repository: Repository, subtests: pytest.Subtests) -> None:
    for wrong in DIGESTS:
        with subtests.test(wrong=wrong[:40]):
            assert not is_digest(wrong)
            text = quote(wrong, safe="")
            for method, path in (
                ("GET", f"blobs/{text}"),
                ("DELETE", f"blobs/{text}"),
                ("GET", f"manifests/{text}"),
                ("GET", f"referrers/{text}"),
                ("POST", f"blobs/uploads/?mount={text}&from=alice/app"),
                ("POST", f"blobs/uploads/?digest={text}"),
            ):
                answer = await repository.request(method, path)
                assert answer.status in (400, 404), (method, path, answer.status)
            location = await repository.start_upload()
            answer = await repository.request("PUT", f"{location}?digest={text}", data=b"x")
            answer.expect(400, "DIGEST_INVALID")


SIZES: Final = ["true", "1.0", "1e0", "-1", "1_0", str(2**63), str(2**64), "9" * 5000, '"2"']
DOCUMENT: Final = json.dumps(image(config={**CONFIG, "size": 987654321}))
PAYLOADS: Final[dict[str, bytes]] = {
    **{f"size {size[:20]}": DOCUMENT.replace("987654321", size).encode() for size in SIZES},
    "NaN": DOCUMENT.replace("987654321", "NaN").encode(),
    "Infinity": DOCUMENT.replace("987654321", "Infinity").encode(),
    "1e999": DOCUMENT.replace("987654321", "1e999").encode(),
    "a key twice": DOCUMENT.replace('"layers"', '"config": {}, "layers"').encode(),
    "UTF-16": json.dumps(image(config=CONFIG)).encode("utf-16"),
    "BOM": b"\xef\xbb\xbf" + json.dumps(image(config=CONFIG)).encode(),
    "lone surrogate": json.dumps(image(config=CONFIG, x="\ud800")).encode(),
    "NUL": json.dumps(image(config=CONFIG, annotations={"a": "\0"})).encode(),
    "Kelvin sign in a type": json.dumps(image(config=CONFIG))
    .replace("+json", "+js\u212an")
    .encode(),
    "long s in a key": json.dumps(image(config=CONFIG)).replace("layers", "layer\u017f").encode(),
    "config and manifests": json.dumps(image(config=CONFIG, manifests=[])).encode(),
    "another mediaType": json.dumps(image(config=CONFIG, mediaType=OCI_INDEX)).encode(),
    "empty": b"",
    "two": json.dumps(image(config=CONFIG)).encode() * 2,
}


async def test_manifests(repository: Repository, subtests: pytest.Subtests) -> None:
    for what in PAYLOADS:
        with subtests.test(what=what):
            answer = await repository.put_manifest(PAYLOADS[what], "x", OCI_MANIFEST)
            answer.expect(400, "MANIFEST_INVALID")
            (await repository.get("manifests/x")).expect(404)


async def test_the_honest_manifest_among_them_is_kept(repository: Repository) -> None:
    """The control: what was made wrong above is right otherwise."""
    (await repository.put_manifest(image(config=CONFIG), "x")).expect(201)


async def test_a_deep_manifest_is_one_like_any_other(repository: Repository) -> None:
    document = json.dumps(image(config=CONFIG)).encode()
    deep = document[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    (await repository.put_manifest(deep, "x", OCI_MANIFEST)).expect(201)
    assert (await repository.get("manifests/x")).body == deep


GOOD: Final = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
BASIC: Final = {
    "junk between": GOOD[:4] + "!*" + GOOD[4:],
    "junk after": GOOD + "!!",
    "a space inside": GOOD[:4] + " " + GOOD[4:],
    "URL-safe letters": "YWxpY2U6_-__",
    "no padding": GOOD.rstrip("=")[:-1],
    "no colon": base64.b64encode(b"alice").decode(),
    "NUL": base64.b64encode(f"alice\0:{PASSWORD}".encode()).decode(),
    "newline": base64.b64encode(f"alice\n:{PASSWORD}".encode()).decode(),
    "capitals": base64.b64encode(f"ALICE:{PASSWORD}".encode()).decode(),
    "not UTF-8": base64.b64encode(b"alice:\xff\xfe").decode(),
    "NUL in the password": base64.b64encode(f"alice:{PASSWORD}\0".encode()).decode(),
    "nothing": "",
}


async def test_basic_credentials(anybody: Client, subtests: pytest.Subtests) -> None:
    for what in BASIC:
        with subtests.test(what=what):
            for path in ("/v2/", "/token"):
                answer = await anybody.raw("GET", path, {"Authorization": f"Basic {BASIC[what]}"})
                answer.expect(401, "UNAUTHORIZED")


async def test_the_honest_credentials_among_them_open(anybody: Client) -> None:
    (await anybody.raw("GET", "/v2/", {"Authorization": f"Basic {GOOD}"})).expect(200)
