"""What the service says of itself: problem types, the documents, and their examples."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from tests.support.server import BEARER, NDJSON, Server, problem_of

KINDS = (
    *("malformed-request", "unauthorized", "foreign-host", "foreign-origin", "not-found"),
    *("unknown-order", "unknown-worker", "method-not-allowed", "conflict", "not-dead", "in-doubt"),
    *("generating", "too-large", "not-json", "invalid-order", "invalid-request", "full"),
    *("internal-error", "ledger-unavailable", "queue-unavailable", "head-too-large"),
    *("too-many-listeners", "too-many-proofs", "too-many-connections", "too-slow", "stopping"),
    "outcome-unknown",
)


def test_every_kind_of_problem_is_described_where_its_type_says(secured: Server) -> None:
    for name in KINDS:
        described = secured.client.get(f"/problems/{name}").json()
        assert described["type"] == f"/problems/{name}"
        assert described["name"] == name
        assert 400 <= described["status"] < 600
        assert described["title"]
        assert described["remedy"]
    documented = set(re.findall(r"/problems/([\w-]+)", secured.client.get("/openapi.json").text))
    assert documented <= set(KINDS)
    problem_of(secured.client.get("/problems/nothing"), 404, "not-found")


class Links(HTMLParser):
    """Gathers what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_the_documents_load_nothing_from_elsewhere(secured: Server) -> None:
    page = secured.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert rules["connect-src"] == "'self'"
    allowed = {"'self'", "'none'", "'unsafe-inline'", "data:"}
    assert {source for rule in rules.values() for source in rule.split()} <= allowed
    links = Links()
    links.feed(page.text)
    local = [link for link in links.found if not link.startswith("data:")]
    assert len(local) >= 3
    for link in local:
        assert link.startswith("docs/")
        asset = secured.client.get(link)
        assert asset.status_code == 200
        kind = "text/css" if link.endswith(".css") else "text/javascript"
        assert asset.headers["content-type"].startswith(kind)
    assert "openapi.json" in secured.client.get("/docs/start.js").text
    for absent in ("/redoc", "/docs/../start.js", "/docs/%2e%2e%2fapp.py", "/docs/favicon.png"):
        assert secured.client.get(absent).status_code == 404


def test_the_examples_in_the_documents_work(secured: Server) -> None:
    paths = secured.client.get("/openapi.json").json()["paths"]
    one = paths["/orders"]["post"]["requestBody"]["content"]["application/json"]
    for example in one["examples"].values():
        response = secured.place(example["value"], **BEARER)
        assert response.status_code == 202, response.text
    many = paths["/orders/bulk"]["post"]["requestBody"]["content"]["application/x-ndjson"]
    written = many.get("example") or next(iter(many["examples"].values()))["value"]
    response = secured.client.post("/orders/bulk", content=written, headers=BEARER | NDJSON)
    found = [json.loads(line) for line in response.text.splitlines()]
    assert found
    assert {each["code"] for each in found} <= {200, 202}
