"""Settings: which source wins, what a mistake is told, and that each key is documented."""

import ipaddress
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from tests.tables import each_row
from treescale.config import FIELDS, Settings, load, parse_listen, shown, unsafe_leases
from treescale.errors import SettingInvalid

DOCUMENT = Path(__file__).parents[1] / "docs" / "configuration.md"


def write(path: Path, text: str) -> str:
    file = path / "treescale.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_the_defaults() -> None:
    loaded = load({}, {})
    settings = loaded.settings
    assert settings.data == ("./treescale-data",)
    assert settings.listen == ("127.0.0.1:5000",)
    assert settings.database == "sqlite:///treescale-data/treescale.db"
    assert settings.grace_seconds == 600
    assert settings.workers >= 1
    assert set(loaded.sources.values()) == {"default"}
    assert loaded.admin_password is None


def test_flags_over_variables_over_the_file_over_defaults(tmp_path: Path) -> None:
    file = write(tmp_path, 'listen = "1.1.1.1:1"\nzone = "file"\ngrace_seconds = 20\nworkers = 3\n')
    loaded = load(
        {"listen": "3.3.3.3:3", "zone": None, "no_store": False, "data": ()},
        {"TREESCALE_LISTEN": "2.2.2.2:2", "TREESCALE_ZONE": "variable", "HOME": "/root"},
        config=file,
    )
    settings, sources = loaded.settings, loaded.sources
    assert (settings.listen, sources["listen"]) == (("3.3.3.3:3",), "--listen")
    assert (settings.zone, sources["zone"]) == ("variable", "TREESCALE_ZONE")
    assert (settings.grace_seconds, sources["grace_seconds"]) == (20, file)
    assert (settings.workers, sources["workers"]) == (3, file)
    assert (settings.no_store, sources["no_store"]) == (False, "default")
    assert settings.host == "3.3.3.3"


def test_a_variable_may_name_the_file_and_a_flag_another(tmp_path: Path) -> None:
    file = write(tmp_path, 'zone = "a"')
    variables = {"TREESCALE_CONFIG": file}
    assert load({}, variables).settings.zone == "a"
    other = tmp_path / "other.toml"
    other.write_text('zone = "b"')
    assert load({}, variables, config=str(other)).settings.zone == "b"


def test_variables_are_read_as_what_they_mean() -> None:
    settings = load(
        {},
        {
            "TREESCALE_DATA": "/disk1, /disk2",
            "TREESCALE_NO_STORE": "true",
            "TREESCALE_DATABASE": "postgresql://db/treescale",
            "TREESCALE_WORKERS": "4",
            "TREESCALE_TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8",
            "TREESCALE_LOG_FORMAT": "json",
        },
    ).settings
    assert settings.data == ("/disk1", "/disk2")
    assert settings.no_store is True
    assert settings.workers == 4
    assert settings.proxies == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("fd00::/8"),
    )
    assert settings.log_format == "json"


def test_the_database_lies_in_the_first_data_directory() -> None:
    assert load({"data": ("/a", "/b")}, {}).settings.database == "sqlite:////a/treescale.db"
    url = "postgresql://u:p@h/d"
    assert load({"database": url}, {}).settings.database == url


@each_row(
    ("variable", "nearest"),
    [
        ("TREESCALE_LISTN", "TREESCALE_LISTEN"),
        ("TREESCALE_TRUSTED_PROXY", "TREESCALE_TRUSTED_PROXIES"),
        ("TREESCALE_ADMIN_PASWORD", "TREESCALE_ADMIN_PASSWORD"),
        ("TREESCALE_data", "TREESCALE_DATA"),
        ("TREESCALE_", "TREESCALE_"),
        ("TREESCALE_QQQQQQQQ", "TREESCALE_"),
    ],
)
def test_an_unknown_variable_is_told_the_nearest(variable: str, nearest: str) -> None:
    with pytest.raises(SettingInvalid, match=f"{variable} .*did you mean {nearest}"):
        load({}, {variable: "x"})


