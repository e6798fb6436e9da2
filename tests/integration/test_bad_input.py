"""Bad input through the front door: a clear line, the right exit code, and no order lost."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.inputs import csv_of, line, row
from tests.support.intake import accepted, assert_counts, rejects, write
from tests.support.orderly import Orderly, Result, assert_refused
from tests.support.permissions import as_a_plain_user

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def orderly(tmp_path: Path) -> Orderly:
    """The command, with a single worker: here it is the intake that matters."""
    return Orderly(tmp_path, {"PAYMENT_WORKERS": "1"})


@pytest.mark.long
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
    words = "input cut off: ", "bytes that are not UTF-8; if it is Latin-1"
    told = [text for text in result.err.splitlines() if any(word in text for word in words)]
    assert [text.split(",")[0] for text in told] == [f"orderly: {name}" for name in damaged]
    # And two of the rejected orders, one of the file that is empty.
    assert len(result.err.splitlines()) == len(told) + 3
    assert "orderly: no.jsonl: there are no orders in it" in result.err.splitlines()
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
    assert_refused(result, "standard input: cannot be opened: it is closed; send")


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
    assert not orderly.ledger.exists() or not orderly.final_state().status


def test_an_input_without_orders_is_a_run_of_none(orderly: Orderly) -> None:
    write(orderly.folder, {"empty.jsonl": b"", "header.csv": csv_of()})
    result = orderly("run", "empty.jsonl", "header.csv", "-", "/dev/null", "--json", stdin=b"")
    assert result.code == 0, result
    assert_counts(result.json, created=0, duplicates=0, rejected=0)
    names = ("empty.jsonl", "header.csv", "standard input", "/dev/null")
    said = [f"{name}: there are no orders in it" for name in names]
    assert result.err.splitlines() == [f"orderly: {each}" for each in said]
    assert orderly("run", "empty.jsonl").out.splitlines()[-1:] == said[:1]


def test_bytes_that_are_not_utf_8_are_named_by_their_line_with_the_remedy(
    orderly: Orderly,
) -> None:
    latin = {
        "latin.csv": csv_of(row("c1"), row("c2", sku="caf\xe9"), row("c3")),
        "latin.jsonl": (line("d1") + line("d2").replace("S-1", "caf\xe9") + line("d3")).encode(),
    }
    write(orderly.folder, {name: each.decode().encode("latin-1") for name, each in latin.items()})
    for name, number in (("latin.csv", 3), ("latin.jsonl", 2)):
        result = orderly("run", name, "--rejects", "no.jsonl")
        assert result.code == 1, result
        assert result.err == (
            f"orderly: {name}, line {number}: has bytes that are not UTF-8; if it is Latin-1 or "
            "Windows-1252, convert it: iconv -f WINDOWS-1252 -t UTF-8; it was read up to there\n"
        )
        (rejected,) = rejects(orderly.folder / "no.jsonl")
        assert rejected["reasons"][0].endswith(": has bytes that are not UTF-8")
    assert accepted(orderly) == {"c1", "d1"}


def test_json_over_several_lines_is_told_once_that_an_order_is_a_line(orderly: Orderly) -> None:
    orders = [json.loads(line("p1")), json.loads(line("p2"))]
    pretty = "".join(json.dumps(each, indent=2) + "\n" for each in orders)
    tea = line("p3").replace('"items"', '\n"items"')
    write(orderly.folder, {"pretty.jsonl": pretty.encode(), "tea.jsonl": tea.encode()})
    for name in ("pretty.jsonl", "tea.jsonl"):
        result = orderly("run", name)
        assert (result.code, result.err) == (0, ""), result
        (told,) = [text for text in result.out.splitlines() if "JSON Lines" in text]
        assert told.startswith(f"{name}, line 1: JSON Lines has one order a line")
        assert "jq -c ." in told
    separated = ",\n".join(map(json.dumps, orders))
    arrays = {
        "array.jsonl": json.dumps(orders, indent=2) + "\n",
        "flat.ndjson": json.dumps(orders),
        "lines.jsonl": f"[\n{separated}\n]\n",
    }
    write(orderly.folder, {name: text.encode() for name, text in arrays.items()})
    for name in arrays:
        assert_refused(orderly("run", name), f"{name}, line 1: ", "JSON array", "jq -c '.[]'")
    broken = line("o1")[:-9] + "\n" + line("o2")
    write(orderly.folder, {"broken.jsonl": broken.encode()})
    assert "JSON Lines" not in orderly("run", "broken.jsonl").out
    assert accepted(orderly) == {"o2"}


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
