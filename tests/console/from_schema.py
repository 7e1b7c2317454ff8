"""Values of a JSON schema as msgspec writes them, and values that are nearly so."""

from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]
TEXTS = st.one_of(
    st.sampled_from(
        ["", "alice", "alice/app", "alice/app:v1", "acme", "*", "90d", "public", "../x"]
    ),
    st.text(max_size=20),
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def values_of(schema: Schema, components: dict[str, Schema]) -> st.SearchStrategy[Any]:
    """Return a strategy of what the schema takes."""
    if "$ref" in schema:
        return values_of(components[schema["$ref"].rpartition("/")[2]], components)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of([values_of(each, components) for each in schema["anyOf"]])
    kind = schema.get("type")
    if kind == "object":
        return _objects(schema, components)
    if kind == "array":
        return st.lists(values_of(schema["items"], components), max_size=3)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        "string": TEXTS,
        "boolean": st.booleans(),
        "integer": st.integers(),
        "number": st.floats(allow_nan=False, allow_infinity=False),
        "null": st.none(),
        None: ANY,
    }
    return simple[kind]


def _objects(schema: Schema, components: dict[str, Schema]) -> st.SearchStrategy[Any]:
    fields = {
        name: values_of(each, components) for name, each in schema.get("properties", {}).items()
    }
    if not fields:
        more = schema.get("additionalProperties", {})
        inner = values_of(more, components) if isinstance(more, dict) else ANY
        return st.dictionaries(TEXTS, inner, max_size=3)
    required = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: each for name, each in fields.items() if name in required},
        optional={name: each for name, each in fields.items() if name not in required},
    )
