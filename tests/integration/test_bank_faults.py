"""The bank fails as it is told to, on whom the seed says, and keeps its book right all the same."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.bank import Bank, problem_of
from tests.support.eventually import eventually
from tests.support.orderly import Orderly
from tests.support.server import read_all

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = b'{"account":"customer/ada/EUR","amount":100,"currency":"EUR","reference":"o-1"}'


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    """A running bank that may be told to fail."""
    orderly = Orderly(tmp_path_factory.mktemp("faulty-bank"), {"CHAOS": "1"})
    bank = Bank(orderly)
    try:
        bank.start()
        yield bank
        assert bank.stop(within=5).code == 0, bank.said
        assert not [each for each in bank.logs if each["event"] != "faults are set"]
    finally:
        bank.close()
        orderly.close()


@pytest.fixture
def faulty(running: Bank) -> Iterator[Bank]:
    """The same, which does not fail yet and will not when the test is over."""
    running.put_faults()
    yield running
    running.put_faults()


def request(key: str) -> bytes:
    head = f"POST /charges HTTP/1.1\r\nhost: bank\r\nidempotency-key: {key}\r\n"
    return f"{head}content-length: {len(BODY)}\r\n\r\n".encode() + BODY


def test_faults_are_shown_and_none_is_left_when_none_is_named(faulty: Bank) -> None:
    assert not any(faulty.client.get("/faults").json().values())
    faulty.put_faults(cut=0.25, latency_after=1, seed=7)
    shown = faulty.client.get("/faults").json()
    assert {name: each for name, each in shown.items() if each} == {
        "cut": 0.25,
        "latency_after": 1,
        "seed": 7,
    }
    faulty.put_faults()
    assert not any(faulty.client.get("/faults").json().values())


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"cutt": 0.5}, ["cutt: is not a known field"]),
        ({"cut": 1.5}, ["cut: must be at most 1", "1.5"]),
        ({"cut": -0.1}, ["cut: must be at least 0"]),
        ({"cut": True}, ["cut: must be a number"]),
        ({"cut": "0.5"}, ["cut: must be a number"]),
        ({"cut": 0.5, "timeout": 0.6}, ["cut, timeout", "at most 1, not 1.1"]),
        ({"latency_before": 601}, ["latency_before: must be at most 600"]),
        ({"outage": "total"}, ['outage: must be true, false, "silent" or "refused"']),
        ({"outage": 1}, ["outage: must be true"]),
        ({"forget": "yes"}, ["forget: must be true or false"]),
        ({"seed": 1.5}, ["seed: must be a whole number"]),
        ([], ["must be an object"]),
    ],
)
def test_what_is_wrong_with_a_fault_is_named(faulty: Bank, wanted: Any, words: list[str]) -> None:
    problem_of(faulty.client.put("/faults", json=wanted), 422, "invalid", *words)
    assert not any(faulty.client.get("/faults").json().values())


def test_faults_are_set_only_where_chaos_is_wanted(shared_bank: Bank) -> None:
    problem_of(shared_bank.client.put("/faults", json={"cut": 1}), 403, "no-chaos", "CHAOS=1")
    assert not any(shared_bank.client.get("/faults").json().values())


@pytest.mark.parametrize(
    ("fault", "status", "name"),
    [("fail_before", 500, "failed"), ("throttle", 429, "throttled"), ("refuse", 400, "refused")],
)
def test_what_fails_before_the_charge_charges_nothing(
    faulty: Bank, fault: str, status: int, name: str
) -> None:
    key = f"{fault}~o-1~1"
    faulty.put_faults(**{fault: 1})
    response = faulty.charge(key)
    problem_of(response, status, name)
    assert ("retry-after" in response.headers) == (fault == "throttle")
    faulty.put_faults()
    assert not faulty.charges(key=key)
    response = faulty.charge(key)
    assert response.status_code == 200
    assert "idempotent-replayed" not in response.headers


def test_an_answer_that_is_lost_was_charged_and_comes_when_asked_for_again(faulty: Bank) -> None:
    faulty.put_faults(lost_after=1)
    assert faulty.exchange(request("lost~o-1~1")) == b""
    assert faulty.balance(ledger="lost") == 99_900
    faulty.put_faults()
    assert faulty.charge("lost~o-1~1").headers["idempotent-replayed"] == "true"
    assert faulty.balance(ledger="lost") == 99_900


def test_an_answer_that_is_cut_was_charged_and_ends_in_its_middle(faulty: Bank) -> None:
    faulty.put_faults(cut=1)
    received = faulty.exchange(request("cut~o-1~1"))
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    faulty.put_faults()
    whole = faulty.charge("cut~o-1~1")
    assert whole.headers["idempotent-replayed"] == "true"
    assert f"content-length: {len(whole.content)}".encode() in head
    assert whole.content.startswith(body)
    assert 0 < len(body) < len(whole.content)


def test_of_those_that_are_never_answered_some_are_charged(faulty: Bank) -> None:
    faulty.put_faults(timeout=1, seed=3)
    keys = [f"late~{number}~1" for number in range(16)]
    for key in keys:
        with faulty.connected() as connection:
            connection.sendall(request(key))
            connection.settimeout(0.05)
            with pytest.raises(TimeoutError):
                connection.recv(1)
    faulty.put_faults()
    answers = [faulty.charge(key) for key in keys]
    assert {each.status_code for each in answers} == {200}
    assert 0 < sum("idempotent-replayed" in each.headers for each in answers) < len(keys)
    assert faulty.balance(ledger="late") == 100_000 - 1600


def test_who_waits_for_an_answer_that_never_comes_is_let_go_at_the_end(bank: Bank) -> None:
    bank.orderly.environment["CHAOS"] = "1"
    bank.start()
    bank.put_faults(timeout=1)
    with bank.connected() as waiting:
        waiting.sendall(request("L~o-1~1"))
        eventually(lambda: bank.client.get("/charges").status_code == 200)
        assert bank.stop(signal.SIGTERM, within=5).code == 0
        assert read_all(waiting) == b""


@pytest.mark.parametrize("when", ["latency_before", "latency_after"])
def test_a_charge_takes_as_long_as_it_is_told_before_or_after(faulty: Bank, when: str) -> None:
    key = f"{when}~o-1~1"
    faulty.put_faults(**{when: 1})
    started = time.monotonic()
    thread = threading.Thread(target=faulty.charge, args=(key,))
    thread.start()
    if when == "latency_after":
        eventually(lambda: faulty.query("SELECT 1 FROM charges WHERE key = ?", key), within=0.9)
        assert thread.is_alive(), "it is charged, and not answered"
    thread.join()
    assert 1 <= time.monotonic() - started < 5
    assert len(faulty.charges(key=key)) == 1


def test_latency_varies_by_its_jitter_and_no_more(faulty: Bank) -> None:
    faulty.put_faults(latency_before=0.1, jitter=0.5)
    taken = []
    for number in range(12):
        started = time.monotonic()
        faulty.charge(f"jitter~{number}~1")
        taken.append(time.monotonic() - started)
    assert min(taken) >= 0.05
    assert sorted(taken)[6] < 0.2
    assert max(taken) - min(taken) > 0.02


def test_a_charge_whose_client_has_gone_goes_through(faulty: Bank) -> None:
    faulty.put_faults(latency_before=0.2)
    with faulty.connected() as connection:
        connection.sendall(request("gone~o-1~1"))
    eventually(lambda: faulty.charges(key="gone~o-1~1"))
    faulty.put_faults()
    assert faulty.charge("gone~o-1~1").headers["idempotent-replayed"] == "true"


def test_in_an_outage_everybody_is_told_to_come_again(faulty: Bank) -> None:
    faulty.put_faults(outage=True)
    for response in (
        faulty.charge("outage~o-1~1"),
        faulty.client.get("/charges"),
        faulty.client.get("/accounts/customer/ada/EUR"),
        faulty.client.get("/healthz"),
    ):
        problem_of(response, 503, "unavailable")
        assert response.headers["retry-after"] == "1"
    faulty.put_faults()
    assert not faulty.charges(ledger="outage")


def test_in_a_silent_outage_nobody_is_told_anything(faulty: Bank) -> None:
    faulty.put_faults(outage="silent")
    with faulty.connected() as connection:
        connection.sendall(request("silent~o-1~1"))
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    faulty.put_faults()
    assert not faulty.charges(ledger="silent")


def test_in_a_refusing_outage_the_connection_ends_at_once(faulty: Bank) -> None:
    faulty.put_faults(outage="refused")
    assert faulty.exchange(request("closed~o-1~1")) == b""
    assert faulty.exchange(b"GET /healthz HTTP/1.1\r\nhost: bank\r\n\r\n") == b""
    faulty.put_faults()
    assert not faulty.charges(ledger="closed")


def test_credentials_may_be_wrong_whatever_they_are(faulty: Bank) -> None:
    faulty.put_faults(credentials=True)
    response = faulty.charge("who~o-1~1")
    problem_of(response, 401, "unauthorized", "Authorization")
    assert response.headers["www-authenticate"] == "Bearer"
    problem_of(faulty.client.get("/charges"), 401, "unauthorized")
    assert faulty.client.get("/healthz").status_code == 200
    faulty.put_faults()
    assert not faulty.charges(ledger="who")


def test_who_looks_up_does_not_see_what_is_younger_than_the_lag(faulty: Bank) -> None:
    faulty.charge("lag~o-1~1")
    faulty.put_faults(lookup_lag=600)
    faulty.charge("lag~o-2~1", reference="lag-2")
    assert not faulty.charges(key="lag~o-2~1")
    assert not faulty.charges(reference="lag-2")
    assert not faulty.charges()
    path = "/accounts/customer/ada/EUR"
    problem_of(faulty.client.get(path, params={"ledger": "lag"}), 404, "unknown-account")
    assert faulty.charge("lag~o-2~1", reference="lag-2").headers["idempotent-replayed"] == "true"
    faulty.put_faults(lookup_lag=0.3)
    eventually(lambda: faulty.charges(key="lag~o-2~1"))
    assert faulty.balance(ledger="lag") == 99_800
    faulty.charge("lag~o-3~1")
    assert faulty.balance(ledger="lag") == 99_800, "what was just taken is still there to see"
    eventually(lambda: faulty.balance(ledger="lag") == 99_700)


def test_keys_that_are_forgotten_are_charged_again_and_all_of_it_is_found(faulty: Bank) -> None:
    assert faulty.charge("forget~o-1~1", reference="forget").status_code == 200
    faulty.put_faults(forget=True, latency_before=0.2)
    answers = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(faulty.charge("forget~o-1~1", reference="forget"))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.status_code for each in answers] == [200, 200]
    assert not [each for each in answers if "idempotent-replayed" in each.headers]
    faulty.put_faults()
    found = faulty.charges(key="forget~o-1~1")
    assert len({each["id"] for each in found}) == 3
    assert faulty.charges(reference="forget") == found
    assert faulty.balance(ledger="forget") == 99_700
    assert faulty.charge("forget~o-1~1", reference="forget").json() == found[0]


def outcomes(bank: Bank, ledger: str, keys: int = 200, **faults: Any) -> list[str]:
    """Ask for many charges until each is answered; write down what happened on the way."""
    bank.put_faults(**faults)
    met = []
    with httpx.Client(base_url=bank.url, trust_env=False, timeout=30) as client:
        for number in range(keys):
            answer = ""
            while answer not in {"200", "400"}:
                asked = {"idempotency-key": f"{ledger}~{number}~1"}
                try:
                    answer = str(client.post("/charges", content=BODY, headers=asked).status_code)
                except httpx.RemoteProtocolError as error:
                    answer = "cut" if "body" in str(error) else "lost"
                met.append(f"{number}: {answer}")
    return met


def test_the_seed_says_whom_the_faults_hit_whatever_else_happens(bank: Bank) -> None:
    bank.orderly.environment["CHAOS"] = "1"
    names = ("fail_before", "throttle", "lost_after", "cut", "refuse")
    shares: dict[str, Any] = dict.fromkeys(names, 0.1) | {"seed": 11}
    bank.start()
    first = outcomes(bank, "L", **shares)
    counts = Counter(each.split()[1] for each in first)
    for name in ("500", "429", "lost", "cut", "400"):
        assert 6 <= counts[name] <= 50, counts
    assert counts["200"] + counts["400"] == 200
    paid = bank.charges()
    assert len(paid) == len({each["key"] for each in paid}) == counts["200"]
    assert outcomes(bank, "L", **shares) == first, "although they are charged already"
    bank.stop()
    bank.start(port=bank.port)
    assert outcomes(bank, "L", **shares) == first, "although it was started again"
    assert outcomes(bank, "L", **(shares | {"seed": 12})) != first


def test_shares_that_add_up_to_one_spare_nobody(faulty: Bank) -> None:
    faulty.put_faults(refuse=0.5, fail_before=0.25, throttle=0.25)
    answers = Counter(faulty.charge(f"all~{number}~1").status_code for number in range(60))
    assert set(answers) == {400, 500, 429}, answers
