"""The backend that benchmarks measure against counts rightly what a caller does to it."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.backend import HOST, running
from benchmarks.http_load import post

if TYPE_CHECKING:
    from benchmarks.backend import Running

ADA = {"account": "customer/ada/EUR", "amount": 700, "currency": "EUR", "reference": "é-1"}
BEN = ADA | {"account": "customer/ben/EUR", "reference": "b-1"}


def ask(backend: Running, *charges: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Ask for charges in one breath, so that all of them are out at once; return the answers."""
    requests = [
        post(backend.port, "/charges", json.dumps(body).encode(), f"Idempotency-Key: {key}")
        for key, body in charges
    ]
    answers = []
    with socket.create_connection((HOST, backend.port)) as connection:
        connection.sendall(b"".join(requests))
        received = connection.makefile("rb")
        for _ in charges:
            assert received.readline().startswith(b"HTTP/1.1 200")
            length = 0
            while line := received.readline().strip():
                name, _, value = line.partition(b": ")
                length = int(value) if name == b"Content-Length" else length
            answers.append(json.loads(received.read(length)))
    return answers


def test_it_echoes_each_charge_as_paid_and_counts_what_was_out_together() -> None:
    with running(0.01) as backend:
        assert ask(backend, ("k1", ADA)) == [
            {"id": "1", "key": "k1", "status": "paid", "reason": None, **ADA}
        ]
        counts = backend.counts()
        assert (counts.calls, counts.overlaps, counts.repeats, counts.most_out) == (1, 0, 0, 1)
        together = ask(backend, ("k2", ADA), ("k3", BEN), ("k4", ADA))
        assert [(answer["id"], answer["key"]) for answer in together] == [
            ("2", "k2"),
            ("3", "k3"),
            ("4", "k4"),
        ]
        counts = backend.counts()
        assert (counts.calls, counts.overlaps, counts.repeats, counts.most_out) == (4, 1, 0, 3)
        ask(backend, ("k1", ADA))
        counts = backend.counts()
        assert (counts.calls, counts.overlaps, counts.repeats, counts.out) == (5, 1, 1, 0)
        assert counts.cpu_seconds > 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/charges", "{", 400),
        ("POST", "/charges", "[]", 400),
        ("POST", "/charges", '{"account": "customer/ada/EUR"}', 400),
        ("GET", "/charges", None, 404),
    ],
)
def test_what_is_no_charge_is_refused_and_not_counted(
    method: str, path: str, body: str | None, status: int
) -> None:
    with running(0.0) as backend:
        with closing(HTTPConnection(HOST, backend.port)) as connection:
            connection.request(method, path, body)
            answer = connection.getresponse()
            assert answer.status == status
            assert "charge" in json.loads(answer.read())["error"]
        assert backend.counts().calls == 0