def test_an_unknown_key_is_told_the_nearest(tmp_path: Path) -> None:
    file = write(tmp_path, 'tls-cert = "x"')
    with pytest.raises(SettingInvalid, match=r"tls-cert \(.*treescale.toml\).*mean tls_cert\?"):
        load({}, {}, config=file)


@each_row(
    ("text", "reason"),
    [
        ("zone =", "not TOML"),
        ("zone = 5", r"zone \(.*toml\): Expected `str`"),
        ("workers = '4'", r"workers \(.*toml\): Expected `int`"),
        ("data = 'one'", "data"),
        ("grace_seconds = true", "grace_seconds"),
        ("copies = 2", "cluster set copies=2"),
        ("log_level = 'loud'", "log_level"),
        ("admin_password = 'x'", "use TREESCALE_ADMIN_PASSWORD"),
        ("[zone]\nname = 'x'", "zone"),
    ],
)
def test_a_file_with_a_mistake_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(SettingInvalid, match=reason):
        load({}, {}, config=write(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match=r"cannot read .*No such file"):
        load({}, {}, config=str(tmp_path / "absent.toml"))
    with pytest.raises(SettingInvalid, match=r"cannot read .*Is a directory"):
        load({}, {}, config=str(tmp_path))
    (tmp_path / "binary.toml").write_bytes(b"\xff")
    with pytest.raises(SettingInvalid, match="not TOML"):
        load({}, {}, config=str(tmp_path / "binary.toml"))


@each_row(
    ("flags", "reason"),
    [
        ({"data": ("",)}, "data .*at least one"),
        ({"data": ("a", "./a")}, "twice"),
        ({"listen": "5000"}, r"listen \(--listen\): say HOST:PORT"),
        ({"listen": "localhost:65536"}, "port"),
        ({"listen": "localhost:٣"}, "port"),
        ({"workers": -1}, "from 1 to 256"),
        ({"workers": 257}, "from 1 to 256"),
        ({"advertise": "server1:5000"}, "advertise .*say http"),
        ({"advertise": "https://server1/registry"}, "nothing more"),
        ({"advertise": "https://me:secret@server1"}, "nothing more"),
        ({"advertise": "https://server1:x"}, "advertise"),
        ({"no_store": True, "data": ("nowhere",)}, "no_store .*say with --database"),
        ({"tls_cert": "c.pem"}, "go together"),
        ({"tls_key": "k.pem"}, "go together"),
        ({"tls_cert": "c", "tls_key": "k", "tls_self_signed": True}, "either"),
    ],
)
def test_a_value_that_cannot_be_is_refused(flags: dict[str, object], reason: str) -> None:
    with pytest.raises(SettingInvalid, match=reason):
        load(flags, {})


@each_row(
    ("name", "value"),
    [
        ("DATA", " , "),
        ("COPIES", "0"),
        ("COPIES", "17"),
        ("COPIES", "1_0"),
        ("UPLOAD_IDLE_SECONDS_MAX", "59"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "everybody"),
        ("NO_STORE", "perhaps"),
        ("WORKERS", ""),
    ],
)
def test_a_variable_that_cannot_be_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingInvalid, match=f"TREESCALE_{name}"):
        load({}, {f"TREESCALE_{name}": value})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:5000", ("127.0.0.1", 5000)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:80", ("localhost", 80)),
    ],
)
def test_a_listen_address(text: str, expected: tuple[str, int]) -> None:
    assert parse_listen(text) == expected


@each_row("text", ["", ":5000", "::1:5000", "host", "host:", "host:1_0", "[::1]"])
def test_no_listen_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"say HOST:PORT|a port is"):
        parse_listen(text)


@pytest.mark.parametrize("password", ["s3cret", "s3cret@x", "s3cret/x", "s3cret,x", "s/3@cret"])
@pytest.mark.parametrize("user", ["tree", "tree@example.com", "corp/tree"])
@pytest.mark.parametrize("hosts", ["db.example", "db1:5432,db2:5432", "[::1]:1,db2"])
def test_no_password_of_a_url_is_shown(user: str, password: str, hosts: str) -> None:
    """Also one that is not written as a URL's should be."""
    url = f"postgresql://{user}:{password}@{hosts}/tree?target_session_attrs=read-write"
    told = shown(load({"database": url}, {}).settings)["database"]
    assert told == f"postgresql://{user}:***@{hosts}/tree?target_session_attrs=read-write"


