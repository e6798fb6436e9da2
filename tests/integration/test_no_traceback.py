"""Every command, in every way that it can fail for want of something: one line, no traceback."""

from __future__ import annotations

import bz2
import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.inputs import csv_of, jsonl_of, order, row
from tests.support.orderly import COMMAND, Orderly, Result, finish
from tests.support.permissions import as_a_plain_user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER = csv_of().decode().strip()
GOOD = csv_of(row("o1"))
CONVERT = "convert it: iconv -f "
COMMANDS = (
    ("run",),
    ("run", "good.csv", "--fresh", "--yes"),
    ("produce", "good.csv"),
    ("pay",),
    ("serve",),
    ("migrate",),
    ("status", "--json"),
    ("verify",),
    ("explain", "o1"),
    ("journal",),
    ("dead", "list"),
    ("dead", "retry", "--all"),
    ("dead", "discard", "--all"),
    ("healthcheck", "serve"),
    ("config",),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orderly]:
    """A folder of inputs; nothing is ever accepted in it."""
    folder = tmp_path_factory.mktemp("place")
    for name, content in INPUTS.items():
        (folder / name).write_bytes(content)
    (folder / "folder.csv").mkdir()
    (folder / "closed").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket.csv"))
    orderly = Orderly(folder, {"PAYMENT_WORKERS": "1", "HTTP_PORT": "0"})
    yield orderly
    orderly.close()


def assert_one_line(result: Result, *words: str) -> None:
    assert result.code in {1, 2, 3}, result
    assert "Traceback" not in result.out + result.err
    (told,) = [line for line in result.err.splitlines() if line.startswith("orderly: ")]
    assert len(told) < 1000
    assert all(word in told for word in words), told


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"LEDGER_URL": "sqlite:///a?b.db"}, ["question mark", "sqlite:///a%3Fb.db"]),
        ({"LEDGER_URL": "sqlite:///x.db?mode=ro"}, ["question mark", "%3F"]),
        ({"LEDGER_URL": "sqlite:///good.csv/x.db"}, ["sqlite:///good.csv/x.db"]),
        ({"LEDGER_URL": "sqlite:///good.csv"}, ["no SQLite database"]),
        ({"LEDGER_URL": "sqlite:///folder.csv"}, ["sqlite:///folder.csv cannot be opened"]),
        ({"LEDGER_URL": "postgresql://u@127.0.0.1:1/x?ssl=yes"}, ['"ssl"', "sslmode=require"]),
        ({"LEDGER_URL": "postgresql://u@127.0.0.1:1/x?sslmod=require"}, ['"sslmod"', "sslmode"]),
        ({"LEDGER_URL": "postgresql://u@127.0.0.1:1/x?nonsense=1"}, ['"nonsense"']),
        ({"LEDGER_URL": "mysql://host/x"}, ["names mysql"]),
        ({"QUEUE_MODE": "kafka"}, ["local or redis"]),
        ({"QUEUE_MODE": "redis", "REDIS_URL": "redis://h/0?ssl=true"}, ["'ssl'"]),
        ({"QUEUE_MODE": "redis", "REDIS_URL": "redis://h/0?timeout=5"}, ["'timeout'"]),
    ],
)
def test_a_setting_that_cannot_be_used_is_told_in_one_line_by_every_command(
    place: Orderly, environment: dict[str, str], words: list[str]
) -> None:
    is_read_by_all = "QUEUE_MODE" in environment or "question mark" in words
    before = {**place.environment}
    place.environment |= environment
    try:
        started = [(command, place.start(*command)) for command in COMMANDS]
    finally:
        place.environment = before
    for command, process in started:
        result = finish(process)
        if command[0] in {"produce", "pay"} and not is_read_by_all:
            assert_one_line(result)  # these say that they belong to redis mode
        elif is_read_by_all or command[0] not in {"config", "healthcheck"}:
            assert_one_line(result, *(words if "mysql" not in str(environment) else []))
        else:
            assert "Traceback" not in result.out + result.err


