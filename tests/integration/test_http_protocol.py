"""What is wrong or odd as HTTP, before it is about an order; and what the log says of requests."""

from __future__ import annotations

import json

import pytest

from tests.support.eventually import eventually
from tests.support.headers import METHODS, PATHS, assert_guarded
from tests.support.ledgers import order
from tests.support.server import BEARER, NDJSON, TOKEN, Server, lines, problem_of


@pytest.mark.parametrize("path", PATHS)
def test_a_wrong_method_is_told_all_the_right_ones(secured: Server, path: str) -> None:
    responses = {method: secured.client.request(method, path, headers=BEARER) for method in METHODS}
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
    secured: Server, sent: bytes
) -> None:
    received = secured.exchange(sent)
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
    assert secured.client.get("/healthz").status_code == 200


def test_the_log_names_requests_and_never_tells_what_is_in_them(secured: Server) -> None:
    secret = order("logged-1", "secret-customer")
    secret["items"] = [{"sku": "secret-sku", "quantity": 1, "unit_price": 77_123}]
    invalid = secret | {"currency": "secret-currency", "secret-field": "secret-value"}
    secured.place(secret, x_request_id="logged-a", **BEARER)
    secured.place(invalid, x_request_id="logged-b", **BEARER)
    secured.place(secret | {"customer_id": "secret-other"}, x_request_id="logged-c", **BEARER)
    secured.place(secret, x_request_id="logged-d", authorization="Bearer secret-guess")
    secured.client.post(
        "/orders/bulk",
        content=lines([secret, invalid]),
        headers=BEARER | NDJSON | {"x-request-id": "logged-e"},
    )
    secured.client.get(
        "/orders?customer_id=secret-customer&cursor=secret", headers={"x-request-id": "logged-f"}
    )
    secured.exchange(b"GET /secret line HTTP/1.1\r\n\r\n")
    for name, status in zip("abcdef", (202, 422, 409, 401, 200, 422), strict=True):
        (entry,) = eventually(lambda: secured.logged(request_id=f"logged-{name}"))  # noqa: B023
        assert (entry["event"], entry["status"]) == ("request", status)
        assert entry["path"] in {"/orders", "/orders/bulk"}
        assert entry["method"] in {"GET", "POST"}
        assert entry["ms"] > 0
        assert {"timestamp", "level", "service"} <= set(entry)
    said = "".join(secured.said)
    for word in ("secret", "77123", TOKEN, "Bearer"):
        assert word not in said
    # Its operator is told in plain lines; all else is JSON where no terminal is.
    for each in secured.said:
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
