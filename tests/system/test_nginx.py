"""Behind a real nginx: the page and what it does, orders, and connections that rest."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.eventually import eventually
from tests.support.ledgers import order, without_id
from tests.support.orderly import ROOT, Orderly
from tests.support.server import NDJSON, Server, answers, lines, problem_of
from tests.support.servers.daemon import free_port
from tests.support.servers.nginx_server import NginxServer

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

NAME = "shop.example.com"
# The lines that people write, from the fewest on; PORT is the service's.
USUAL = {
    "two lines": "location / {{ proxy_pass http://127.0.0.1:{service}; }}",
    "the usual headers": """location / {{
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-Proto https;
        proxy_set_header X-Forwarded-Host $host;
        proxy_pass http://127.0.0.1:{service};
    }}""",
    "below a path": """location /orderly/ {{
        proxy_set_header Host $http_host;
        proxy_pass http://127.0.0.1:{service}/;
    }}""",
    "kept connections": """location / {{
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_pass http://kept;
    }}""",
}
JSON = {"content-type": "application/json"}


class Proxied:
    """A service behind nginx, as a browser or a program elsewhere sees it."""

    def __init__(self, service: Server, ports: dict[str, int]) -> None:
        self.service = service
        self.ports = ports

    def url(self, way: str) -> str:
        path = "/orderly/" if "path" in way else "/"
        return f"http://127.0.0.1:{self.ports[way]}{path}"

    def call(self, way: str, method: str, path: str, name: str = NAME, **rest: Any) -> Any:
        """Call as from a page at its public name."""
        host = f"{name}:{self.ports[way]}"
        headers = {"host": host, "origin": f"http://{host}"} | rest.pop("headers", {})
        url = self.url(way) + path
        return httpx.request(method, url, headers=headers, trust_env=False, timeout=30, **rest)


def documented(block: int) -> str:
    """A block of the document's lines for nginx."""
    text = (ROOT / "docs" / "http.md").read_text()
    blocks: list[str] = re.findall(r"```nginx\n(.*?)```", text, flags=re.DOTALL)
    return blocks[block]


def written_down(service: int, port: int, below: int) -> str:
    """What the document says, with ports of these tests; below a path as well."""
    whole = documented(0).replace("127.0.0.1:8000", f"127.0.0.1:{service}")
    at_root = whole.replace("listen 80;", f"listen 127.0.0.1:{port};")
    server = at_root[at_root.index("server {") :].replace(str(port), str(below))
    path = re.sub(r"    location / \{\n.*?\n", documented(1), server, count=1, flags=re.DOTALL)
    return at_root + path


@contextmanager
def behind(service: Server) -> Iterator[Proxied]:
    ports = {way: free_port() for way in (*USUAL, "written down", "written down, below a path")}
    servers = [
        f"server {{ listen 127.0.0.1:{ports[way]}; {text.format(service=service.port)} }}"
        for way, text in USUAL.items()
    ]
    kept = f"upstream kept {{ server 127.0.0.1:{service.port}; keepalive 300; }}"
    book = written_down(service.port, ports["written down"], ports["written down, below a path"])
    nginx = NginxServer("\n".join([kept, *servers, book]), ports["two lines"])
    try:
        yield Proxied(service, ports)
    finally:
        nginx.close()


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    orderly = Orderly(tmp_path_factory.mktemp("proxied"), {"HTTP_ALLOWED_HOSTS": NAME})
    service = Server(orderly)
    try:
        with behind(service.start()) as proxied:
            yield proxied
        assert service.stop().code == 0, service.said
        orderly.assert_serial()
    finally:
        service.close()
        orderly.close()


WAYS = [*USUAL, "written down", "written down, below a path"]


@pytest.mark.parametrize("way", WAYS)
def test_the_page_and_its_buttons_work_behind_a_proxy(proxied: Proxied, way: str) -> None:
    page = proxied.call(way, "GET", "")
    assert page.status_code == 200
    parts = re.findall(r'(?:src|href)="(page/[^"]+)"', page.text)
    assert len(parts) > 3
    for path in parts:
        assert proxied.call(way, "GET", path).status_code == 200
    assert proxied.call(way, "POST", "dead/retry").status_code == 202
    with httpx.stream(
        "GET", proxied.url(way) + "events", headers={"host": NAME}, trust_env=False
    ) as events:
        assert next(iter(events.iter_lines())).startswith("retry:")


@pytest.mark.parametrize("way", WAYS)
def test_orders_come_in_through_a_proxy(proxied: Proxied, way: str) -> None:
    name = way.replace(" ", "-").replace(",", "")
    placed = proxied.call(way, "POST", "orders", content=json.dumps(order(name)), headers=JSON)
    assert placed.status_code == 202, placed.text
    where = placed.headers["location"]
    assert where.endswith(f"/orders/{name}")
    if way != "below a path":
        # Below a path nginx writes the whole address, with the name that it goes by.
        url = httpx.URL(proxied.url(way)).copy_with(raw_path=httpx.URL(where).raw_path)
        found = httpx.get(url, headers={"host": NAME}, trust_env=False)
        assert found.json()["order_id"] == name
    body = lines(order(f"{name}-{number}") for number in range(500))
    many = proxied.call(way, "POST", "orders/bulk", content=body, headers=NDJSON)
    assert {answer["code"] for answer in answers(many.content)} == {202}


@pytest.mark.parametrize("way", WAYS)
def test_the_documents_are_whole_behind_a_proxy(proxied: Proxied, way: str) -> None:
    links = re.findall(r'(?:src|href)="(docs/[^"]+)"', proxied.call(way, "GET", "docs").text)
    assert len(links) == 3
    for path in (*links, "openapi.json"):
        assert proxied.call(way, "GET", path).status_code == 200


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_behind_a_proxy_names_the_remedy(proxied: Proxied, way: str) -> None:
    kind = "foreign-origin" if way == "two lines" else "foreign-host"
    answer = proxied.call(way, "POST", "dead/retry", name="new.example.com")
    problem = problem_of(answer, 403, kind)
    assert problem["detail"].endswith(f"set HTTP_ALLOWED_HOSTS={NAME},new.example.com")
    foreign = {"origin": "https://evil.example"}
    problem_of(proxied.call(way, "POST", "dead/retry", headers=foreign), 403, "foreign-origin")
    forwarded = foreign | {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https"}
    problem_of(proxied.call(way, "POST", "dead/retry", headers=forwarded), 403, "foreign-origin")


def test_connections_that_rested_are_used_again(proxied: Proxied) -> None:
    """Where they had been cut meanwhile, a proxy would answer 502 to what it may not send twice."""

    def place(number: int) -> int:
        content = json.dumps(without_id(customer_id=f"c-{number}"))
        answer = proxied.call("kept connections", "POST", "orders", content=content, headers=JSON)
        return int(answer.status_code)

    def ask(bare: socket.socket) -> None:
        bare.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while not received.endswith(b'{"status":"ok"}'):
            piece = bare.recv(4096)
            assert piece, "it was cut"
            received += piece
        assert received.startswith(b"HTTP/1.1 200 ")

    with ThreadPoolExecutor(32) as senders, proxied.service.connected() as bare:
        ask(bare)
        assert set(senders.map(place, range(300))) == {202}
        since = time.monotonic()
        eventually(lambda: time.monotonic() - since > 6, what="a rest", within=20)
        ask(bare)
        assert set(senders.map(place, range(300))) == {202}
