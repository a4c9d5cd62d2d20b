"""What schemathesis must know beyond the description."""

import os

import schemathesis

# Instances that are there: a name made up at random nearly never is.
KNOWN = ["web:a", "web:b"]


@schemathesis.hook
def before_call(context, case, kwargs):
    """Points some requests at what is there, and keeps the run alive."""
    path, query = case.path_parameters, case.query
    name = str(path["name"]) if path and "name" in path else ""
    if ":" in name and len(name) % 2 == 1:
        path["name"] = KNOWN[len(name) // 2 % len(KNOWN)]
    # It learns ids from answers. With its own token revoked it would see nothing but refusals from then on.
    if path and path.get("id") == os.environ["INSULA_TEST_TOKEN_ID"]:
        path["id"] = "0123456789ab"
    # Whoever gives a start no time is told that it took longer (504), as described.
    body = case.body if isinstance(case.body, dict) else {}
    if isinstance(body.get("timeout_ms"), int) and 0 <= body["timeout_ms"] < 60_000:
        body["timeout_ms"] = 60_000
    # A stream that is followed never ends, so nobody can look at its answer as a whole.
    if query:
        query.pop("follow", None)
