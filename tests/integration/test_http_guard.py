"""What stands before every route: who is answered, with which headers, and what is logged."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING

import pytest

from tests.books import order
from tests.eventually import eventually
from tests.server import BEARER, NDJSON, TOKEN, Server, lines, problem_of

if TYPE_CHECKING:
    import httpx

JSON = {"content-type": "application/json"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PATHS = (
    *("/orders", "/orders/bulk", "/orders/a-1", "/orders/a-1/retry", "/orders/a-1/discard"),
    *("/status", "/verify", "/healthz", "/readyz", "/metrics", "/openapi.json"),
    *("/docs", "/docs/start.js", "/docs/swagger-ui.css", "/problems/full"),
)


def assert_guarded(response: httpx.Response) -> None:
    """Hold an answer to the headers that every one has."""
    found = response.headers
    assert found["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in found["content-security-policy"]
    assert "frame-ancestors 'none'" in found["content-security-policy"]
    assert found["referrer-policy"] == "no-referrer"
    assert found["cross-origin-resource-policy"] == "same-origin"
    assert found["cache-control"] == "no-store"
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", found["x-request-id"])
    assert not [name for name in found if name.startswith("access-control-")]
    assert "server" not in found
    assert all(len(found.get_list(name)) == 1 for name in found)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:PORT", "127.0.0.1:1", "127.8.8.8", "localhost", "LocalHost:80"),
        *("[::1]", "[::1]:PORT", "shop.example.com", "SHOP.example.com:443", "other.example"),
    ],
)
def test_it_answers_to_its_own_names(guarded: Server, host: str) -> None:
    named = {"host": host.replace("PORT", str(guarded.port))}
    assert guarded.client.get("/healthz", headers=named).status_code == 200


def test_it_answers_to_its_machine_s_name(guarded: Server) -> None:
    named = {"host": socket.gethostname()}
    assert guarded.client.get("/healthz", headers=named).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:PORT", "127.0.0.1.evil.example", "localhost.evil.example"),
        *("a.shop.example.com", "shop.example.com.evil.example", "xshop.example.com"),
        *("10.0.0.1", "192.168.1.7:PORT", "8.8.8.8", "2130706433", "0x7f.1"),
        *("[fe80::1]", "[2001:db8::1]:PORT", "[::ffff:10.0.0.1]", "[::1", "::1", "[::1]x", "[]"),
        *("", ":PORT", "localhost:", "localhost:1:2", "localhost:999999", "localhost/x"),
        *("evil.example@localhost", "localhost@evil.example", "localhost,evil.example"),
        *("local host", "localhost\t.evil", "löcalhost", "localhost%00", "localhost?", "*"),
    ],
)
def test_it_does_not_answer_to_other_names(guarded: Server, host: str) -> None:
    named = host.replace("PORT", str(guarded.port)).encode()
    response = guarded.client.get("/status", headers=[(b"host", named)])
    problem_of(response, 403, "foreign-host")
    assert_guarded(response)


@pytest.mark.parametrize(
    "hosts",
    [
        b"",
        b"host: evil.example\r\nhost: localhost\r\n",
        b"host: localhost\r\nhost: evil.example\r\n",
    ],
)
def test_a_request_names_one_host(guarded: Server, hosts: bytes) -> None:
    received = guarded.exchange(b"GET /status HTTP/1.1\r\nconnection: close\r\n" + hosts + b"\r\n")
    assert received.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 ")), received


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "host", ["127.0.0.1:PORT", "localhost:PORT", "shop.example.com", "[::1]:80"]
)
def test_pages_of_its_own_may_call_it(guarded: Server, scheme: str, host: str) -> None:
    name = host.replace("PORT", str(guarded.port))
    own = {"host": name, "origin": f"{scheme}://{name}"}
    assert guarded.client.get("/status", headers=own).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "origin",
    [
        *("null", "", "http://evil.example", "http://evil.example:PORT", "file://"),
        *("http://localhost", "http://localhost:1", "http://127.0.0.1:PORT", "localhost:PORT"),
        *("http://localhost:PORT.evil.example", "http://localhost:PORT/", "ftp://localhost:PORT"),
        *("http://localhost:PORT http://evil.example", "http://x@localhost:PORT", "*"),
    ],
)
def test_pages_from_elsewhere_may_not_call_it(guarded: Server, method: str, origin: str) -> None:
    port = str(guarded.port)
    response = guarded.client.request(
        method,
        "/orders",
        headers=BEARER
        | JSON
        | {"host": f"localhost:{port}", "origin": origin.replace("PORT", port)},
        content=json.dumps(order("from-elsewhere")),
    )
    problem_of(response, 403, "foreign-origin")
    assert_guarded(response)
    assert guarded.client.get("/orders/from-elsewhere").status_code == 404


@pytest.mark.parametrize(
    "path", ["/orders", "/orders/bulk", "/orders/a-1/retry", "/orders/a-1/discard"]
)
@pytest.mark.parametrize(
    "given",
    [
        *(None, "", "Bearer", TOKEN, f"Basic {TOKEN}", "Bearer wrong"),
        *(f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN.upper()}"),
        *(f"Bearer {TOKEN} {TOKEN}", f"Bearer  {TOKEN}", f"Bearer {TOKEN}é"),
    ],
)
def test_who_changes_something_needs_the_token(
    guarded: Server, path: str, given: str | None
) -> None:
    body = json.dumps(order("unauthorized")).encode()
    headers = [("content-type", "application/x-ndjson" if "bulk" in path else JSON["content-type"])]
    sent = [(name.encode(), value.encode()) for name, value in headers]
    if given is not None:
        sent.append((b"authorization", given.encode()))
    response = guarded.client.post(f"{path}?token={TOKEN}", content=body, headers=sent)
    problem_of(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    assert_guarded(response)
    assert guarded.client.get("/orders/unauthorized").status_code == 404


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_right_token_opens_the_door_and_a_scheme_has_no_case(
    guarded: Server, scheme: str
) -> None:
    named = {"Authorization": f"{scheme} {TOKEN}"}
    assert guarded.place(order(f"token-{scheme}"), **named).status_code == 202


def test_who_only_looks_needs_no_token(guarded: Server) -> None:
    for path in PATHS:
        response = guarded.client.get(path)
        assert response.status_code in {200, 404, 405}, path


def test_every_answer_is_guarded_and_named(guarded: Server) -> None:
    fields = json.dumps(order("headers-1")).encode()
    bad = json.dumps(order("headers-1", amount=-1)).encode()
    other = json.dumps(order("headers-1", amount=7)).encode()
    sent = [
        (202, "POST", "/orders", JSON, fields),
        (200, "POST", "/orders", JSON, fields),
        (409, "POST", "/orders", JSON, other),
        (422, "POST", "/orders", JSON, bad),
        (415, "POST", "/orders", {}, fields),
        (413, "POST", "/orders", JSON, b" " * 1_048_577),
        (200, "POST", "/orders/bulk", NDJSON, fields),
        (404, "POST", "/orders/nobody/retry", {}, b""),
        (409, "POST", "/orders/headers-1/discard", {}, b""),
        (422, "GET", "/orders?limit=0", {}, b""),
        (404, "GET", "/nothing", {}, b""),
        (404, "GET", "/docs/nothing", {}, b""),
        (404, "GET", "/problems/nothing", {}, b""),
        (405, "DELETE", "/orders", {}, b""),
        *(
            (200, "GET", path, {}, b"")
            for path in PATHS
            if "a-1" not in path and "bulk" not in path
        ),
    ]
    names = set()
    for code, method, path, headers, body in sent:
        response = guarded.client.request(method, path, headers=BEARER | headers, content=body)
        assert response.status_code == code, (method, path, response.text)
        assert_guarded(response)
        names.add(response.headers["x-request-id"])
        if code >= 400:
            document = problem_of(response, code, response.json()["type"].rpartition("/")[2])
            described = guarded.client.get(document["type"]).json()
            assert described["type"] == document["type"]
            assert (described["status"], described["title"]) == (code, document["title"])
    assert len(names) == len(sent)


@pytest.mark.parametrize("given", ["a", "A.b_c-9", "x" * 64])
@pytest.mark.parametrize("path", ["/status", "/nothing"])
def test_a_request_keeps_its_name(guarded: Server, path: str, given: str) -> None:
    response = guarded.client.get(path, headers={"x-request-id": given})
    assert response.headers["x-request-id"] == given
    eventually(lambda: guarded.logged(request_id=given, path=path))


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "a,b", "é", "{}", '"a"', "a\\n"])
def test_an_unusable_name_is_replaced(guarded: Server, given: str) -> None:
    headers = [(b"x-request-id", given.encode("latin-1"))]
    response = guarded.client.get("/nothing", headers=headers)
    assert_guarded(response)
    assert response.headers["x-request-id"] != given
    problem_of(response, 404, "not-found")


@pytest.mark.parametrize("path", PATHS)
def test_a_wrong_method_is_told_all_the_right_ones(guarded: Server, path: str) -> None:
    responses = {method: guarded.client.request(method, path, headers=BEARER) for method in METHODS}
    right = {method for method, each in responses.items() if each.status_code != 405}
    assert right
    for response in responses.values():
        if response.status_code == 405:
            problem_of(response, 405, "method-not-allowed")
            assert_guarded(response)
            assert set(response.headers["allow"].split(", ")) == right


@pytest.mark.parametrize(
    "sent",
    [
        b"this is not HTTP\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /status more HTTP/1.1\r\n\r\n",
        b"GET /status HTTP/9.9\r\nhost: localhost\r\n\r\n",
        b"GET /status HTTP/1.1\r\nhost localhost\r\n\r\n",
        b"GET /status HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n",
        b"POST /orders HTTP/1.1\r\nhost: localhost\r\ncontent-length: ten\r\n\r\n",
        b"POST /orders HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /orders HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /orders HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
    ids=range(10),
)
def test_what_is_no_http_is_refused_in_the_form_of_every_refusal(
    guarded: Server, sent: bytes
) -> None:
    received = guarded.exchange(sent)
    head, _, body = received.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    assert first.startswith("HTTP/1.1 400 ")
    headers = dict(line.lower().split(": ", 1) for line in rest)
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert headers["x-content-type-options"] == "nosniff"
    assert int(headers["content-length"]) == len(body)
    document = json.loads(body)
    assert (document["type"], document["status"]) == ("/problems/malformed-request", 400)
    assert guarded.client.get("/healthz").status_code == 200


def test_the_log_names_requests_and_never_tells_what_is_in_them(guarded: Server) -> None:
    secret = order("logged-1", "secret-customer")
    secret["items"] = [{"sku": "secret-sku", "quantity": 1, "unit_price": 77_123}]
    invalid = secret | {"currency": "secret-currency", "secret-field": "secret-value"}
    guarded.place(secret, x_request_id="logged-a", **BEARER)
    guarded.place(invalid, x_request_id="logged-b", **BEARER)
    guarded.place(secret | {"customer_id": "secret-other"}, x_request_id="logged-c", **BEARER)
    guarded.place(secret, x_request_id="logged-d", authorization="Bearer secret-guess")
    guarded.client.post(
        "/orders/bulk",
        content=lines([secret, invalid]),
        headers=BEARER | NDJSON | {"x-request-id": "logged-e"},
    )
    guarded.client.get(
        "/orders?customer_id=secret-customer&cursor=secret", headers={"x-request-id": "logged-f"}
    )
    guarded.exchange(b"GET /secret line HTTP/1.1\r\n\r\n")
    for name, status in zip("abcdef", (202, 422, 409, 401, 200, 422), strict=True):
        (entry,) = eventually(lambda: guarded.logged(request_id=f"logged-{name}"))  # noqa: B023
        assert (entry["event"], entry["status"]) == ("request", status)
        assert entry["path"] in {"/orders", "/orders/bulk"}
        assert entry["method"] in {"GET", "POST"}
        assert entry["ms"] > 0
        assert {"timestamp", "level", "service"} <= set(entry)
    said = "".join(guarded.said)
    for word in ("secret", "77123", TOKEN, "Bearer"):
        assert word not in said
    # Its operator is told in plain lines; all else is JSON where no terminal is.
    for each in guarded.said:
        assert each.startswith(("{", "orderly: "))


def test_a_head_without_end_is_refused_before_it_fills_the_memory(shop: Server) -> None:
    header = b"X-Padding: " + b"x" * 8000 + b"\r\n"
    with shop.connected() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        try:
            for _ in range(1000):
                connection.sendall(header)
        except (BrokenPipeError, ConnectionResetError):
            pass
        else:
            raise AssertionError("eight megabytes of headers were taken")


def test_a_large_head_is_answered(shop: Server) -> None:
    answer = shop.exchange(b"GET /healthz HTTP/1.1\r\nX-Padding: " + b"x" * 66_000)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"/problems/head-too-large" in answer


def test_head_is_get_without_a_body(shop: Server) -> None:
    for path in ("/healthz", "/status", "/metrics"):
        answer = shop.client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
    assert shop.client.head("/orders/nobody").status_code == 404


def test_a_path_with_a_slash_too_many_is_not_found(shop: Server) -> None:
    problem_of(shop.client.get("/orders/"), 404, "not-found")
