"""Bodies that schemathesis does not know how to make: lines of a bulk, most of which mean something."""

import itertools
import json

import schemathesis
from hypothesis import strategies as st

keys = st.text(min_size=1, max_size=20)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20))
numbers = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=4)


def members(required, **optional):
    return st.fixed_dictionaries(required, optional=optional)


lines = st.one_of(
    members({"op": st.just("get"), "key": keys}),
    members({"op": st.just("delete"), "key": keys}, if_seq=st.integers(min_value=0, max_value=2**64)),
    members(
        {"op": st.just("put"), "key": keys, "value": scalars},
        ttl=st.sampled_from(["1s", "5d", "0s"]),
        content_type=st.sampled_from(["text/plain", "image/png", ""]),
    ),
    members({"op": st.just("delete"), "id": keys}),
    members({}, id=keys, text=st.text(), embedding=numbers, metadata=st.dictionaries(keys, scalars, max_size=3)),
).map(lambda line: json.dumps(line).encode())

noise = st.binary(max_size=30).filter(lambda line: b"\n" not in line)


def body(parts):
    return b"".join(line + b"\n" for line in parts)


schemathesis.openapi.media_type(
    "application/x-ndjson",
    st.lists(st.one_of(lines, lines, lines, noise), max_size=10).map(body),
    aliases=["application/jsonl"],
)


@schemathesis.serializer("application/x-ndjson", "application/jsonl")
def as_it_is(_context, value):
    return {"data": value if isinstance(value, bytes) else str(value).encode()}


@schemathesis.hook
def before_load_schema(_context, raw_schema):
    """Beside lines made here the tool takes no examples that are text."""
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for name, content in operation.get("requestBody", {}).get("content", {}).items():
                if name in ("application/x-ndjson", "application/jsonl"):
                    content.pop("example", None)


requests = itertools.count()


def name_for_itself(case):
    """A request of its own has an idempotency key of its own: the one of another request is refused. Keys that
    are none stay as they are."""
    headers = case.headers or {}
    for name in list(headers):
        key = headers[name]
        is_key = name.lower() == "idempotency-key" and isinstance(key, str) and 0 < len(key) < 200
        if is_key and all("!" <= char <= "~" for char in key):
            headers[name] = f"{key}-{next(requests)}"


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """The collections that other operations need stay: the tool learns their names and would drop them."""
    name_for_itself(case)
    if case.method == "DELETE" and case.path_parameters.get("collection") in ("strings", "books"):
        if case.operation.path == "/v1/collections/{collection}":
            case.path_parameters["collection"] = "people"
