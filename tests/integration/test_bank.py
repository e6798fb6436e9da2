"""The bank keeps its promises: a key is charged once, by what the account holds, for ever."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.bank import Bank, problem_of
from tests.support.eventually import eventually
from tests.support.strategies import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNT = "customer/ada/EUR"


def test_a_charge_is_paid_and_told_whole(shared_bank: Bank) -> None:
    response = shared_bank.charge("told~o-1~1", 700)
    assert response.status_code == 200
    assert "idempotent-replayed" not in response.headers
    charge = response.json()
    assert isinstance(charge.pop("id"), int)
    assert charge == {
        "key": "told~o-1~1",
        "reference": "o-1",
        "account": ACCOUNT,
        "amount": 700,
        "currency": "EUR",
        "status": "paid",
        "reason": None,
    }
    assert shared_bank.balance(ledger="told") == 99_300


def test_what_an_account_does_not_hold_is_declined_and_leaves_it_as_it_was(
    shared_bank: Bank,
) -> None:
    assert shared_bank.charge("poor~o-1~1", 99_999).status_code == 200
    response = shared_bank.charge("poor~o-2~1", 2, reference="o-2")
    assert response.status_code == 402
    assert (response.json()["status"], response.json()["reason"]) == (
        "declined",
        "insufficient funds",
    )
    assert shared_bank.charge("poor~o-3~1", 1).status_code == 200, "the last of it"
    assert shared_bank.charge("poor~o-4~1", 0).status_code == 200, "nothing is always there"
    assert shared_bank.balance(ledger="poor") == 0


@pytest.mark.parametrize("amount", [100, 2**63 - 1], ids=["paid", "declined"])
def test_a_key_replays_its_first_answer_byte_by_byte(shared_bank: Bank, amount: int) -> None:
    key = f"replay~{amount}~1"
    first, again = shared_bank.charge(key, amount), shared_bank.charge(key, amount)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert len(shared_bank.charges(key=key)) == 1


@pytest.mark.parametrize(
    "other",
    [{"amount": 101}, {"account": "customer/bob/EUR"}, {"currency": "USD"}, {"reference": "o-2"}],
    ids=lambda other: next(iter(other)),
)
def test_a_key_with_other_parameters_is_refused(shared_bank: Bank, other: dict[str, Any]) -> None:
    (name,) = other
    key = f"other~{name}~1"
    assert shared_bank.charge(key).status_code == 200
    problem_of(shared_bank.charge(key, **other), 422, "other-parameters", name, key)
    assert shared_bank.charge(key).headers["idempotent-replayed"] == "true"


def test_an_account_of_two_ledgers_is_two_accounts(shared_bank: Bank) -> None:
    account = "customer/two/EUR"
    for ledger, key, amount in [
        ("north", "north~o-1~1", 1),
        ("south", "south~o-1~1", 20),
        ("south", "south~o-2~1", 300),
        ("", "of-no-ledger", 4000),
    ]:
        assert shared_bank.charge(key, amount, account=account).status_code == 200, ledger
    assert shared_bank.balance(account, ledger="north") == 99_999
    assert shared_bank.balance(account, ledger="south") == 99_680
    assert shared_bank.balance(account, ledger="") == 96_000
    assert [each["amount"] for each in shared_bank.charges(ledger="south")] == [20, 300]
    assert shared_bank.charges(reference="o-1", ledger="south") == shared_bank.charges(
        ledger="south"
    )
    assert not shared_bank.charges(key="south~o-1~1", ledger="north")
    problem_of(shared_bank.client.get(f"/accounts/{account}"), 422, "ambiguous", "'north', 'south'")
    unknown = shared_bank.client.get(f"/accounts/{account}", params={"ledger": "west"})
    problem_of(unknown, 404, "unknown-account", account)


def test_an_account_is_charged_in_its_own_currency_alone(shared_bank: Bank) -> None:
    assert shared_bank.charge("money~o-1~1").status_code == 200
    response = shared_bank.charge("money~o-2~1", currency="JPY", reference="o-2")
    problem_of(response, 422, "other-currency", "currency: must be EUR", ACCOUNT)
    assert shared_bank.charge("money~o-2~1", reference="o-2").status_code == 200


def test_charges_are_found_by_key_and_by_reference_and_all_of_them(shared_bank: Bank) -> None:
    for generation, amount in enumerate([100, 10**9, 100], start=1):
        shared_bank.charge(f"find~o-1~{generation}", amount, reference="find-1")
    shared_bank.charge("find~o-2~1", reference="find-2")
    found = shared_bank.charges(reference="find-1")
    assert [each["status"] for each in found] == ["paid", "declined", "paid"]
    assert shared_bank.charges(key="find~o-1~2") == [found[1]]
    whole = shared_bank.charges(ledger="find")
    assert whole[:-1] == found
    assert [each["id"] for each in whole] == sorted(each["id"] for each in whole)
    assert shared_bank.client.get("/charges", params={"ledger": "find"}).json() == whole
    assert not shared_bank.charges(reference="never")


def test_the_whole_book_is_read_a_thousand_at_a_time(bank: Bank) -> None:
    bank.start()
    with ThreadPoolExecutor(8) as several:
        answers = several.map(lambda n: bank.charge(f"L~{n}~1", 1), range(2500))
        assert {each.status_code for each in answers} == {200}
    pages = []
    after = 0
    while page := bank.client.get("/charges", params={"after": after}).json():
        pages.append(len(page))
        after = page[-1]["id"]
    assert pages == [1000, 1000, 500]
    whole = bank.charges()
    assert len({each["key"] for each in whole}) == 2500
    assert [each["id"] for each in whole] == sorted({each["id"] for each in whole})
    assert bank.balance() == 97_500


def test_two_requests_of_a_key_at_once_are_one_charge(bank: Bank) -> None:
    bank.orderly.environment["CHAOS"] = "1"
    bank.start()
    bank.put_faults(latency_before=0.5)
    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(bank.charge, ["L~o-1~1"] * 2))
    first, second = sorted(answers, key=lambda each: each.status_code)
    assert first.status_code == 200
    problem_of(second, 409, "key-in-use", "L~o-1~1")
    assert int(second.headers["retry-after"]) >= 1
    again = bank.charge("L~o-1~1")
    assert (again.status_code, again.content) == (200, first.content)
    assert bank.balance() == 99_900


def test_whatever_kills_it_every_answer_is_in_the_book_and_each_key_once(bank: Bank) -> None:
    bank.start()
    told: dict[str, bytes] = {}
    for life in range(3):
        keys = iter([f"L~{life}-{number}~1" for number in range(20_000)])
        flood = ThreadPoolExecutor(8)
        threads = [flood.submit(_charge_until_it_dies, bank, keys, told) for _ in range(8)]
        before = len(told)
        eventually(lambda before=before: len(told) > before + 200, within=30)  # type: ignore[misc]
        asked_for_in_vain = [f"L~{life}-{number}~1" for number in range(len(told) - before)]
        bank.send(signal.SIGKILL)
        for thread in threads:
            thread.result(timeout=30)
        flood.shutdown()
        bank.wait()
        bank.start(port=bank.port)
        for key in asked_for_in_vain[-100:]:  # those too whose answer was lost: none is locked
            assert bank.charge(key, 1).status_code == 200
    kept = bank.charges()
    assert len({each["key"] for each in kept}) == len(kept)
    documents = {each["key"]: each for each in kept}
    for key, answer in told.items():
        assert httpx.Response(200, content=answer).json() == documents[key]
    assert bank.balance() == 100_000 - len(kept)
    assert bank.query("PRAGMA integrity_check") == [("ok",)]


def _charge_until_it_dies(bank: Bank, keys: Iterator[str], told: dict[str, bytes]) -> None:
    asked = {"account": ACCOUNT, "amount": 1, "currency": "EUR", "reference": "o-1"}
    with httpx.Client(base_url=bank.url, trust_env=False) as client:
        while True:
            key = next(keys)
            try:
                answer = client.post("/charges", json=asked, headers={"idempotency-key": key})
            except httpx.TransportError:
                return
            assert answer.status_code == 200
            told[key] = answer.content


_requests = st.tuples(
    st.sampled_from(["A~1~", "A~2~", "B~1~", "A~~", "~1~", "none"]),
    st.sampled_from(["a", "b"]),
    st.integers(0, 60_000) | st.sampled_from([100_000, 100_001, 2**63 - 1]),
    st.sampled_from(["r-1", "r-2"]),
)


@settings(max_examples=examples(60), deadline=None)
@given(sequence=st.lists(_requests, max_size=12))
def test_any_sequence_of_charges_comes_out_as_in_a_plain_dictionary(
    shared_bank: Bank, sequence: list[tuple[str, str, int, str]]
) -> None:
    turn = uuid4()  # not of hypothesis, which would try the same one again
    balances: dict[tuple[str, str], int] = {}
    known: dict[str, tuple[tuple[str, int, str], str]] = {}
    for beginning, customer, amount, reference in sequence:
        key, account = f"{beginning}{turn}", f"customer/{customer}-{turn}/EUR"
        response = shared_bank.charge(key, amount, account=account, reference=reference)
        asked = (account, amount, reference)
        if key in known and known[key][0] != asked:
            problem_of(response, 422, "other-parameters")
            continue
        assert ("idempotent-replayed" in response.headers) == (key in known)
        if key not in known:
            book = beginning.partition("~")[0] if "~" in beginning else ""
            left = balances.setdefault((book, account), 100_000)
            known[key] = asked, "paid" if amount <= left else "declined"
            balances[book, account] -= amount if amount <= left else 0
        assert response.json()["status"] == known[key][1]
        assert response.status_code == {"paid": 200, "declined": 402}[known[key][1]]
    for (book, account), balance in balances.items():
        assert shared_bank.balance(account, ledger=book) == balance


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_when_what_was_asked_is_answered(
    bank: Bank, number: signal.Signals
) -> None:
    bank.orderly.environment["CHAOS"] = "1"
    bank.start()
    bank.put_faults(latency_after=30)
    with ThreadPoolExecutor(1) as other, bank.connected() as idle, bank.connected() as half:
        half.sendall(b"PUT /faults HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        answer = other.submit(bank.charge, "L~o-1~1")
        eventually(lambda: bank.query("SELECT 1 FROM charges"))
        assert bank.stop(number, within=5).code == 0, bank.said
        assert answer.result().status_code == 200
        assert (idle.recv(1), half.recv(1)) == (b"", b"")
