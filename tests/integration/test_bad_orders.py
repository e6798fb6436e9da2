"""Bad orders among good ones: each is rejected by its line, and the rest is paid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.inputs import TIME, csv_of, line, row
from tests.support.intake import accepted, assert_counts, rejects, write
from tests.support.orderly import Orderly, assert_refused

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def orderly(tmp_path: Path) -> Orderly:
    """The command, with a single worker: here it is the intake that matters."""
    return Orderly(tmp_path, {"PAYMENT_WORKERS": "1"})


MAYBE_WRONG = csv_of(
    row("good-1"),
    row("negative", quantity="-1"),
    row("zero", quantity="0"),
    row("exponent", quantity="1e3"),
    row("grouped", quantity="1_000"),
    row("signed", quantity="+1"),
    row("blank", quantity=" 1"),
    row("arabic", quantity="\u0661"),
    row("nan", quantity="NaN"),
    row("empty", quantity=""),
    row("nul-sku", sku="S\0"),
    row("nul-id\0"),
    row("i d"),
    row("i/d"),
    row("i" * 65),
    row("too-many-decimals", price="1.234"),
    row("negative-price", price="-1.50"),
    "short,c1,USD",
    row("long") + ",more",
    row("stray-quote", sku='"S" 1"'),
    *[row("items")] * 501,
    row("huge", sku="x" * 10_000_000),
    *[row("total", quantity="1000000", price="10000000000")] * 10,
    row("two-faced"),
    row("two-faced").replace("c1", "c2"),
    row("two-faced-money"),
    row("two-faced-money").replace("USD", "EUR"),
    row("two-faced-time"),
    row("two-faced-time").replace("09:30", "09:31"),
    row("naive").replace(TIME, "2026-01-31T09:30:00"),
    row("impossible").replace(TIME, "2026-02-30T09:30:00Z"),
    row("unix").replace(TIME, "1769851800"),
    row("money").replace("USD", "XXX"),
    row("yen").replace("USD", "JPY"),
    row("apart"),
    row("good-2"),
    row("apart"),
    row("apart-money"),
    row("good-3"),
    row("apart-money", price="9.99"),
    row("good-dinar", price="1.234").replace("USD", "KWD"),
    row("good-yen", price="150").replace("USD", "JPY"),
)


@pytest.mark.long
def test_each_bad_order_of_a_csv_file_is_rejected_by_line_and_the_rest_is_paid(
    orderly: Orderly,
) -> None:
    write(orderly.folder, {"orders.csv": MAYBE_WRONG})
    report = orderly.json("run", "orders.csv", "--rejects", "rejects.jsonl")
    assert_counts(report, created=5, duplicates=0, rejected=32)
    assert accepted(orderly) == {"good-1", "good-2", "good-3", "good-dinar", "good-yen"}

    lines = {
        text.split(",")[0]: number
        for number, text in reversed(list(enumerate(MAYBE_WRONG.decode().split("\n"), 1)))
    }
    found = rejects(orderly.folder / "rejects.jsonl")
    assert len(found) == 32
    for each in found:
        assert sorted(each) == ["file", "line", "order_id", "reasons"]
        assert each["file"] == "orders.csv"
        assert each["reasons"]
        assert not each["order_id"].startswith("good-")
    where = {each["order_id"]: each["line"] for each in found}
    for name in ("negative", "short", "items", "total", "two-faced", "money", "yen", "apart"):
        assert where[name] == lines[name]
    orderly.assert_serial()


def test_the_same_file_again_is_duplicates_and_an_order_that_was_changed_a_conflict(
    orderly: Orderly,
) -> None:
    again = csv_of(row("one"), row("two", price="9.99"), row("three"))
    write(orderly.folder, {"orders.csv": csv_of(row("one"), row("two")), "again.csv": again})
    assert_counts(orderly.json("run", "orders.csv"), created=2, duplicates=0, rejected=0)
    report = orderly.json("run", "again.csv", "again.csv", "--rejects", "no.jsonl")
    assert_counts(report, created=1, duplicates=3, rejected=2)
    for each in rejects(orderly.folder / "no.jsonl"):
        assert each["reasons"] == ["order_id: was accepted before with other content"]
    orderly.assert_serial()


def test_each_bad_line_of_a_json_lines_file_is_rejected_and_the_rest_is_paid(
    orderly: Orderly,
) -> None:
    lines = [
        line("good-1"),
        line("huge", customer_id="x" * 10_000_000),
        line("float", items=[{"sku": "S-1", "quantity": 1.0, "unit_price": 1}]),
        line("boolean", items=[{"sku": "S-1", "quantity": True, "unit_price": 1}]),
        line("unknown", colour="red"),
        line("twice").replace("{", '{"customer_id": "c9", ', 1),
        line("nul-sku", items=[{"sku": "S\0", "quantity": 1, "unit_price": 1}]),
        line("nul\0id"),
        line("no-items", items=[]),
        line("infinite").replace('"quantity": 1', '"quantity": 1e999'),
        line("long").replace('"quantity": 1', f'"quantity": {"9" * 5000}'),
        "[]\n",
        "no json\n",
        "\n",
        "[" * 5000 + "\n",
        line("good-2"),
        line("good-2"),
        line("good-1", customer_id="c2"),
    ]
    write(orderly.folder, {"orders.jsonl": "".join(lines).encode()})
    report = orderly.json("run", "orders.jsonl")
    assert_counts(report, created=2, duplicates=1, rejected=14)
    assert accepted(orderly) == {"good-1", "good-2"}
    (path,) = orderly.ledger.parent.glob("orderly-rejects-*.jsonl")
    assert [each["line"] for each in rejects(path)] == [*range(2, 14), 15, 18]
    orderly.assert_serial()


def test_the_report_names_the_rejects_and_their_three_most_frequent_reasons(
    orderly: Orderly,
) -> None:
    rows = [row(f"zero-{each}", quantity="0") for each in range(4)]
    rows += [row(f"text-{each}", price="x") for each in range(3)]
    rows += [f"short-{each}" for each in range(2)]
    rows += [row("money").replace("USD", "XXX")]
    write(orderly.folder, {"orders.csv": csv_of(*rows, row("good"))})
    result = orderly("run", "orders.csv")
    assert result.code == 0
    (path,) = orderly.ledger.parent.glob("orderly-rejects-*.jsonl")
    reasons = [
        "quantity: must be at least 1 (4)",
        "unit_price: must be a plain decimal in major units, like 11.77 (3)",
        "line: must have 7 columns (2)",
    ]
    told = result.out.splitlines()[-2:]
    rejected = f"rejected: {'; '.join(reasons)}; and 1 more kind"
    assert told == [rejected, f"see var/{path.name}"]
    assert len(rejects(path)) == 10
    assert not result.err
    assert "\x1b" not in result.out


@pytest.mark.parametrize("what", ["the ledger", "the input", "a link to the input", "another file"])
def test_a_file_that_is_none_of_rejects_is_not_emptied_for_them(
    orderly: Orderly, what: str
) -> None:
    write(orderly.folder, {"good.csv": csv_of(row("o1"))})
    assert orderly("run", "good.csv").code == 0
    (orderly.folder / "notes.txt").write_text("mine")
    (orderly.folder / "link.csv").symlink_to("good.csv")
    names = {
        "the ledger": "var/orderly.db",
        "the input": "good.csv",
        "a link to the input": "link.csv",
        "another file": "notes.txt",
    }
    path = orderly.folder / names[what]
    before = path.read_bytes()
    for arguments in ("good.csv",), ("--orders", "5", "--seed", "1"):
        result = orderly("run", *arguments, "--rejects", names[what])
        assert_refused(result, f"--rejects {names[what]}: is there already", "name another file")
    assert path.read_bytes() == before
    assert orderly.totals()["created"] == 1


def test_a_file_of_rejects_is_replaced_and_is_for_its_owner_alone(orderly: Orderly) -> None:
    write(orderly.folder, {"bad.csv": csv_of(row("o1", price="free"))})
    for _ in range(2):
        assert orderly("run", "bad.csv", "--rejects", "no.jsonl").code == 0
    path = orderly.folder / "no.jsonl"
    assert len(rejects(path)) == 1
    assert path.stat().st_mode & 0o777 == 0o600
