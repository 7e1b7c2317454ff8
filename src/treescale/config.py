"""Settings: what can be set, where each value came from, and what is wrong with it.

A flag wins over a `TREESCALE_…` variable, a variable over the TOML file, the file over the default.
A key nobody knows is an error that names the nearest one: a typo must not silently mean a default.
Only `server` and `cli` read this; everybody else gets plain arguments. docs/configuration.md has a
section for each key.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from treescale.errors import SettingInvalid
from treescale.http.proxy.origin import Network, parse_host, parse_network
from treescale.peer.address import read_address

PREFIX: Final = "TREESCALE_"
CONFIG_VARIABLE: Final = "TREESCALE_CONFIG"
UNSAFE_LEASES_VARIABLE: Final = "TREESCALE_UNSAFE_LEASES"
"""With `1` a lease may be seconds: for tests and soaks, where nothing is worth keeping."""
SERVER_VARIABLE: Final = "TREESCALE_SERVER"
CA_FILE_VARIABLE: Final = "TREESCALE_CA_FILE"
"""Which server commands ask, and what signs its certificate: of whoever types, not of a server."""
PASSWORD_VARIABLE: Final = "TREESCALE_ADMIN_PASSWORD"  # noqa: S105  a name, not a password
_DATABASE_VARIABLE: Final = "TREESCALE_DATABASE"
_NO_SETTINGS: Final = (
    CONFIG_VARIABLE,
    PASSWORD_VARIABLE,
    UNSAFE_LEASES_VARIABLE,
    SERVER_VARIABLE,
    CA_FILE_VARIABLE,
)
FILE: Final = "_FILE"
_NATS_VARIABLE: Final = "TREESCALE_NATS"
_SECRETS: Final = (_DATABASE_VARIABLE, PASSWORD_VARIABLE, _NATS_VARIABLE)
"""What is secret, and may stand in a file: the variable with `_FILE` at its end names that."""
SECRET_BYTES_MAX: Final = 64 * 1024
DATABASE_FILE: Final = "treescale.db"
_PASSWORD_IN_URL: Final = re.compile(r"(?<=://)(?!/)([^:]*):.*@", re.DOTALL)
"""Up to the last @, as people write passwords; some log in with the address of a mailbox."""
_PORT: Final = re.compile(r"[0-9]{1,5}")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
PORT_MAX: Final = 65_535
UNIX: Final = "unix:"
SOCKET_PATH_BYTES_MAX: Final = 107
"""The kernel's limit."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force. Lengths of time and sizes carry their unit in the name."""

    data: tuple[str, ...] = ("./treescale-data",)
    no_store: bool = False
    require_all_stores: bool = False
    listen: tuple[str, ...] = ("127.0.0.1:5000",)
    listen_proxy: tuple[str, ...] = ()
    metrics_listen: str = ""
    database: str = ""
    advertise: str = ""
    public_url: str = ""
    zone: str = ""
    workers: int = 0
    tls_cert: str = ""
    tls_key: str = ""
    tls_self_signed: bool = False
    peer_ca: str = ""
    redirect_listen: tuple[str, ...] = ()
    acme_webroot: str = ""
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    outbound_ca: str = ""
    outbound_proxy: str = ""
    nats: tuple[str, ...] = ()
    nats_subject: str = "treescale"
    nats_credentials: str = ""
    log_format: Literal["auto", "text", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    upload_idle_seconds_max: int = 86_400
    grace_seconds: int = 600
    weight: float = 1.0
    walk_bytes_per_second_max: int = 0

    @property
    def host(self) -> str | None:
        """Return the first host to listen on; None when there are socket files only."""
        return self.tcp[0][0] if self.tcp else None

    @property
    def tcp(self) -> list[tuple[str, int]]:
        """Return hosts and ports to listen on, without socket files."""
        return [parse_listen(text) for text in self.listen if unix_path(text) is None]

    @property
    def proxies(self) -> tuple[Network, ...]:
        """Return the networks whose forwarded headers are believed."""
        return tuple(parse_network(text) for text in self.trusted_proxies)


WEIGHT_MIN: Final = 0.01
WEIGHT_MAX: Final = 100.0
WALK_BYTES_PER_SECOND_MIN: Final = 1_000_000
_ONE_OR_MORE: Final = frozenset({"listen", "listen_proxy", "redirect_listen", "nats"})
"""A list whose only value may stand alone."""
FIELDS: Final = {field.name: field for field in msgspec.structs.fields(Settings)}


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each key where its value came from.

    The first administrator's password stands apart: it comes from its variable alone, and is
    neither shown nor handed on.
    """

    settings: Settings
    sources: Mapping[str, str]
    admin_password: str | None


def load(
    flags: Mapping[str, object], environment: Mapping[str, str], *, config: str | None = None
) -> Loaded:
    """Return the settings in force; raises SettingInvalid, naming the key and its source.

    `flags` are values by key; None, False and an empty list mean that the flag was not given.
    `config` is the TOML file's path; without it TREESCALE_CONFIG may name one.
    """
    environment, files = _with_secrets(environment)
    values: dict[str, object] = {}
    sources = dict.fromkeys(FIELDS, "default")
    file = config or environment.get(CONFIG_VARIABLE)
    layers = [
        _from_file(file) if file else {},
        _from_environment(environment),
        _from_flags(flags),
    ]
    for layer in layers:
        for key, (value, source) in layer.items():
            values[key] = value
            sources[key] = source
    sources = {key: files.get(source, source) for key, source in sources.items()}
    settings = _completed(msgspec.convert(values, Settings))
    for key, check in _CHECKS.items():
        try:
            check(settings)
        except ValueError as error:
            raise SettingInvalid(f"{key} ({sources[key]}): {error}") from None
    password = environment.get(PASSWORD_VARIABLE)
    if password == "":
        raise SettingInvalid(f"{PASSWORD_VARIABLE} is set but empty: unset it or give a password")
    return Loaded(settings, sources, password)


def shown(settings: Settings) -> dict[str, object]:
    """Return all values by key, fit to be printed: without passwords in URLs."""
    values = msgspec.to_builtins(settings)
    for key in ("database", "outbound_proxy"):
        values[key] = _PASSWORD_IN_URL.sub(r"\1:***@", values[key])
    values["nats"] = [_PASSWORD_IN_URL.sub(r"\1:***@", url) for url in values["nats"]]
    assert isinstance(values, dict)
    return values


def parse_listen(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` or `[IPV6]:PORT`; raises ValueError."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed):
        raise ValueError("say HOST:PORT, for IPv6 [ADDRESS]:PORT")
    if _PORT.fullmatch(port) is None or int(port) > PORT_MAX:
        raise ValueError(f"a port is a number from 0 to {PORT_MAX}")
    return (host[1:-1] if bracketed else host), int(port)


def unix_path(text: str) -> str | None:
    """Return the file of `unix:/PATH`, None for what should be HOST:PORT; raises ValueError."""
    if not text.startswith(UNIX):
        return None
    path = text.removeprefix(UNIX)
    if not path.startswith("/") or "\0" in path or len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise ValueError(
            f"say {UNIX}/PATH, from the root, with at most {SOCKET_PATH_BYTES_MAX} bytes"
        )
    return path


Layer = dict[str, tuple[object, str]]


def _from_file(path: str) -> Layer:
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingInvalid(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingInvalid(f"{path} is not TOML: {error}") from None
    if "admin_password" in document:
        raise SettingInvalid(f"{path}: a password has no place in a file; use {PASSWORD_VARIABLE}")
    return {key: (_typed(key, value, path, strict=True), path) for key, value in document.items()}


def _with_secrets(environment: Mapping[str, str]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the environment with secrets read from files, and which variable named each file.

    Raises SettingInvalid when one cannot be read, is empty, or is given in both ways.
    """
    found = dict(environment)
    files: dict[str, str] = {}
    for variable in _SECRETS:
        by_file = variable + FILE
        path = found.pop(by_file, None)
        if path is None:
            continue
        if variable in found:
            raise SettingInvalid(f"{variable} and {by_file} are both set: unset one of them")
        found[variable] = _secret(path, by_file)
        files[variable] = by_file
    return found, files


def _secret(path: str, variable: str) -> str:
    """Return what is in a file, without the newline at its end."""
    if not path:
        raise SettingInvalid(f"{variable} is set but empty: unset it, or name a file")
    try:
        with Path(path).open("rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
        text = content.decode()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise SettingInvalid(f"{variable}: cannot read {path}: {why}") from None
    if len(content) > SECRET_BYTES_MAX:
        raise SettingInvalid(f"{variable}: {path} has more than 64 KiB: is it the right file?")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise SettingInvalid(f"{variable}: {path} is empty: write the secret into it")
    if "\n" in text or "\0" in text:
        raise SettingInvalid(f"{variable}: {path} has more than one line: is it the right file?")
    return text


def unsafe_leases(environment: Mapping[str, str]) -> bool:
    """Say whether leases of seconds are permitted."""
    return environment.get(UNSAFE_LEASES_VARIABLE) == "1"


def _from_environment(environment: Mapping[str, str]) -> Layer:
    """Read the variables; a list is separated by commas."""
    layer: Layer = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or variable in _NO_SETTINGS:
            continue
        key = variable.removeprefix(PREFIX).lower()
        if key not in FIELDS or variable != variable.upper():
            files = [name.removeprefix(PREFIX).lower() + FILE.lower() for name in _SECRETS]
            known = [*FIELDS, "config", "admin_password", "server", "ca_file", *files]
            raise _unknown(variable, [f"{PREFIX}{name.upper()}" for name in known], "environment")
        parts = [part.strip() for part in text.split(",") if part.strip()]
        value = parts if _is_list(key) else text
        layer[key] = (_typed(key, value, variable, strict=False), variable)
    return layer


def _from_flags(flags: Mapping[str, object]) -> Layer:
    layer: Layer = {}
    for key, value in flags.items():
        if value is None or value is False or value in ((), []):
            continue
        flag = f"--{key.replace('_', '-')}"
        layer[key] = (_typed(key, value, flag, strict=True), flag)
    return layer


def _typed(key: str, value: object, source: str, *, strict: bool) -> object:
    field = FIELDS.get(key)
    if field is None:
        raise _unknown(key, list(FIELDS), source)
    if key in _ONE_OR_MORE and isinstance(value, str):
        value = [value]
    try:
        return msgspec.convert(value, field.type, strict=strict)
    except UnicodeEncodeError:  # bytes of a variable that are no text
        raise SettingInvalid(f"{key} ({source}): not UTF-8") from None
    except msgspec.ValidationError as error:
        raise SettingInvalid(f"{key} ({source}): {error}") from None


def _is_list(key: str) -> bool:
    return isinstance(FIELDS[key].default, tuple)


def _unknown(name: str, known: list[str], source: str) -> SettingInvalid:
    spelled = {one.lower(): one for one in known}
    if name.lower() == "copies":
        return SettingInvalid(
            f"copies ({source}) is the cluster's own setting: say `treescale cluster set copies=2`"
        )
    close = difflib.get_close_matches(name.lower(), spelled, n=1, cutoff=0.0)
    nearest = spelled[close[0]]
    return SettingInvalid(f"there is no setting {name} ({source}); did you mean {nearest}?")


def _completed(settings: Settings) -> Settings:
    """Fill in the defaults that depend on the machine or on other settings."""
    changes: dict[str, Any] = {}
    if not settings.database and settings.data:
        changes["database"] = f"sqlite:///{Path(settings.data[0]) / DATABASE_FILE}"
    changes["public_url"] = settings.public_url.rstrip("/")
    if not settings.workers:
        changes["workers"] = len(os.sched_getaffinity(0))
    return msgspec.structs.replace(settings, **changes)


def _check_data(settings: Settings) -> None:
    if not settings.data or not all(settings.data):
        raise ValueError("name at least one directory")
    places = [os.path.realpath(path) for path in settings.data]
    if len(set(places)) < len(places):
        raise ValueError("the same directory is named twice: each must be a disk of its own")


def _check_no_store(settings: Settings) -> None:
    own = Path(settings.data[0]) / DATABASE_FILE
    if settings.no_store and settings.database == f"sqlite:///{own}" and not own.exists():
        raise ValueError("say with --database which cluster it is to serve")


def _check_workers(settings: Settings) -> None:
    if not 1 <= settings.workers <= 256:  # noqa: PLR2004  said in the message
        raise ValueError("a number from 1 to 256")


def _check_grace(settings: Settings) -> None:
    if settings.grace_seconds < 5:  # noqa: PLR2004  said in the message
        raise ValueError("at least 5 seconds: servers are heard of that often")


def _check_weight(settings: Settings) -> None:
    if not WEIGHT_MIN <= settings.weight <= WEIGHT_MAX:
        raise ValueError(f"a number from {WEIGHT_MIN:g} to {WEIGHT_MAX:g}")


def _check_walk(settings: Settings) -> None:
    least = WALK_BYTES_PER_SECOND_MIN
    if settings.walk_bytes_per_second_max and settings.walk_bytes_per_second_max < least:
        raise ValueError(f"at least {least:,}, or copies lost are never made again; 0 is no limit")


def _check_idle(settings: Settings) -> None:
    if settings.upload_idle_seconds_max < 60:  # noqa: PLR2004  said in the message
        raise ValueError("at least 60 seconds, or slow clients lose what they have sent")


def _check_listen(settings: Settings) -> None:
    if not settings.listen:
        raise ValueError("name at least one address")
    for text in settings.listen:
        if unix_path(text) is None:
            parse_listen(text)
    alone = not settings.database.startswith("postgres")
    if settings.host is None and not (alone or settings.advertise):
        raise ValueError("other servers cannot reach a socket file: name HOST:PORT as well")


def _check_listen_proxy(settings: Settings) -> None:
    for text in settings.listen_proxy:
        if unix_path(text) is None:
            parse_listen(text)
            if not settings.trusted_proxies:
                raise ValueError(
                    "connections are taken from trusted proxies alone: say with --trusted-proxies "
                    "which addresses they have"
                )


def _check_metrics_listen(settings: Settings) -> None:
    if settings.metrics_listen:
        parse_listen(settings.metrics_listen)


def _check_redirect_listen(settings: Settings) -> None:
    for text in settings.redirect_listen:
        parse_listen(text)
    has_tls = settings.tls_cert or settings.tls_self_signed
    if settings.redirect_listen and not (has_tls or settings.public_url.startswith("https://")):
        raise ValueError(
            "there is no HTTPS to send clients to: say --tls-cert and --tls-key, or, where a proxy "
            "has it, --public-url https://HOST"
        )


def _check_acme_webroot(settings: Settings) -> None:
    if settings.acme_webroot and not settings.redirect_listen:
        raise ValueError("it is served on port 80: say --redirect-listen 0.0.0.0:80 as well")


def _check_public_url(settings: Settings) -> None:
    scheme, _, host = settings.public_url.partition("://")
    if settings.public_url and (scheme not in ("http", "https") or parse_host(host) is None):
        raise ValueError("say https://HOST or https://HOST:PORT, and nothing more")


def _check_advertise(settings: Settings) -> None:
    if settings.advertise:
        read_address(settings.advertise)


def _check_proxies(settings: Settings) -> None:
    for text in settings.trusted_proxies:
        parse_network(text)


def _check_cors_origins(settings: Settings) -> None:
    for origin in settings.cors_origins:
        if origin != "*" and not _is_origin(origin):
            raise ValueError(
                f"{origin!r} is no origin: say https://HOST or https://HOST:PORT in lower case, "
                "as browsers do, without a path or the port that goes without saying; or * for all"
            )


def _is_origin(text: str) -> bool:
    scheme, _, host = text.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    return (
        port is not None
        and parse_host(host) is not None
        and host == host.lower()
        and not host.endswith(port)
    )


def _check_certificate(settings: Settings) -> None:
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise ValueError("tls_cert and tls_key go together")


def _check_self_signed(settings: Settings) -> None:
    if settings.tls_self_signed and settings.tls_cert:
        raise ValueError("either a certificate by files, or a self-signed one")


_CHECKS: Final[Mapping[str, Callable[[Settings], None]]] = {
    "data": _check_data,
    "no_store": _check_no_store,
    "workers": _check_workers,
    "grace_seconds": _check_grace,
    "weight": _check_weight,
    "walk_bytes_per_second_max": _check_walk,
    "upload_idle_seconds_max": _check_idle,
    "listen": _check_listen,
    "listen_proxy": _check_listen_proxy,
    "metrics_listen": _check_metrics_listen,
    "redirect_listen": _check_redirect_listen,
    "acme_webroot": _check_acme_webroot,
    "advertise": _check_advertise,
    "public_url": _check_public_url,
    "trusted_proxies": _check_proxies,
    "cors_origins": _check_cors_origins,
    "tls_cert": _check_certificate,
    "tls_self_signed": _check_self_signed,
}