INPUTS = {
    "good.csv": GOOD,
    "utf16le-mark.csv": GOOD.decode().encode("utf-16"),
    "utf16be-mark.csv": b"\xfe\xff" + GOOD.decode().encode("utf-16-be"),
    "utf16le.csv": GOOD.decode().encode("utf-16-le"),
    "utf16be.csv": GOOD.decode().encode("utf-16-be"),
    "utf32.csv": GOOD.decode().encode("utf-32"),
    "utf32be.csv": GOOD.decode().encode("utf-32-be"),
    "utf16.jsonl": jsonl_of(order()).decode().encode("utf-16"),
    "archive.csv": b"PK\x03\x04\x14\0\x06\0",
    "old.csv": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "paper.csv": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "error.csv": b"<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>\n",
    "packed.csv": bz2.compress(GOOD),
    "array.json": b'[{"order_id": "o1"}]',
    "object.csv": jsonl_of(order()),
    "semicolons.csv": GOOD.replace(b",", b";"),
    "tabs.csv": GOOD.replace(b",", b"\t"),
    "mac.csv": GOOD.replace(b"\n", b"\r"),
    "capitals.csv": GOOD.replace(b"currency", b"Currency"),
    "blanks.csv": GOOD.replace(b",sku,", b", sku ,"),
    "order.csv": GOOD.replace(b"sku,quantity", b"quantity,sku"),
    "without.csv": GOOD.replace(b",sku", b""),
    "besides.csv": GOOD.replace(b"unit_price", b"unit_price,note"),
    "renamed.csv": GOOD.replace(b"unit_price", b"price"),
    "zeros.csv": bytes(5000),
    "quote.csv": b'"order_id,customer_id\n' + GOOD,
    "empty.csv": b"",
}


@pytest.mark.long
@pytest.mark.parametrize("how", ["file", "pipe"])
def test_an_input_that_holds_no_orders_is_named_in_one_line_with_what_to_do(
    place: Orderly, how: str
) -> None:
    expected = {
        "utf16le-mark.csv": ["this is UTF-16", f"{CONVERT}UTF-16 -t UTF-8"],
        "utf16be-mark.csv": ["this is UTF-16", f"{CONVERT}UTF-16 -t UTF-8"],
        "utf16le.csv": ["this is UTF-16", f"{CONVERT}UTF-16LE -t UTF-8"],
        "utf16be.csv": ["this is UTF-16", f"{CONVERT}UTF-16BE -t UTF-8"],
        "utf32.csv": ["this is UTF-32", f"{CONVERT}UTF-32 -t UTF-8"],
        "utf32be.csv": ["this is UTF-32", f"{CONVERT}UTF-32BE -t UTF-8"],
        "utf16.jsonl": ["this is UTF-16", f"{CONVERT}UTF-16 -t UTF-8"],
        "archive.csv": ["a spreadsheet or a zip archive", "save it as CSV"],
        "old.csv": ["a spreadsheet", "save it as CSV"],
        "paper.csv": ["a PDF document"],
        "error.csv": ["a page of HTML or XML", "fetch it again"],
        "packed.csv": ["bzip2", "bunzip2"],
        "array.json": ["a JSON array", "jq -c"],
        "semicolons.csv": ["separated by semicolons"],
        "tabs.csv": ["separated by tabs"],
        "mac.csv": ["end in CR alone", "tr '\\r' '\\n'"],
        "capitals.csv": ["column 3 must be currency, not 'Currency'"],
        "blanks.csv": ["column 5 must be sku, not ' sku '"],
        "order.csv": ["column 5 must be sku, not 'quantity'"],
        "without.csv": ["it lacks sku"],
        "besides.csv": ["it has 'note' besides"],
        "renamed.csv": ["it lacks unit_price and it has 'price' besides"],
        "zeros.csv": ["the header must be"],
        "quote.csv": ["the header must be"],
    }
    if how == "file":
        expected["object.csv"] = ["name it .jsonl"]
        expected["empty.csv"] = ["is empty"]
        expected["folder.csv"] = ["it is a folder"]
        expected["socket.csv"] = ["No such device or address"]
        expected["missing.csv"] = ["No such file"]
        expected["nul\\0.csv"] = ["No such file"]
    running = {}
    for name in expected:
        if how == "file":
            running[name] = place.start("run", name)
        else:
            with (place.folder / name).open("rb") as file:
                reading, writing = os.pipe()
                os.write(writing, file.read())
                os.close(writing)
                running[name] = place.start("run", "-", stdin=reading)
                os.close(reading)
    for name, process in running.items():
        assert_one_line(finish(process), *expected[name])