def test_the_path_of_a_file_is_shown_as_it_is() -> None:
    url = "sqlite:///srv/a:b@c/treescale.db"
    assert shown(load({"database": url}, {}).settings)["database"] == url


def test_passwords_are_not_shown() -> None:
    """The database's is hidden, the administrator's not even there."""
    loaded = load(
        {
            "database": "postgresql://tree:s3cret@db.example/tree",
            "outbound_proxy": "http://me:s3cret@proxy.example:3128",
        },
        {"TREESCALE_ADMIN_PASSWORD": "hidden one", "TREESCALE_NATS": "nats://me:s3cret@n:4222"},
    )
    text = repr(shown(loaded.settings))
    assert "postgresql://tree:***@db.example/tree" in text
    assert "http://me:***@proxy.example:3128" in text
    assert "nats://me:***@n:4222" in text
    assert "s3cret" not in text
    assert loaded.admin_password == "hidden one"
    assert "hidden one" not in text
    assert b"hidden one" not in msgspec.json.encode(loaded.settings)


@each_row(
    ("flags", "reason"),
    [
        ({"redirect_listen": ("0.0.0.0:80",)}, "there is no HTTPS to send clients to"),
        ({"redirect_listen": ("80",), "tls_self_signed": True}, "say HOST:PORT"),
        ({"acme_webroot": "/srv"}, "say --redirect-listen"),
        ({"redirect_listen": ("0.0.0.0:80",), "public_url": "http://x"}, "there is no HTTPS"),
        ({"redirect_listen": ("0.0.0.0:80",), "public_url": "https://x"}, ""),
        ({"redirect_listen": ("0.0.0.0:80",), "tls_self_signed": True, "acme_webroot": "/x"}, ""),
    ],
)
def test_a_redirect_needs_somewhere_to_lead(flags: dict[str, object], reason: str) -> None:
    if not reason:
        assert load(flags, {}).settings.redirect_listen == ("0.0.0.0:80",)
        return
    with pytest.raises(SettingInvalid, match=reason):
        load(flags, {})


class TestSecretsByFile:
    def test_a_secret_is_read_without_the_newline_at_its_end(self, tmp_path: Path) -> None:
        url, password = tmp_path / "url", tmp_path / "password"
        url.write_text("postgresql://tree:s3cret@db.example/tree\n")
        password.write_text(" correct horse \r\n")
        loaded = load(
            {},
            {
                "TREESCALE_DATABASE_FILE": str(url),
                "TREESCALE_ADMIN_PASSWORD_FILE": str(password),
            },
        )
        assert loaded.settings.database == "postgresql://tree:s3cret@db.example/tree"
        assert loaded.sources["database"] == "TREESCALE_DATABASE_FILE"
        assert loaded.admin_password == " correct horse "
        assert "s3cret" not in repr(shown(loaded.settings))

    def test_a_flag_wins_over_it(self, tmp_path: Path) -> None:
        url = tmp_path / "url"
        url.write_text("postgresql://db.example/tree")
        loaded = load({"database": "sqlite:////x"}, {"TREESCALE_DATABASE_FILE": str(url)})
        assert (loaded.settings.database, loaded.sources["database"]) == (
            "sqlite:////x",
            "--database",
        )

    @each_row(
        ("content", "why"),
        [
            (None, "No such file"),
            (b"", "is empty: write the secret into it"),
            (b"\n", "is empty"),
            (b"\xff\xfe", "no text in UTF-8"),
            (b"one\ntwo\n", "more than one line"),
            (b"x" * 70_000, "more than 64 KiB"),
        ],
    )
    def test_what_is_no_secret_is_refused(self, content: bytes | None, why: str) -> None:
        with TemporaryDirectory() as place:
            path = Path(place) / "secret"
            if content is not None:
                path.write_bytes(content)
            for variable in ("TREESCALE_DATABASE_FILE", "TREESCALE_ADMIN_PASSWORD_FILE"):
                with pytest.raises(SettingInvalid, match=f"{variable}: .*{path}.*{why}"):
                    load({}, {variable: str(path)})

    def test_both_ways_at_once_are_refused(self, tmp_path: Path) -> None:
        for variable in ("TREESCALE_DATABASE", "TREESCALE_ADMIN_PASSWORD"):
            with pytest.raises(SettingInvalid, match=f"{variable} and {variable}_FILE are both"):
                load({}, {variable: "x", f"{variable}_FILE": str(tmp_path)})
        with pytest.raises(SettingInvalid, match="set but empty"):
            load({}, {"TREESCALE_DATABASE_FILE": ""})

    def test_what_is_no_secret_has_no_such_variable(self) -> None:
        with pytest.raises(SettingInvalid, match="there is no setting TREESCALE_ZONE_FILE"):
            load({}, {"TREESCALE_ZONE_FILE": "/x"})


