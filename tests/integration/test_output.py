"""What commands print, and into what: schemas, generated orders; pipes, terminals, full disks."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.orderly import COMMAND, ROOT, Orderly, Result, assert_one_line, finish

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anew


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Orderly:
    """A ledger with orders in it; look, but change nothing."""
    shop = Orderly(tmp_path_factory.mktemp("shop"), anew=True)
    assert shop("run", "--orders", "200", "--seed", "7").code == 0
    return shop


def test_the_version_is_that_of_the_package(shop: Orderly) -> None:
    result = shop("--version")
    assert (result.code, result.out) == (0, f"orderly {version('orderly')}\n")


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


@pytest.mark.long
def test_generate_gives_the_same_orders_for_the_same_seed_and_a_longer_run_more(
    shop: Orderly,
) -> None:
    short, again = shop("generate", "50", "--seed", "9").out, shop("generate", "50", "--seed", "9")
    longer, other = shop("generate", "80", "--seed", "9").out, shop("generate", "50", "--seed", "8")
    assert again.out == short
    assert len(short.splitlines()) == 50
    assert longer.startswith(short)
    assert not set(other.out.splitlines()) & set(short.splitlines())


@pytest.mark.long
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


PRINTING = [
    *(("journal",), ("status",), ("generate", "5", "--seed", "1"), ("verify",), ("run", "--json")),
    *(("--version",), ("--help",), ("run", "--help")),
]


@pytest.mark.long
@pytest.mark.parametrize("command", PRINTING)
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
    result = Result(done.returncode, "", done.stderr)
    assert_one_line(result, 3, "standard output", "No space left")


@pytest.mark.parametrize("command", PRINTING)
def test_output_that_is_closed_is_told_in_one_line(shop: Orderly, command: tuple[str, ...]) -> None:
    result = finish(shop.start(*command, preexec_fn=lambda: os.close(1)))
    assert_one_line(result, 3, "standard output is closed; lead it to a file or to /dev/null")


@pytest.mark.long
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
    # A machine that takes seconds for five orders hears how far they are.
    said = [line for line in result.err.splitlines() if not line.startswith("running: ")]
    assert (result.code, said) == (0, [])
    assert "\x1b" not in result.out
    rows = dict(line.split(None, 1) for line in result.out.splitlines())
    assert (rows["received"], rows["created"], rows["verified"]) == ("5", "5", "yes")
    assert rows["seed"] == "1"


@pytest.mark.long
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
