"""What must not stand in the source: ways to run data as code, and leaky comparisons of secrets."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import treescale
from tests.tables import each_row

SOURCE: Final = Path(treescale.__file__).parent
REPOSITORY: Final = Path(__file__).parents[2]
MODULES: Final = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle"}
CALLS: Final = {"eval", "exec", "compile", "__import__", "yaml.load", "yaml.unsafe_load"}
SECRET: Final = re.compile(
    r"(^|_)(secret|password|passwords|password_hash|proof|signature|hmac|mac|checksum)(_|$)"
    r"|secret_sha256|fingerprint"
)
NOT_SECRET: Final = re.compile(r"_(?:max|min|bytes|characters|seconds)$")


def code_from_data(tree: ast.AST) -> Iterator[str]:
    """Yield what can turn bytes into behaviour (S23, CVE-2026-32590)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").partition(".")[0] in MODULES:
                yield str(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in CALLS:
            yield ast.unparse(node)


def leaky_comparisons(tree: ast.AST) -> Iterator[str]:
    """Yield `==` and `!=` with something secret on either side (S29, CVE-2023-20902)."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        if not any(isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops):
            continue
        if any(_secret(side) for side in (node.left, *node.comparators)):
            yield ast.unparse(node)


def _secret(node: ast.expr) -> bool:
    """Say whether the last word of a name, attribute, key or called function is a secret's."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            pass
        case ast.Call(func=function):
            return _secret(function)
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            pass
        case _:
            return False
    return bool(SECRET.search(name)) and not NOT_SECRET.search(name)


def trees(*rooms: str) -> Iterator[tuple[Path, ast.AST]]:
    for room in rooms or ("",):
        for path in sorted((SOURCE / room).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.long
def test_no_data_becomes_code() -> None:
    found = {path.name: list(code_from_data(tree)) for path, tree in trees()}
    assert found
    assert {name: uses for name, uses in found.items() if uses} == {}


def test_secrets_are_compared_in_constant_time() -> None:
    rooms = ("auth", "registry", "http", "api")
    found = {path.name: list(leaky_comparisons(tree)) for path, tree in trees(*rooms)}
    assert found
    assert {name: uses for name, uses in found.items() if uses} == {}


@each_row(
    "bad",
    [
        "import pickle",
        "import os, marshal",
        "from shelve import open",
        "def f(x):\n    return eval(x)",
        "exec(x)",
        "yaml.load(x)",
    ],
)
def test_the_first_lint_can_fail(bad: str) -> None:
    assert list(code_from_data(ast.parse(bad)))


@each_row(
    "bad",
    [
        "token.secret_sha256 == other",
        "other != account.password_hash",
        "secret_sha256(text) == row[0]",
        "claims.proof == proof",
        "row['secret'] == given",
    ],
)
def test_the_second_lint_can_fail(bad: str) -> None:
    assert list(leaky_comparisons(ast.parse(bad)))


@pytest.mark.parametrize("good", ["a == b", "len(x) > bytes_max", "hmac.compare_digest(proof, p)"])
def test_and_does_not_always(good: str) -> None:
    assert not list(leaky_comparisons(ast.parse(good)))


def private_keys(text: str) -> list[str]:
    """Return the private keys in a text: a begin line followed by base64 (S09)."""
    return re.findall(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{16}", text)


def test_no_private_key_in_the_repository() -> None:
    """Harbor's chart signed every installation's tokens with one key (GHSA-j7jh-fmcm-xxwv)."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False
    )
    names = listed.stdout.decode().split("\0")[:-1] if listed.returncode == 0 else []
    paths = [REPOSITORY / name for name in names] or list(REPOSITORY.glob("[!.]*/**/*"))
    files = [path for path in paths if path.is_file()]
    assert len(files) > 50
    found = [path for path in files if private_keys(path.read_text("utf-8", errors="replace"))]
    assert found == []


def test_a_private_key_would_be_found() -> None:
    begin = "-----BEGIN " + "PRIVATE KEY-----\n"
    assert private_keys(begin + "MC4CAQAwBQYDK2VwBCIEIA" + "\n")
