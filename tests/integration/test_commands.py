"""Every command through the front door: what it prints, in which shape, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from shared.settings import Settings
from tests.orderly import COMMAND, ROOT, Orderly, Result
from tests.replay import read_journal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOTALS = {
    "created": int,
    "paid": int,
    "declined": int,
    "dead": int,
    "open": int,
    "paid_amount": dict,
}
RUN = TOTALS | {
    "mode": str,
    "run_id": str,
    "received": int,
    "duplicates": int,
    "rejected": int,
    "recovered": int,
    "seconds": float,
    "orders_per_second": float,
    "verified": bool,
}


def assert_shape(found: dict[str, Any], shape: dict[str, type]) -> None:
    assert {name: type(value) for name, value in found.items()} == shape


def assert_refused(result: Result, *words: str, code: int = 2) -> None:
    assert (result.code, result.out) == (code, ""), result
    (told,) = result.err.splitlines()
    assert told.startswith("orderly: ")
    for word in words:
        assert word in told


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Orderly:
    """A ledger of 200 generated orders, some of them dead and declined; look, but change nothing.

    ``report`` is what its run printed.
    """
    shop = Orderly(tmp_path_factory.mktemp("shop"), {"OPENING_BALANCE": "2000"})
    result = shop(
        "run",
        *("--orders", "200", "--seed", "7", "--json"),
        GATEWAY_FAULTS="permanent=0.1,seed=3",
    )
    assert result.code == 0, result
    (shop.folder / "report.json").write_text(result.out)
    return shop


@pytest.fixture(scope="module")
def report(shop: Orderly) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shop.folder / "report.json").read_text())
    return found


@pytest.fixture(scope="module")
def dead(shop: Orderly) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shop.json("dead", "list")
    return found


def test_run_prints_one_object_whose_sums_come_out(report: dict[str, Any]) -> None:
    assert_shape(report, RUN)
    assert (report["mode"], report["verified"]) == ("local", True)
    assert (report["received"], report["created"], report["recovered"]) == (200, 200, 0)
    assert report["received"] == report["created"] + report["duplicates"] + report["rejected"]
    settled = report["paid"] + report["declined"] + report["dead"]
    assert report["created"] == settled + report["open"]
    assert min(report["paid"], report["declined"], report["dead"]) > 0
    assert all(type(amount) is int for amount in report["paid_amount"].values())


def test_status_and_verify_print_the_same_totals_as_the_run(
    shop: Orderly, report: dict[str, Any]
) -> None:
    status, proof = shop.json("status"), shop.json("verify")
    assert_shape(status, TOTALS | {"mode": str, "ledger": str, "workers": list, "queue_depth": int})
    assert_shape(proof, TOTALS | {"ok": bool, "violations": list})
    assert (proof["ok"], proof["violations"]) == (True, [])
    for name in TOTALS:
        assert status[name] == proof[name] == report[name]
    assert (status["mode"], status["ledger"]) == ("local", "sqlite:///var/orderly.db")


def test_explain_tells_an_order_from_its_acceptance_to_its_transfer(shop: Orderly) -> None:
    orders = {order["order_id"]: order for order in read_journal(shop("journal").out)}
    outcomes = shop.books().status
    for status in "paid", "declined", "dead":
        order_id = next(each for each in outcomes if outcomes[each] == status)
        order, story = orders[order_id], shop.json("explain", order_id)
        assert story["status"] == status
        assert_shape(
            story,
            {
                "order_id": str,
                "customer_id": str,
                "status": str,
                "total": int,
                "currency": str,
                "partition": int,
                "number": int,
                "attempts": int,
                "transfers": list,
                "history": list,
            },
        )
        total = sum(item["quantity"] * item["unit_price"] for item in order["items"])
        assert (story["total"], story["currency"]) == (total, order["currency"])
        assert story["customer_id"] == order["customer_id"]
        assert [event["event"] for event in story["history"]] == ["accepted", status]
        assert all(datetime.fromisoformat(event["at"]) for event in story["history"])
        moved = [transfer["amount"] for transfer in story["transfers"]]
        assert moved == ([total] if status == "paid" else [])
    assert shop("explain", order_id).out.startswith(f"order     {order_id}\n")


def test_an_order_that_was_never_accepted_cannot_be_explained(shop: Orderly) -> None:
    assert_refused(shop("explain", "nobody-1"), "'nobody-1' was never accepted")


def test_dead_letters_are_listed_with_their_reasons(
    shop: Orderly, dead: list[dict[str, Any]], report: dict[str, Any]
) -> None:
    assert len(dead) == report["dead"]
    for letter in dead:
        assert {"order_id", "amount", "currency", "attempts", "reason", "settled_at"} <= set(letter)
        assert (letter["attempts"], letter["discarded_at"]) == (1, None)
        assert letter["reason"]
    lines = shop("dead", "list").out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [letter["order_id"] for letter in dead]
    assert lines[-1].startswith(f"{len(dead)} dead orders")


@pytest.mark.parametrize("what", ["retry", "discard"])
def test_what_is_not_dead_can_be_neither_retried_nor_discarded(
    shop: Orderly, dead: list[dict[str, Any]], what: str
) -> None:
    result = shop("dead", what, dead[0]["order_id"], "nobody-1", "nobody-2")
    assert_refused(result, "not dead: nobody-1, nobody-2", "nothing was changed")
    assert_refused(shop("dead", what), "name the orders, or say --all")
    assert shop.json("dead", "list") == dead


def test_config_tells_every_setting_its_value_and_where_it_came_from(shop: Orderly) -> None:
    found = shop.json("config", PAYMENT_WORKERS="3")
    assert set(found) == {name.upper() for name in Settings.model_fields}
    for name, setting in found.items():
        assert set(setting) == {"value", "from", "is"}
        given = name in {"PAYMENT_WORKERS", "OPENING_BALANCE"}
        assert setting["from"] == ("environment" if given else "default")
    assert (found["PAYMENT_WORKERS"]["value"], found["OPENING_BALANCE"]["value"]) == (3, 2000)


def test_a_setting_that_cannot_be_used_ends_every_command_in_one_line(tmp_path: Path) -> None:
    orderly = Orderly(tmp_path, {"QUEUE_MODE": "kafka", "PARTITIONS": "many"})
    for command in "run", "config":
        assert_refused(
            orderly(command), "QUEUE_MODE='kafka'", "local or redis", "PARTITIONS='many'"
        )
    secret = Orderly(tmp_path, {"LEDGER_URL": "mysql://clerk:gehe@im@host/orders"})
    result = secret("run")
    assert_refused(result, "LEDGER_URL='mysql://clerk:***@host/orders'")


@pytest.mark.parametrize(
    ("gateway", "words"),
    [
        ("own:Idle", "has no method charge(charge)"),
        ("own:Broken", "RuntimeError: no key for the bank"),
    ],
)
def test_a_gateway_that_cannot_be_used_stops_a_run_before_it_starts(
    tmp_path: Path, gateway: str, words: str
) -> None:
    (tmp_path / "own.py").write_text(
        "class Idle: ...\n"
        "class Broken:\n"
        "    def __init__(self):\n"
        "        raise RuntimeError('no key\\nfor the bank')\n"
    )
    orderly = Orderly(tmp_path, {"PAYMENT_GATEWAY": gateway})
    assert_refused(orderly("run", "--fresh"), f"PAYMENT_GATEWAY={gateway}", words)
    assert not orderly.ledger.exists()


@pytest.mark.parametrize("message", ["order", "batch", "payment"])
def test_schema_prints_a_json_schema(shop: Orderly, message: str) -> None:
    result = shop("schema", message)
    assert result.code == 0
    found = result.json
    assert (found["type"], found["additionalProperties"]) == ("object", False)
    assert set(found["required"]) <= set(found["properties"])
    references = [
        text.removeprefix("#/$defs/") for text in _values(found, "$ref") if isinstance(text, str)
    ]
    assert all(name in found["$defs"] for name in references)
    if message == "order":
        assert set(found["required"]) == {
            "order_id",
            "customer_id",
            "currency",
            "placed_at",
            "items",
        }


def _values(value: Any, key: str) -> Iterator[Any]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from _values(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner, key)


def test_generate_gives_the_same_orders_for_the_same_seed_and_a_longer_run_more(
    shop: Orderly,
) -> None:
    short, again = shop("generate", "50", "--seed", "9").out, shop("generate", "50", "--seed", "9")
    longer, other = shop("generate", "80", "--seed", "9").out, shop("generate", "50", "--seed", "8")
    assert again.out == short
    assert len(short.splitlines()) == 50
    assert longer.startswith(short)
    assert not set(other.out.splitlines()) & set(short.splitlines())


def test_generate_writes_the_same_orders_as_csv_and_as_json_lines(orderly: Orderly) -> None:
    for form in "csv", "jsonl":
        result = orderly("generate", "120", "--seed", "9", "--format", form)
        (orderly.folder / f"orders.{form}").write_text(result.out)
    report = orderly.json("run", "orders.csv", "orders.jsonl", "--orders", "130", "--seed", "9")
    assert (report["created"], report["duplicates"], report["rejected"]) == (130, 240, 0)
    expected = orderly("generate", "130", "--seed", "9").out.splitlines()
    assert sorted(orderly("journal").out.splitlines()) == sorted(expected)


def test_a_seed_is_chosen_and_told_where_none_is_given(shop: Orderly) -> None:
    result = shop("generate", "3")
    assert result.err.startswith("orderly: generating with --seed ")
    seed = result.err.split()[-1]
    assert shop("generate", "3", "--seed", seed).out == result.out


@pytest.mark.parametrize(
    ("command", "lines"),
    [(("journal",), 0), (("status",), 0), (("generate", "5000", "--seed", "1"), 1)],
)
def test_output_that_nobody_reads_to_its_end_ends_quietly(
    shop: Orderly, command: tuple[str, ...], lines: int
) -> None:
    process = shop.start(*command)
    assert process.stdout is not None
    assert process.stderr is not None
    for _ in range(lines):
        assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 0
    process.stderr.close()


@pytest.mark.parametrize("command", [("journal",), ("status",), ("generate", "5", "--seed", "1")])
def test_output_to_a_full_disk_is_told_in_one_line(shop: Orderly, command: tuple[str, ...]) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123  a device, not a file
        done = subprocess.run(
            [*COMMAND, *command],
            cwd=shop.folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert_refused(
        Result(done.returncode, "", done.stderr), "standard output", "No space left", code=3
    )


def test_output_into_a_pipe_has_no_escape_codes_and_a_narrow_alphabet_is_no_error(
    shop: Orderly,
) -> None:
    for command in "status", "config":
        result = shop(command, PYTHONIOENCODING="ascii", FORCE_COLOR="1", COLUMNS="40")
        assert result.code == 0, result
        assert result.out.isascii()
        assert "\x1b" not in result.out + result.err
    assert "= paid" in shop("status").out


def test_a_run_in_a_pipe_prints_plain_lines_and_nothing_on_standard_error(
    orderly: Orderly,
) -> None:
    result = orderly("run", "--orders", "5", "--seed", "1", FORCE_COLOR="1", COLUMNS="40")
    assert (result.code, result.err) == (0, "")
    assert "\x1b" not in result.out
    rows = dict(line.split(None, 1) for line in result.out.splitlines())
    assert (rows["received"], rows["created"], rows["verified"]) == ("5", "5", "yes")
    assert rows["seed"] == "1"


def test_a_run_on_a_terminal_draws_a_bar_on_standard_error(orderly: Orderly) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "run", "--orders", "2000", "--seed", "1", "--json"],
        cwd=orderly.folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = b""
    while chunk := _read(ours):
        drawn += chunk
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["created"] == 2000
    assert b"\x1b[" in drawn
    assert b"paid" in drawn


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other end of a terminal is closed
        return b""


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--orders", "-1"),
        ("run", "--no-such-option"),
        ("generate", "5", "--format", "xml"),
        ("explain",),
        ("no-such-command",),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused_with_exit_code_2(
    shop: Orderly, arguments: tuple[str, ...]
) -> None:
    result = shop(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "Traceback" not in result.err
    assert "Usage: " in result.err
    assert "\x1b" not in result.err