def test_an_empty_password_is_a_mistake() -> None:
    with pytest.raises(SettingInvalid, match="set but empty"):
        load({}, {"TREESCALE_ADMIN_PASSWORD": ""})


def test_settings_survive_the_way_to_a_worker() -> None:
    settings = load({"data": ("/a", "/b"), "zone": "z"}, {}).settings
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings


def test_there_are_few_settings_and_each_is_documented() -> None:
    assert len(FIELDS) <= 30
    text = DOCUMENT.read_text(encoding="utf-8")
    for key in [
        *FIELDS,
        "config",
        "admin_password",
        "database_file",
        "admin_password_file",
        "nats_file",
    ]:
        assert f"TREESCALE_{key.upper()}" in text, f"docs/configuration.md lacks {key}"
    headings = re.findall(r"^### `([a-z_]+)`$", text, flags=re.MULTILINE)
    assert headings == list(FIELDS), "one section for each key, in the order of the code"


@each_row(
    ("flags", "reason"),
    [
        ({"trusted_proxies": ("10.0.0.5/8",)}, "say 10.0.0.5 or 10.0.0.0/8"),
        ({"trusted_proxies": ("10.0.0.1", "proxy")}, "'proxy' is neither an address"),
        ({"public_url": "registry.example"}, "say https://HOST"),
        ({"public_url": "https://registry.example/path"}, "say https://HOST"),
        ({"public_url": "https://user@registry.example"}, "say https://HOST"),
    ],
)
def test_what_is_no_proxy_and_no_url_is_refused(flags: dict[str, object], reason: str) -> None:
    with pytest.raises(SettingInvalid, match=reason):
        load(flags, {})


@each_row(
    "origin",
    [
        "",
        "null",
        "ui.example",
        "https://",
        "https://ui.example/",
        "https://ui.example/path",
        "https://UI.example",
        "https://ui.example:443",
        "http://ui.example:80",
        "https://user@ui.example",
        "https://*.example",
        "ftp://ui.example",
    ],
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(SettingInvalid, match=r"cors_origins .*is no origin"):
        load({"cors_origins": ["https://good.example", origin]}, {})


def test_origins() -> None:
    text = "https://ui.example, http://localhost:8080,http://[::1]:3000,*"
    settings = load({}, {"TREESCALE_CORS_ORIGINS": text}).settings
    assert list(settings.cors_origins) == [one.strip() for one in text.split(",")]
    assert load({}, {}).settings.cors_origins == ()


def test_a_proxy_may_be_one_address() -> None:
    settings = load(
        {"trusted_proxies": ("10.0.0.5",), "public_url": "https://r.example/"}, {}
    ).settings
    assert [str(network) for network in settings.proxies] == ["10.0.0.5/32"]
    assert settings.public_url == "https://r.example"


@pytest.mark.parametrize(("value", "permitted"), [("1", True), ("0", False), ("", False)])
def test_leases_of_seconds_are_permitted_by_a_variable_that_is_no_setting(
    value: str, *, permitted: bool
) -> None:
    environment = {"TREESCALE_UNSAFE_LEASES": value}
    assert load({}, environment) == load({}, {})
    assert unsafe_leases(environment) is permitted
