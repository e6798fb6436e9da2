"""The bank takes nothing that is not meant for it: from strangers, too much, or too slowly."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bank import Bank, problem_of
from tests.support.eventually import eventually
from tests.support.server import BEARER, TOKEN, read_all

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {"account": "customer/ada/EUR", "amount": 100, "currency": "EUR", "reference": "o-1"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"amount": True}, "amount: must be a whole number"),
        ({"amount": 1.0}, "amount: must be a whole number"),
        ({"amount": "100"}, "amount: must be a whole number"),
        ({"amount": None}, "amount: must be a whole number"),
        ({"amount": -1}, "amount: must be at least 0"),
        ({"amount": 2**63}, "amount: must be at most 9,223,372,036,854,775,807"),
        ({"amount": 10**400}, "amount: must be"),
        ({"account": ""}, "account: must not be empty"),
        ({"account": "a b"}, "account: must be printable ASCII without blanks"),
        ({"account": "a\u0000"}, "account: must be printable ASCII without blanks"),
        ({"account": "ä"}, "account: must be printable ASCII without blanks"),
        ({"account": "a" * 201}, "account: must have at most 200 characters"),
        ({"account": ["a"]}, "account: must be a string"),
        ({"reference": ""}, "reference: must not be empty"),
        ({"reference": "a\n"}, "reference: must be printable ASCII without blanks"),
        ({"reference": 7}, "reference: must be a string"),
        ({"currency": "eur"}, "currency: must be three capitals like EUR"),
        ({"currency": "EURO"}, "currency: must be three capitals like EUR"),
        ({"currency": "EUR\n"}, "currency: must be three capitals like EUR"),
        ({"tip": 1}, "tip: is not a known field"),
        ({"status": "paid"}, "status: is not a known field"),
    ],
)
def test_what_breaks_a_rule_is_named_and_not_charged(
    shared_bank: Bank, changed: dict[str, Any], words: str
) -> None:
    response = _post(shared_bank, json.dumps(GOOD | changed).encode(), "rules~1~1")
    problem_of(response, 422, "invalid", words)
    assert response.json()["errors"][0]["where"] == next(iter(changed))
    assert not shared_bank.charges(ledger="rules")


@pytest.mark.parametrize("missing", GOOD)
def test_what_is_missing_is_named(shared_bank: Bank, missing: str) -> None:
    body = json.dumps({name: value for name, value in GOOD.items() if name != missing}).encode()
    problem_of(_post(shared_bank, body, "rules~1~1"), 422, "invalid", f"{missing}: is required")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"\xef\xbb\xbf{}", b'{"account": "\\ud800"}'],
)
def test_what_is_no_json_is_told_so(shared_bank: Bank, body: bytes) -> None:
    problem_of(_post(shared_bank, body, "rules~1~1"), 400, "not-json", "body: must be JSON")


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"7", b"null"])
def test_what_is_no_object_is_told_so(shared_bank: Bank, body: bytes) -> None:
    problem_of(_post(shared_bank, body, "rules~1~1"), 422, "invalid", "body: must be an object")


@pytest.mark.parametrize(
    "keys",
    [[], [b""], [b"k" * 256], [b"a b"], [b"\xc3\xa4"], [b"one", b"two"]],
    ids=["none", "empty", "long", "blank", "umlaut", "two"],
)
def test_a_charge_without_one_proper_key_is_refused(shared_bank: Bank, keys: list[bytes]) -> None:
    given = [(b"idempotency-key", key) for key in keys]
    response = shared_bank.client.post("/charges", content=json.dumps(GOOD), headers=given)
    problem_of(response, 400, "no-key", "Idempotency-Key: ")


def test_the_longest_key_and_the_longest_names_are_taken(shared_bank: Bank) -> None:
    response = shared_bank.charge(
        "longest~" + "k" * 247, 2**63 - 1, account="a" * 200, reference="r" * 200
    )
    assert response.status_code == 402


@pytest.mark.parametrize("announces", [True, False])
def test_a_body_that_is_too_long_is_not_read(shared_bank: Bank, *, announces: bool) -> None:
    body = json.dumps(GOOD).encode() + b" " * (64 * 1024)
    pieces: Any = body if announces else iter([body])
    response = shared_bank.client.post(
        "/charges", content=pieces, headers={"idempotency-key": "long~1~1"}
    )
    problem_of(response, 400, "too-large", "at most 65,536 bytes")
    assert response.headers["connection"] == "close"
    assert not shared_bank.charges(ledger="long")


def test_a_body_that_says_it_is_too_long_is_not_waited_for(shared_bank: Bank) -> None:
    started = time.monotonic()
    received = shared_bank.exchange(
        b"POST /charges HTTP/1.1\r\nhost: x\r\nidempotency-key: long~2~1\r\n"
        b"content-length: 65537\r\n\r\n{"
    )
    assert received.startswith(b"HTTP/1.1 400 ")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("key=a&reference=b", "key and reference: must be asked for one at a time"),
        ("key=a&after=1", "key and after: must be asked for one at a time"),
        ("after=x", "after: must be a charge's id"),
        ("after=-1", "after: must be a charge's id"),
        ("after=", "after: must be a charge's id"),
        ("after=9223372036854775808", "after: must be a charge's id"),
        ("after=1&after=2", "after: must be given once"),
        ("order=1", "order: is not one of after, key, ledger, reference"),
    ],
)
def test_what_is_wrong_with_a_look_up_is_named(shared_bank: Bank, query: str, words: str) -> None:
    problem_of(shared_bank.client.get(f"/charges?{query}"), 422, "invalid", words)


def test_what_is_not_there_is_told_so(shared_bank: Bank) -> None:
    client = shared_bank.client
    problem_of(client.get("/elsewhere"), 404, "not-found")
    problem_of(client.post("/charges/", json=GOOD), 404, "not-found")
    problem_of(client.get("/accounts/customer/nobody/EUR"), 404, "unknown-account", "nobody")
    for path, methods in {"/charges": {"POST"}, "/faults": {"PUT"}}.items():
        response = client.delete(path)
        problem_of(response, 405, "method-not-allowed")
        assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", *methods}
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/problems/key-in-use").json()["status"] == 409


def test_the_token_is_asked_for_by_everything_but_its_health(bank: Bank, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    bank.orderly.environment |= {"API_TOKEN_FILE": str(tmp_path / "token"), "CHAOS": "1"}
    bank.start()
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}):
        for method, path in [
            ("POST", "/charges"),
            ("GET", "/charges"),
            ("GET", "/accounts/a"),
            ("GET", "/faults"),
            ("PUT", "/faults"),
            ("GET", "/elsewhere"),
        ]:
            response = bank.client.request(method, path, headers=headers)
            problem_of(response, 401, "unauthorized", "API_TOKEN")
            assert response.headers["www-authenticate"] == "Bearer"
    assert bank.client.get("/healthz").status_code == 200
    bank.client.headers.update(BEARER)
    assert bank.charge("L~o-1~1").status_code == 200
    bank.put_faults(credentials=True, outage=True)
    assert bank.client.put("/faults", json={}, headers={"authorization": "x"}).status_code == 401
    bank.put_faults()
    assert len(bank.charges()) == 1
    assert TOKEN not in "".join(bank.said)


def test_a_head_that_has_no_end_is_refused(shared_bank: Bank) -> None:
    endless = b"GET /healthz HTTP/1.1\r\nx: " + b"a" * 20_000
    assert shared_bank.exchange(endless).startswith(b"HTTP/1.1 431 ")
    assert shared_bank.exchange(b"this is no HTTP\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_who_sends_too_slowly_is_ended_and_who_is_quick_is_not(shared_bank: Bank) -> None:
    with ExitStack() as slow:
        head = slow.enter_context(shared_bank.connected())
        head.sendall(b"POST /charges HT")
        body = slow.enter_context(shared_bank.connected())
        body.sendall(
            b"POST /charges HTTP/1.1\r\nhost: x\r\nidempotency-key: slow~1~1\r\n"
            b"content-length: 90\r\n\r\n{"
        )
        assert shared_bank.client.get("/healthz").status_code == 200
        assert read_all(head).startswith(b"HTTP/1.1 408 ")
        assert read_all(body).startswith(b"HTTP/1.1 408 ")
    assert not shared_bank.charges(ledger="slow")


@pytest.mark.anew
def test_more_connections_than_there_may_be_are_told_to_come_again(bank: Bank) -> None:
    bank.start(preexec_fn=_few_descriptors)
    with ExitStack() as crowd:
        refused = None
        for _ in range(400):
            connection = crowd.enter_context(socket.create_connection(("127.0.0.1", bank.port)))
            connection.settimeout(0.02)
            try:
                refused = connection.recv(1000)
            except TimeoutError:
                continue
            break
        assert refused is not None
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in refused
    eventually(lambda: bank.charge("L~o-1~1").status_code == 200)
    assert bank.stop().code == 0
    assert not bank.logs


def _few_descriptors() -> None:
    import resource  # noqa: PLC0415  in the child alone

    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


def _post(bank: Bank, body: bytes, key: str) -> Any:
    return bank.client.post("/charges", content=body, headers={"idempotency-key": key})
