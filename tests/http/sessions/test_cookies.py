"""Cookies as browsers and others send them."""

from tests.tables import each_row
from treescale.http.sessions.cookies import SESSION, Cookie, read_cookie


@each_row(
    ("secure", "seconds", "header"),
    [
        (
            True,
            60,
            "__Host-treescale=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure",
        ),
        (False, None, "treescale=v; Path=/; HttpOnly; SameSite=Lax"),
    ],
)
def test_a_cookie_is_bound_to_its_host(secure: bool, seconds: int | None, header: str) -> None:  # noqa: FBT001
    assert Cookie(SESSION, "v", seconds).header(secure=secure) == header
    gone = Cookie(SESSION, "").header(secure=secure)
    assert "Max-Age=0" in gone


@each_row(
    ("lines", "secure", "value"),
    [
        (["treescale=a"], False, "a"),
        (["x=1; treescale=a; y=2"], False, "a"),
        (["x=1", "treescale=a"], False, "a"),
        (["treescale=a"], True, ""),
        (["__Host-treescale=a; treescale=b"], True, "a"),
        (["treescale=a; treescale=b"], False, ""),
        (["treescale=a", "treescale=a"], False, ""),
        (["treescale=a b"], False, ""),
        (['treescale="a"'], False, ""),
        (["treescale=" + "a" * 4000], False, ""),
        (["treescale"], False, ""),
        ([], False, ""),
    ],
)
def test_one_that_is_doubtful_is_none(lines: list[str], secure: bool, value: str) -> None:  # noqa: FBT001
    assert read_cookie(lines, SESSION, secure=secure) == value
