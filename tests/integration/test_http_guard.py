"""What stands before every route: who is answered, with which headers, and what is logged."""

from __future__ import annotations

import json
import re
import socket

import pytest

from tests.support.eventually import eventually
from tests.support.headers import PATHS, assert_guarded
from tests.support.ledgers import order
from tests.support.server import BEARER, NDJSON, TOKEN, Server, problem_of

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:PORT", "127.0.0.1:1", "127.8.8.8", "localhost", "LocalHost:80"),
        *("[::1]", "[::1]:PORT", "shop.example.com", "SHOP.example.com:443", "other.example"),
        *("localhost.", "shop.example.com.:443", "[fd00::1]", "[fd00::1]:PORT"),
    ],
)
def test_it_answers_to_its_own_names(secured: Server, host: str) -> None:
    named = {"host": host.replace("PORT", str(secured.port))}
    assert secured.client.get("/healthz", headers=named).status_code == 200


def test_it_answers_to_its_machine_s_name(secured: Server) -> None:
    named = {"host": socket.gethostname()}
    assert secured.client.get("/healthz", headers=named).status_code == 200


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
def test_it_does_not_answer_to_other_names(secured: Server, host: str) -> None:
    named = host.replace("PORT", str(secured.port)).encode()
    response = secured.client.get("/status", headers=[(b"host", named)])
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
def test_a_request_names_one_host(secured: Server, hosts: bytes) -> None:
    received = secured.exchange(b"GET /status HTTP/1.1\r\nconnection: close\r\n" + hosts + b"\r\n")
    assert received.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 ")), received


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "host", ["127.0.0.1:PORT", "localhost:PORT", "shop.example.com", "[::1]:80"]
)
def test_pages_of_its_own_may_call_it(secured: Server, scheme: str, host: str) -> None:
    name = host.replace("PORT", str(secured.port))
    own = {"host": name, "origin": f"{scheme}://{name}"}
    assert secured.client.get("/status", headers=own).status_code == 200


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
def test_pages_from_elsewhere_may_not_call_it(secured: Server, method: str, origin: str) -> None:
    port = str(secured.port)
    response = secured.client.request(
        method,
        "/orders",
        headers=BEARER
        | JSON
        | {"host": f"localhost:{port}", "origin": origin.replace("PORT", port)},
        content=json.dumps(order("from-elsewhere")),
    )
    problem_of(response, 403, "foreign-origin")
    assert_guarded(response)
    assert secured.client.get("/orders/from-elsewhere").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        *("/orders", "/orders/bulk", "/orders/a-1/retry", "/orders/a-1/discard"),
        *("/dead/retry", "/generator"),
    ],
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
    secured: Server, path: str, given: str | None
) -> None:
    body = json.dumps(order("unauthorized")).encode()
    headers = [("content-type", "application/x-ndjson" if "bulk" in path else JSON["content-type"])]
    sent = [(name.encode(), value.encode()) for name, value in headers]
    if given is not None:
        sent.append((b"authorization", given.encode()))
    response = secured.client.post(f"{path}?token={TOKEN}", content=body, headers=sent)
    problem_of(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    assert_guarded(response)
    assert secured.client.get("/orders/unauthorized").status_code == 404


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_right_token_opens_the_door_and_a_scheme_has_no_case(
    secured: Server, scheme: str
) -> None:
    named = {"Authorization": f"{scheme} {TOKEN}"}
    assert secured.place(order(f"token-{scheme}"), **named).status_code == 202


def test_who_only_looks_needs_no_token(secured: Server) -> None:
    for path in PATHS:
        response = secured.client.get(path)
        assert response.status_code in {200, 404, 405} or path == "/verify", path


def test_who_has_the_ledger_proved_needs_the_token(secured: Server) -> None:
    """It changes nothing, and takes a processor for as long as it takes."""
    for method in ("GET", "HEAD"):
        for headers in ({}, {"authorization": "Bearer wrong"}):
            assert secured.client.request(method, "/verify", headers=headers).status_code == 401
    problem_of(secured.client.get("/verify"), 401, "unauthorized")
    problem_of(secured.client.get("/%76erify"), 401, "unauthorized")
    assert secured.client.get("/verify", headers=BEARER).json()["ok"]
    described = secured.client.get("/openapi.json").json()["paths"]["/verify"]["get"]
    assert described["security"] == [{"token": []}]


@pytest.mark.parametrize(
    "origin",
    [
        *("http://shop.example.com", "https://shop.example.com", "https://SHOP.example.com:8443"),
        *("http://other.example:18151", "app://other.example"),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1:PORT", "shop.example.com", "localhost:PORT"])
def test_a_page_of_an_allowed_name_may_call_whatever_a_proxy_makes_of_the_host(
    secured: Server, host: str, origin: str
) -> None:
    name = host.replace("PORT", str(secured.port))
    own = BEARER | JSON | {"host": name, "origin": origin}
    response = secured.client.post("/orders", headers=own, content=json.dumps(order("of-a-proxy")))
    assert response.status_code in {202, 200}, response.text


@pytest.mark.parametrize(
    "origin",
    [
        *("http://a.shop.example.com", "http://shop.example.com.evil.example", "shop.example.com"),
        *("http://x@shop.example.com", "http://shop.example.com/", "null", "//shop.example.com"),
        *("http://shop.example.com http://evil.example", "http://shop.example.com:99999999"),
    ],
)
def test_what_only_looks_like_an_allowed_name_is_foreign(secured: Server, origin: str) -> None:
    own = BEARER | {"host": f"127.0.0.1:{secured.port}", "origin": origin}
    problem_of(secured.client.post("/dead/retry", headers=own), 403, "foreign-origin")


@pytest.mark.parametrize("header", ["host", "origin"])
def test_a_refusal_says_which_setting_would_let_it_pass(secured: Server, header: str) -> None:
    value = {"host": "new.example:81", "origin": "https://new.example:81"}[header]
    problem = problem_of(secured.client.get("/", headers={header: value}), 403, f"foreign-{header}")
    assert (
        "HTTP_ALLOWED_HOSTS=shop.example.com,other.example,fd00::1,new.example" in problem["detail"]
    )


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_from_elsewhere_may_link_here_and_load_nothing(secured: Server, site: str) -> None:
    """Browsers send no Origin with pictures, frames and links, and say where they come from."""

    def found(path: str, dest: str, mode: str = "no-cors", site: str = site) -> int:
        told = {"sec-fetch-site": site, "sec-fetch-dest": dest, "sec-fetch-mode": mode}
        return secured.client.head(path, headers=told | BEARER).status_code

    assert found("/", "document", "navigate") == 200
    for dest in ("image", "iframe", "script", "empty", "object"):
        assert found("/status", dest) == 403
    for path in ("/verify", "/events"):
        assert found(path, "document", "navigate") == 403
        assert found(path, "empty", site="same-origin") == 200
        assert found(path, "document", "navigate", site="none") == 200


def test_every_answer_is_guarded_and_named(secured: Server) -> None:
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
            if not re.search("a-1|bulk|generator|dead", path)
        ),
    ]
    names = set()
    for code, method, path, headers, body in sent:
        response = secured.client.request(method, path, headers=BEARER | headers, content=body)
        assert response.status_code == code, (method, path, response.text)
        assert_guarded(response)
        names.add(response.headers["x-request-id"])
        if code >= 400:
            document = problem_of(response, code, response.json()["type"].rpartition("/")[2])
            described = secured.client.get(document["type"]).json()
            assert described["type"] == document["type"]
            assert (described["status"], described["title"]) == (code, document["title"])
    assert len(names) == len(sent)


@pytest.mark.parametrize("given", ["a", "A.b_c-9", "x" * 64])
@pytest.mark.parametrize("path", ["/status", "/nothing"])
def test_a_request_keeps_its_name(secured: Server, path: str, given: str) -> None:
    response = secured.client.get(path, headers={"x-request-id": given})
    assert response.headers["x-request-id"] == given
    eventually(lambda: secured.logged(request_id=given, path=path))


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "a,b", "é", "{}", '"a"', "a\\n"])
def test_an_unusable_name_is_replaced(secured: Server, given: str) -> None:
    headers = [(b"x-request-id", given.encode("latin-1"))]
    response = secured.client.get("/nothing", headers=headers)
    assert_guarded(response)
    assert response.headers["x-request-id"] != given
    problem_of(response, 404, "not-found")


@pytest.mark.parametrize("name", ["host", "origin", "authorization", "content-type"])
def test_a_header_by_which_a_request_is_judged_comes_once(secured: Server, name: str) -> None:
    sent = f"GET /status HTTP/1.1\r\nhost: localhost\r\n{name}: a\r\n{name}: b\r\n\r\n"
    with secured.connected() as connection:
        connection.sendall(sent.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
