"""Through the front door: an order is charged with its whole total, or with nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.inputs import csv_of, row
from tests.support.intake import accepted, assert_counts, rejects, write
from tests.support.orderly import Orderly

if TYPE_CHECKING:
    from pathlib import Path

APART = csv_of(row("s-1"), row("s-2"), row("s-1", price="9.00"), row("s-3"))


@pytest.fixture
def orderly(tmp_path: Path) -> Orderly:
    """The command, with a single worker: here it is the intake that matters."""
    return Orderly(tmp_path, {"PAYMENT_WORKERS": "1"})


@pytest.mark.long
def test_an_order_with_a_line_end_in_quotes_is_rejected_whole_and_its_mended_file_is_taken(
    orderly: Orderly,
) -> None:
    text = f'"gift card, text:\n{row("q-9", customer="bob", price="999.00")}\n"'
    bad = csv_of(row("q-1"), row("q-1", sku=text), row("q-1"), row("q-2"))
    good = csv_of(row("q-1"), row("q-1", sku="gift card"), row("q-1"))
    write(orderly.folder, {"bad.csv": bad, "good.csv": good})
    report = orderly.json("run", "bad.csv", "--rejects", "rejects.jsonl")
    assert_counts(report, created=1, duplicates=0, rejected=1)
    assert report["paid_amount"] == {"USD": 150}
    (rejected,) = rejects(orderly.folder / "rejects.jsonl")
    assert (rejected["order_id"], rejected["line"]) == ("q-1", 2)
    assert rejected["reasons"][0].startswith("lines 3 to 5 sku: must consist of printable")
    assert_counts(orderly.json("run", "good.csv"), created=1, duplicates=0, rejected=0)
    assert accepted(orderly) == {"q-1", "q-2"}
    orderly.assert_serial()


@pytest.mark.parametrize("argument", ["orders.csv", "/dev/stdin"])
def test_rows_that_do_not_follow_each_other_are_refused_whole_where_a_file_is_read(
    orderly: Orderly, argument: str
) -> None:
    write(orderly.folder, {"orders.csv": APART})
    with (orderly.folder / "orders.csv").open() as file:
        process = orderly.start("run", argument, stdin=file)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err.count("orderly: ")) == (0, 0), err
    rule = "the rows of an order must follow each other, each of them once; sort by order_id"
    assert f"rejected: line: {rule} (1)" in out
    assert accepted(orderly) == {"s-2", "s-3"}


@pytest.mark.parametrize("end", ["\r", "\u2028"])
def test_an_order_with_a_row_behind_an_old_line_end_is_refused_whole_with_the_remedy(
    orderly: Orderly, end: str
) -> None:
    content = csv_of(row("m-1") + end + row("m-2"), row("m-2", sku="more"), row("m-3"))
    write(orderly.folder, {"mac.csv": content})
    for argument in ("mac.csv", "-"):
        result = orderly("run", argument, "--json", "--rejects", "no.jsonl", stdin=content)
        assert (result.code, result.json["rejected"]) == (0, 2), result
        found = rejects(orderly.folder / "no.jsonl")
        assert [each["order_id"] for each in found] == ["m-1", "m-2"]
        for each in found:
            assert "in the line may end a row: make it a line end" in each["reasons"][0]
    assert accepted(orderly) == {"m-3"}


def test_rows_that_come_late_on_standard_input_are_refused_and_the_run_says_so_and_ends_with_1(
    orderly: Orderly,
) -> None:
    for created, duplicates in ((3, 0), (0, 3)):
        result = orderly("run", "-", "--json", stdin=APART)
        assert result.code == 1
        assert_counts(result.json, created=created, duplicates=duplicates, rejected=1)
        (told,) = [line for line in result.err.splitlines() if "in part" in line]
        assert told.startswith("orderly: standard input: 1 order was charged in part")
        assert ": s-1; " in told
    orderly.assert_serial()


def test_an_order_whose_rows_lie_in_two_files_of_a_run_is_named_and_the_run_ends_with_1(
    orderly: Orderly,
) -> None:
    half, bad = row("f-2", sku="half"), row("f-3", quantity="0")
    first = csv_of(row("f-1"), row("f-4", quantity="0"), row("f-3"), half)
    second = csv_of(row("f-2", sku="other"), bad, row("f-4"), row("f-5"))
    write(orderly.folder, {"1.csv": first, "2.csv": second})
    for created, duplicates in ((4, 0), (0, 4)):
        result = orderly("run", "1.csv", "2.csv", "--json", "--rejects", "no.jsonl")
        assert result.code == 1, result
        assert_counts(result.json, created=created, duplicates=duplicates, rejected=4)
        (told,) = [
            text for text in result.err.splitlines() if "earlier input of this run has" in text
        ]
        assert told.startswith("orderly: 2.csv: rows of 2 orders were refused")
        assert "same id: f-3, f-2; those were taken, perhaps as a part" in told
        *_, late, clash = rejects(orderly.folder / "no.jsonl")
        assert (late["order_id"], clash["order_id"]) == ("f-4", "f-2")
        assert "was rejected in an earlier input of this run" in late["reasons"][0]
    assert accepted(orderly) == {"f-1", "f-2", "f-3", "f-5"}


def test_the_same_file_twice_in_a_run_is_duplicates_and_no_problem(orderly: Orderly) -> None:
    content = csv_of(row("t-1"), row("t-2", quantity="0"), row("t-3"))
    write(orderly.folder, {"twice.csv": content})
    for arguments in (["twice.csv", "twice.csv"], ["twice.csv", "-"]):
        result = orderly("run", *arguments, "--json", "--rejects", "no.jsonl", stdin=content)
        assert (result.code, result.json["rejected"]) == (0, 2), result
        assert "earlier input" not in result.err
    assert accepted(orderly) == {"t-1", "t-3"}


def test_what_was_left_out_is_said_after_the_report(orderly: Orderly) -> None:
    content = csv_of(row("o-1"), ",,,,,,", row("o-1")) + b"\xef\xbb\xbf" + csv_of(row("o-2"))
    write(orderly.folder, {"joined.csv": content})
    notes = [
        "joined.csv, line 3: left out what has nothing but separators in it",
        "joined.csv, line 5: left out the header of a joined file",
    ]
    result = orderly("run", "joined.csv")
    assert result.code == 0, result
    assert result.out.splitlines()[-2:] == notes
    result = orderly("run", "joined.csv", "--json")
    assert_counts(result.json, created=0, duplicates=2, rejected=0)
    said = [line for line in result.err.splitlines() if line.startswith("orderly: ")]
    assert said == [f"orderly: {note}" for note in notes]