def test_latin_1_is_named_by_its_line_with_how_to_convert_it(place: Orderly) -> None:
    for name, content in {
        "latin.csv": GOOD + row("o2", sku="crème").encode("latin-1"),
        "latin.jsonl": jsonl_of(order("o1")) + b'{"order_id": "\xe8"}\n',
    }.items():
        (place.folder / name).write_bytes(content)
        environment = {"LEDGER_URL": f"sqlite:///{name}.db"}
        result = Orderly(place.folder, place.environment | environment)("run", name)
        assert result.code == 1
        number = 3 if name == "latin.csv" else 2
        assert_one_line(result, f"{name}, line {number}: ", "UTF-8", "iconv -f WINDOWS-1252")


def test_a_question_mark_in_a_path_works_as_it_is_advised(place: Orderly) -> None:
    found = Orderly(place.folder, place.environment | {"LEDGER_URL": "sqlite:///x%3Fy.db"})
    assert found.json("run", "--orders", "2", "--seed", "1")["created"] == 2
    assert (place.folder / "x?y.db").exists()
    for command in (("status",), ("verify",), ("run", "--orders", "3", "--seed", "1", "--fresh")):
        assert found(*command).code == 0
    assert len([*place.folder.glob("x[?]y-*.db")]) == 1


@pytest.mark.parametrize(
    "environment",
    [
        {"TMPDIR": "/nonexistent"},
        {"HOME": "", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        {"TERM": "dumb", "COLUMNS": "0"},
        {"LOG_FORMAT": "json", "TZ": "Nowhere/Nothing"},
    ],
)
def test_an_odd_environment_is_no_error(
    place: Orderly, environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "ä"
    folder.mkdir()
    (folder / "größe.csv").write_bytes(csv_of(row("o1", sku="crème"), row("ö")))
    odd = Orderly(folder, place.environment | environment)
    result = odd("run", "größe.csv", "--json")
    assert (result.code, result.json["created"], result.json["rejected"]) == (0, 1, 1), result
    assert odd("explain", "o1").code == 0
    assert "Traceback" not in result.err


@pytest.mark.long
@pytest.mark.anew
def test_a_working_folder_that_is_gone_is_told_in_one_line(orderly: Orderly) -> None:
    (orderly.folder / "gone").mkdir()
    script = 'cd gone && rm -r ../gone && exec "$@"'
    for arguments in (("run", "--orders", "1", "--seed", "1"), ("status",), ("config",)):
        (orderly.folder / "gone").mkdir(exist_ok=True)
        process = orderly.start(*arguments, command=["sh", "-c", script, "sh", *COMMAND])
        result = finish(process)
        assert "Traceback" not in result.err
        if arguments[0] != "config":
            assert_one_line(result)


@pytest.mark.long
@pytest.mark.parametrize("rejects", ["folder.csv", "good.csv/x", "/proc/x", "closed/x"])
def test_a_place_for_rejects_that_cannot_be_written_is_told_in_one_line(
    place: Orderly, rejects: str
) -> None:
    (place.folder / "closed").chmod(0o500)
    process = place.start("run", "good.csv", "--rejects", rejects, preexec_fn=as_a_plain_user)
    assert_one_line(finish(process), f"--rejects {rejects}: cannot be written")
