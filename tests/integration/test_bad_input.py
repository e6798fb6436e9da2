"""Bad input through the front door: a clear line, the right exit code, and no order lost."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.inputs import TIME, csv_of, line, row
from tests.orderly import Orderly, Result
from tests.permissions import as_a_plain_user

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def orderly(tmp_path: Path) -> Orderly:
    """The command, with a single worker: here it is the intake that matters."""
    return Orderly(tmp_path, {"PAYMENT_WORKERS": "1"})


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def rejects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def accepted(orderly: Orderly) -> set[str]:
    return set(orderly.books().status)


def assert_counts(report: dict[str, Any], *, created: int, duplicates: int, rejected: int) -> None:
    found = report["created"], report["duplicates"], report["rejected"]
    assert found == (created, duplicates, rejected)
    assert report["received"] == created + duplicates + rejected
    assert report["paid"] == created
    assert report["verified"] is True


def assert_refused(result: Result, *words: str) -> None:
    """One line, exit code 2, nothing on standard output."""
    assert (result.code, result.out) == (2, ""), result
    (told,) = result.err.splitlines()
    assert told.startswith("orderly: ")
    for word in words:
        assert word in told


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
    row("stray-quote", sku='"S-1'),
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
    row("same"),
    row("good-2"),
    row("same"),
    row("good-1", price="9.99"),
    row("good-dinar", price="1.234").replace("USD", "KWD"),
    row("good-yen", price="150").replace("USD", "JPY"),
)


def test_each_bad_order_of_a_csv_file_is_rejected_by_line_and_the_rest_is_paid(
    orderly: Orderly,
) -> None:
    write(orderly.folder, {"orders.csv": MAYBE_WRONG})
    report = orderly.json("run", "orders.csv", "--rejects", "rejects.jsonl")
    assert_counts(report, created=5, duplicates=1, rejected=31)
    assert accepted(orderly) == {"good-1", "good-2", "same", "good-dinar", "good-yen"}

    lines = {
        text.split(",")[0]: number
        for number, text in reversed(list(enumerate(MAYBE_WRONG.decode().split("\n"), 1)))
    }
    found = rejects(orderly.folder / "rejects.jsonl")
    assert len(found) == 31
    for each in found:
        assert sorted(each) == ["file", "line", "order_id", "reasons"]
        assert each["file"] == "orders.csv"
        assert each["reasons"]
        assert not each["order_id"].startswith("good-") or each["reasons"] == [
            "order_id: was accepted before with other content"
        ]
    where = {each["order_id"]: each["line"] for each in found}
    for name in ("negative", "short", "items", "total", "two-faced", "money", "yen"):
        assert where[name] == lines[name]
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
    assert told == [f"rejected: {'; '.join(reasons)}", f"see var/{path.name}"]
    assert len(rejects(path)) == 10
    assert not result.err
    assert "\x1b" not in result.out


def test_an_input_that_is_cut_ends_the_run_with_exit_code_1_after_what_came_before(
    orderly: Orderly,
) -> None:
    write(orderly.folder, {"cut.csv": csv_of(row("o1"), row("o2"), row("o3"), "o3,c1,U").rstrip()})
    result = orderly("run", "cut.csv", "--rejects", "rejects.jsonl")
    assert result.code == 1, result
    assert result.err == (
        "orderly: cut.csv, line 5: input cut off: the last line ends in the middle\n"
    )
    (rejected,) = rejects(orderly.folder / "rejects.jsonl")
    assert (rejected["order_id"], rejected["line"]) == ("o3", 4)
    assert rejected["reasons"] == ["line 5: is cut off: the last line ends in the middle"]
    assert accepted(orderly) == {"o1", "o2"}
    assert orderly.json("verify")["ok"]


def test_damaged_files_among_good_ones_cost_only_what_they_cut(orderly: Orderly) -> None:
    gzipped_csv = gzip.compress(csv_of(row("a1"), row("a2"), row("a3")), 0)
    gzipped_jsonl = gzip.compress((line("b1") + line("b2")).encode(), 0)
    damaged = {
        "gzip.csv.gz": gzipped_csv[:-40],
        "gzip.jsonl.gz": gzipped_jsonl[:-40],
        "latin.csv": csv_of(row("c1"), row("c2")) + b"c3,c1,\xff\n" + row("c4").encode() + b"\n",
        "latin.jsonl": line("d1").encode() + b'{"\xff"}\n' + line("d2").encode(),
        "line.jsonl": (line("e1") + line("e2")[:40]).encode(),
        "tail.jsonl.gz": gzip.compress(line("f1").encode()) + b"garbage",
    }
    whole = {"a.csv": csv_of(row("first")), "z.jsonl": line("last").encode(), "no.jsonl": b""}
    write(orderly.folder, damaged | whole)
    names = sorted(damaged | whole)
    result = orderly("run", *names, "--json")
    assert result.code == 1, result
    told = [text for text in result.err.splitlines() if "input cut off: " in text]
    assert [text.split(",")[0] for text in told] == [f"orderly: {name}" for name in damaged]
    assert len(result.err.splitlines()) == len(told) + 2  # and two of the rejected orders
    assert_counts(result.json, created=10, duplicates=0, rejected=5)
    assert accepted(orderly) == {"first", "a1", "a2", "b1", "c1", "c2", "d1", "e1", "f1", "last"}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_standard_input_takes_either_format_gzip_or_not(orderly: Orderly, form: str) -> None:
    plain = (
        b"\xef\xbb\xbf" + csv_of(row("o1"), row("o2", quantity="0")).replace(b"\n", b"\r\n")
        if form == "csv"
        else (line("o1") + line("o2", items=[])).encode()
    )
    result = orderly("run", "-", "--json", stdin=gzip.compress(plain))
    assert result.code == 0, result
    assert_counts(result.json, created=1, duplicates=0, rejected=1)
    result = orderly("run", "-", "--json", "--rejects", "rejects.jsonl", stdin=plain)
    assert result.code == 0, result
    assert_counts(result.json, created=0, duplicates=1, rejected=1)
    assert rejects(orderly.folder / "rejects.jsonl")[0]["file"] == "standard input"


def test_standard_input_that_is_no_order_file_is_refused_by_its_first_line(
    orderly: Orderly,
) -> None:
    result = orderly("run", "-", "--json", stdin=b"id;name\n1;x\n")
    assert result.code == 2
    assert result.err.startswith("orderly: standard input, line 1: the header must be order_id,")
    assert len(result.err.splitlines()) == 1


def test_standard_input_that_is_closed_is_refused(orderly: Orderly) -> None:
    process = orderly.start("run", "-", preexec_fn=lambda: os.close(0))
    out, err = process.communicate(timeout=60)
    result = Result(process.returncode, out, err)
    assert_refused(result, "standard input: cannot be opened: it is closed")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.csv"], ["missing.csv: cannot be opened: No such file"]),
        (["good.csv", "folder"], ["folder: cannot be opened: it is a folder"]),
        (["/proc/self/mem"], ["/proc/self/mem: cannot be opened: Input/output error"]),
        (["good.csv", "wrong.csv"], ["wrong.csv, line 1: the header must be order_id,", "'id;"]),
        (["empty.csv"], ["empty.csv: is empty", "header"]),
        (["good.csv", "--rejects", "folder"], ["--rejects folder: cannot be written", "another"]),
        (["good.csv", "--seed", "1"], ["--seed goes with --orders"]),
    ],
)
def test_a_run_that_cannot_begin_is_refused_before_it_takes_anything_in(
    orderly: Orderly, arguments: list[str], words: list[str]
) -> None:
    (orderly.folder / "folder").mkdir()
    files = {"good.csv": csv_of(row("o1")), "wrong.csv": b"id;name\n", "empty.csv": b""}
    write(orderly.folder, files)
    assert_refused(orderly("run", *arguments), *words)
    assert not orderly.ledger.exists() or not orderly.books().status


def test_an_input_without_orders_is_a_run_of_none(orderly: Orderly) -> None:
    write(orderly.folder, {"empty.jsonl": b"", "header.csv": csv_of()})
    report = orderly.json("run", "empty.jsonl", "header.csv", "-", "/dev/null")
    assert_counts(report, created=0, duplicates=0, rejected=0)


def test_a_file_without_permission_is_refused(orderly: Orderly) -> None:
    write(orderly.folder, {"secret.csv": csv_of(row("o1"))})
    (orderly.folder / "secret.csv").chmod(0)
    process = orderly.start("run", "secret.csv", preexec_fn=as_a_plain_user)
    out, err = process.communicate(timeout=60)
    result = Result(process.returncode, out, err)
    assert_refused(result, "secret.csv: cannot be opened: Permission denied")


def test_a_wrong_header_that_comes_late_stops_the_run_and_what_came_before_is_settled(
    orderly: Orderly,
) -> None:
    write(orderly.folder, {"good.csv": csv_of(row("o1"), row("o2"))})
    process = orderly.start("run", "good.csv", "-", "--json", stdin=subprocess.PIPE)
    out, err = process.communicate("id;name\n", timeout=60)
    assert process.returncode == 2
    assert "standard input, line 1: the header must be" in err
    assert "Traceback" not in err
    assert json.loads(out)["paid"] == 2
    assert accepted(orderly) == {"o1", "o2"}
