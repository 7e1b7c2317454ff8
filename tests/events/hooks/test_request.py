"""Templates, headers and what is shown of them: nothing that is put in gets out of its place."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events.hooks.told import hook, told
from tests.tables import each_row
from treescale.errors import RequestInvalid
from treescale.events.hooks.formats import message
from treescale.events.hooks.request import (
    HEADERS_MAX,
    check_headers,
    hidden,
    masked_headers,
    masked_url,
    parse_header,
    request_of,
    secret_words,
)
from treescale.events.hooks.signing import key_of, secret_text, signed_headers
from treescale.events.hooks.template import (
    NAMES,
    check_names,
    check_places,
    fill,
    for_header,
    for_json,
    for_url,
)

NASTY = st.text() | st.sampled_from(
    ['"}', "{tag}", "a\r\nX: y", "../../x", "?a=b&c=d#e", "%2f", "{{actor}}", "\x00", "\ud800"[:0]]
)
FORBIDDEN = (
    "Host",
    "HOST",
    "Connection",
    "Transfer-Encoding",
    "Content-Length",
    "content-encoding",
    "Proxy-Authorization",
    "proxy-connection",
    "webhook-id",
    "Webhook-Signature",
    "X-Hub-Signature-256",
    "X-Signature",
    "X-Forwarded-For",
    "Forwarded",
    "Upgrade",
    "TE",
    "Trailer",
    "Expect",
    "Via",
    "Keep-Alive",
    "x-treescale-webhook",
    "Sec-Fetch-Site",
    "bad name",
    "",
    "a:b",
    "a\r\nb",
)


@given(NASTY)
def test_what_is_put_into_a_body_stays_within_its_string(value: str) -> None:
    filled = fill('{"a": "{actor}", "b": "x"}', told(actor=value), for_json)
    assert json.loads(filled) == {"a": value, "b": "x"}


@given(NASTY)
def test_what_is_put_into_a_url_stays_within_its_part(value: str) -> None:
    url = fill("https://host/in/{actor}?image={actor}&b=c", told(actor=value), for_url)
    parts = urlsplit(url)
    assert parts.netloc == "host"
    assert parts.path.count("/") == 2
    assert not parts.fragment
    assert parse_qs(parts.query, keep_blank_values=True)["b"] == ["c"]
    assert parse_qs(parts.query, keep_blank_values=True)["image"] == [value]


@given(NASTY)
def test_what_is_put_into_a_header_is_one_line_of_ascii(value: str) -> None:
    filled = fill("by {actor}", told(actor=value), for_header)
    assert filled.isascii()
    assert filled.isprintable()


@given(st.text(alphabet="{}atg_kindxyz", max_size=30))
def test_a_template_is_filled_or_refused_and_never_loops(text: str) -> None:
    try:
        check_names(text)
    except RequestInvalid:
        with pytest.raises(RequestInvalid):
            fill(text, told(), for_json)
    else:
        fill(text, told(), for_json)


def test_every_name_stands_for_something() -> None:
    for name in NAMES:
        assert fill(f"<{{{name}}}>", told(previous_digest="sha256:b"), str) not in (
            "<>",
            f"<{name}>",
        )


@each_row(
    "url",
    [
        "https://{actor}/x",
        "https://{tag}.example.com/x",
        "{tag}",
        "{tag}://host/",
        "https://host:{tag}/",
        "https://host{tag}/",
        "https://host/{secret}",
    ],
)
def test_the_host_of_a_url_depends_on_no_event(url: str) -> None:
    with pytest.raises(RequestInvalid):
        check_places(url)


@each_row("name", FORBIDDEN)
def test_some_headers_cannot_be_set(name: str) -> None:
    with pytest.raises(RequestInvalid):
        check_headers([(name, "x")], templated=False)


@each_row("value", ["a\nb", "a\rb", "\x00", "é", "\x7f", "x" * 5000])
def test_a_header_s_value_is_ascii_on_one_line_and_never_shown(value: str) -> None:
    with pytest.raises(RequestInvalid) as error:
        check_headers([("X-Token", "secret" + value)], templated=False)
    assert "secret" not in str(error.value)


def test_headers_are_few_and_each_is_there_once() -> None:
    check_headers([("Authorization", "Bearer x"), ("Content-Type", "text/plain")], templated=True)
    with pytest.raises(RequestInvalid):
        check_headers([("X-A", "1"), ("x-a", "2")], templated=False)
    with pytest.raises(RequestInvalid):
        check_headers([(f"X-{n}", "") for n in range(HEADERS_MAX + 1)], templated=False)
    with pytest.raises(RequestInvalid):
        check_headers([("X-A", "{nothing}")], templated=True)


def test_a_header_is_read_as_it_is_written() -> None:
    assert parse_header("Authorization: Bearer a:b ") == ("Authorization", "Bearer a:b")
    with pytest.raises(RequestInvalid):
        parse_header("Authorization")


def test_secrets_are_masked() -> None:
    assert masked_headers([("Authorization", "Bearer x")]) == {"Authorization": "***"}
    assert masked_url("https://h/a?secret=x#y") == "https://h/a?***"
    assert masked_url("https://h/a") == "https://h/a"


def test_a_secret_that_is_no_base64_counts_as_its_own_bytes() -> None:
    assert key_of(secret_text(b"12345678")) == b"12345678"
    assert key_of("whsec_YWI") == b"ab"
    for text in ("plain", "whsec_", "whsec_not base64", "whsec_a"):
        assert key_of(text) == text.encode()
    assert signed_headers([], "id", 1, b"") == {"webhook-id": "id", "webhook-timestamp": "1"}


def test_an_answer_that_repeats_the_request_has_nothing_that_is_secret() -> None:
    """Also where it is cut within a word; what is short stays, as it is everywhere."""
    of = hook(
        url="https://hooks.example.com/in?token=hidden%2Fquery&a=b",
        secret="the-secret-word",
        old_secret="the-older-word",
        headers=(("Authorization", "Bearer hidden-token"), ("X-Short", "ok")),
    )
    what = told()
    content = message(of.format, what)
    assert content is not None
    sent = request_of(of, what, content, 1, (of.secret, of.old_secret))
    words = secret_words(of, sent)
    heads = "\n".join(f"{name}: {value}" for name, value in sent.headers.items())
    echo = f"{sent.url} hidden/query {heads} the-secret-word {{the-older-word}} ok 200"
    found = hidden(echo, words)
    proofs = [sent.headers["X-Signature"], sent.headers["webhook-signature"]]
    secrets = ("hidden", "the-secret", "the-older", *proofs)
    assert not [word for word in secrets if word in found], found
    assert found.endswith("ok 200")
    for length in range(6, len("the-secret-word")):
        assert hidden("said: " + "the-secret-word"[:length], words) == "said: ***"
    assert hidden("said: the-s", words) == "said: the-s"
    assert hidden("", words) == ""
