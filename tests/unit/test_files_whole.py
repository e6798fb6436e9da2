"""An order of a file is accepted whole or not at all: quoted line ends, rows that come apart."""

from __future__ import annotations

import gzip
import tracemalloc
from itertools import product
from typing import TYPE_CHECKING

import pytest

from services.producer.sources import order_runs, seen_ids
from services.producer.sources.csv_orders import HEADER
from services.producer.sources.files import Input
from services.producer.sources.source import CutOff
from shared.errors import InputError
from tests.support.inputs import MAX_LINE, Reader, csv_of, jsonl_of, line, order, row

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = '"gift card, text:'
GOLD = row("q9", customer="bob", sku="gold", price="999.00")
APART = "the rows of an order must follow each other, each of them once; sort by order_id"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_row_may_hold_line_ends_in_quotes_and_is_named_by_its_lines(
    read: Reader, end: str
) -> None:
    found = read(
        csv_of(row("o1"), row("o1", sku=f'"green{end}tea, 100 g"'), row("o1"), row("o2"), end=end)
    )
    assert (found.ids, found.rejected_ids, found.cut) == (["o2"], ["o1"], None)
    assert found.why == [
        "lines 3 to 4 sku: must consist of printable characters, not 'green\\ntea, 100 g'"
    ]


@pytest.mark.long
@pytest.mark.parametrize(("position", "size"), [*product(range(7), [1, 3]), (4, 30_000)])
def test_nothing_inside_quotes_becomes_an_order(read: Reader, position: int, size: int) -> None:
    columns = row("q1").split(",")
    columns[position] = "\n".join([TEXT, *[GOLD] * size, '"'])
    content = csv_of(row("o1"), ",".join(columns), row("o2"))
    for found in (read(content), read(gzip.compress(content, 1), "orders.csv.gz")):
        assert (found.ids, found.cut) == (["o1", "o2"], None)
        assert len(found.rejected) == 1
    if len(content) < 60_000:
        assert read.pipe(content).ids == ["o1", "o2"]


@pytest.mark.long
def test_a_row_of_more_than_a_megabyte_of_lines_is_refused_in_flat_memory(read: Reader) -> None:
    content = csv_of(row("o1"), row("o2", sku="\n".join([TEXT, *[GOLD] * 60_000, '"'])), row("o3"))
    tracemalloc.start()
    found = read(gzip.compress(content, 1), "orders.csv.gz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.ids, found.rejected_ids) == (["o1", "o3"], ["o2"])
    assert found.why == ["line 3: must have at most 1,048,576 bytes"]
    assert peak < 8 * MAX_LINE


@pytest.mark.parametrize("size", [1, 3, 30_000])
def test_a_quote_that_is_never_closed_ends_the_input_where_it_was_opened(
    read: Reader, size: int
) -> None:
    found = read(csv_of(row("o1"), row("q1", sku=TEXT), *[GOLD] * size))
    assert found.ids == ["o1"]
    assert found.rejected_ids == ["q1"]
    assert found.cut is not None
    assert (found.cut.line, found.cut.why) == (3, "the quote that opens here is never closed")


def test_where_quotes_do_not_match_only_what_cannot_be_told_is_refused(read: Reader) -> None:
    lines = [
        row("o1"),
        row("o2", sku='"24 inch monitor'),  # a stray quote
        row("o3"),
        row("o4", sku='"tea, green"'),  # after which a row ends, however the quotes are read
        row("o4"),
        row("o5"),
    ]
    found = read(csv_of(*lines))
    assert (found.ids, found.rejected_ids) == (["o1", "o5"], ["o2", "o3", "o4"])
    assert found.why == [
        "line 3: must be quoted as CSV is",
        "line 4: may be text: the quotes from line 3 on do not match",
        "line 5: may be text: the quotes from line 3 on do not match",
    ]
    assert found.cut is None


def test_a_quote_inside_quotes_that_is_not_doubled_lets_no_text_become_an_order(
    read: Reader,
) -> None:
    content = csv_of(row("o1"), row("q1", sku='"a card of 5" text:'), GOLD, '",1,1.00', row("o2"))
    found = read(content)
    assert found.ids == ["o1"]
    assert found.cut is not None
    assert (found.cut.line, found.cut.why) == (3, "the quotes that begin here do not match")
    found = read(csv_of(row("o1"), row("q1", sku='"a card of 5" text"'), row("o2")))
    assert (found.ids, found.rejected_ids, found.cut) == (["o1", "o2"], ["q1"], None)


def test_an_id_that_stands_among_unmatched_quotes_is_not_accepted_elsewhere(read: Reader) -> None:
    lines = [row("o3"), row("o1", sku='"S'), row("o3"), row("o4", sku='"a"'), row("o5")]
    content = csv_of(*lines)
    assert read(content).ids == ["o5"]
    assert read.pipe(csv_of(*lines[1:], row("o3"))).ids == ["o5"]


def test_an_order_on_both_sides_of_a_quote_that_is_never_closed_is_refused(read: Reader) -> None:
    found = read(csv_of(row("o0"), row("o1"), row("o1"), '",,,,,,', row("o1")))
    assert found.ids == ["o0"]
    assert "o1" in found.rejected_ids
    assert found.cut is not None


@pytest.mark.parametrize("empty", [",,,,,,", " , ,,\t,,,", '"","",,,,,""', ",,", "   ", ""])
def test_rows_of_nothing_but_separators_are_left_out_and_said(read: Reader, empty: str) -> None:
    content = csv_of(row("o1"), empty, row("o1", price="2.00"), row("o2"), empty, empty)
    for found in (read(content), read.pipe(content)):
        assert [each.total for each in found.accepted] == [350, 150]
        assert (found.rejected, found.cut) == ([], None)
        said = ["it, lines 3, 6, 7: left out what has nothing but separators in it"]
        assert found.notes == (said if empty.strip() else [])


def test_the_headers_of_joined_files_are_left_out_and_said_within_bounds(read: Reader) -> None:
    rows = [text for number in range(15) for text in (row(f"o{number}"), HEADER)]
    found = read(csv_of(*rows))
    assert len(found.ids) == 15
    said = "3, 5, 7, 9, 11, 13, 15, 17, 19, 21 and 5 more"
    assert found.notes == [f"it, lines {said}: left out the header of a joined file"]


def test_an_order_on_both_sides_of_a_header_is_refused_since_it_may_be_there_twice(
    read: Reader,
) -> None:
    found = read(csv_of(row("o1"), HEADER, row("o1"), row("o2")))
    assert (found.ids, found.why) == (["o2"], [f"lines 2 and 4: {APART}"])


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_order_whose_rows_come_apart_is_refused_whole_and_once(
    read: Reader, pack: Callable[[bytes], bytes]
) -> None:
    lines = [row("o1"), row("o2"), row("o1", price="9.00"), row("o3"), row("o1"), row("o2")]
    content = csv_of(*lines)
    found = read(pack(content))
    assert (found.ids, found.rejected_ids, found.cut) == (["o3"], ["o1", "o2"], None)
    assert found.why == [f"lines 2 and 4: {APART}", f"lines 3 and 7: {APART}"]
    assert found.rejected[0].reasons[0].kind == f"line: {APART}"


@pytest.mark.parametrize(
    "other", [" o1", "o1 ", '"o1"', '" o1"', "\ufeffo1", "\xa0o1", '"o"1"', 'o"1']
)
def test_an_id_with_what_nobody_sees_around_it_is_that_of_the_same_order(
    read: Reader, other: str
) -> None:
    for content in (
        csv_of(row("o1"), row(other), row("o2")),
        csv_of(row("o1"), row("o2"), row(other), row("o3")),
    ):
        found = read(content)
        assert "o1" not in found.ids or len(found.accepted[0].items) == 2
        assert "o2" in found.ids


def test_items_below_an_order_that_lack_its_id_spoil_it_as_in_a_sheet_of_merged_cells(
    read: Reader,
) -> None:
    found = read(csv_of(row("o1"), ",,,,milk,1,1.00", row("o2")))
    assert (found.ids, found.rejected_ids) == (["o2"], ["o1"])
    assert "line 3 order_id: must be the same in all rows, not ''" in found.why
    found = read(csv_of(row("o1"), row(""), row("o1"), row("o2")))
    assert (found.ids, found.rejected_ids) == (["o2"], ["o1"])


def test_an_order_that_is_refused_comes_to_no_part_from_the_same_input(read: Reader) -> None:
    lines = [row("o1", quantity="0"), row("o2"), row("o1")]
    assert read(csv_of(*lines)).ids == ["o2"]
    found = read.pipe(csv_of(*lines))
    assert (found.ids, found.problem) == (["o2"], None)
    assert found.why[1] == "order_id: was rejected before in this input; mend it there"
    content = jsonl_of(order("o1", items=[]), order("o2"), order("o1"), order("o3"), order("o3"))
    found = read(content, "orders.jsonl")
    assert (found.ids, found.rejected_ids) == (["o2", "o3", "o3"], ["o1", "o1"])
    assert found.why[1] == "order_id: was rejected before in this input; mend it there"
    found = read(jsonl_of(order("o1"), order("o1", items=[])), "orders.jsonl")
    assert (found.ids, found.rejected_ids) == (["o1"], ["o1"])


def test_rows_that_come_late_through_a_pipe_are_refused_and_their_orders_named(
    read: Reader,
) -> None:
    found = read.pipe(csv_of(*[row(f"o{number}") for number in (1, 2, 3, 1, 2, 1)]))
    assert (found.ids, found.rejected_ids) == (["o1", "o2", "o3"], ["o1", "o2", "o1"])
    assert found.problem is not None
    assert found.problem.startswith("it: 2 orders were charged in part")
    assert "o1, o2;" in found.problem
    many = [f"o{number}" for number in range(40)]
    found = read.pipe(csv_of(*[row(each) for each in many + many]))
    assert found.problem is not None
    assert "40 orders were" in found.problem
    assert "o9 and 30 more" in found.problem


def test_the_rest_of_a_file_is_looked_at_although_it_is_cut_off_before(read: Reader) -> None:
    content = csv_of(row("o1"), row("o2")) + b"o3,\xff\n" + row("o1").encode()
    found = read(content)
    assert (found.ids, found.rejected_ids) == (["o2"], ["o1", "o3"])


def test_ids_beyond_the_bound_of_memory_are_told_apart_as_well(
    read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_runs, "MOST_IN_MEMORY", 100)
    monkeypatch.setattr(seen_ids, "MOST_IN_MEMORY", 100)
    rows = [row(f"o{number}") for number in range(900)]
    content = csv_of(*rows, row("o7"), *[row(f"p{number}") for number in range(9000)])
    found = read(content)
    assert (len(found.ids), found.rejected_ids) == (9899, ["o7"])
    assert read.pipe(csv_of(*rows, row("o7"))).rejected_ids == ["o7"]
    monkeypatch.setattr(order_runs, "MOST_APART", 10)
    with pytest.raises(InputError, match="more than 10 orders do not follow each other; sort"):
        read(csv_of(*rows[:20], *rows[:20]))


def test_a_file_that_changes_while_it_is_read_does_not_count_as_whole(read: Reader) -> None:
    path = read.folder / "growing.csv"
    path.write_bytes(csv_of(row("o1"), row("o2"), row("o3")))
    orders = Input(str(path), wake=-1).orders()
    next(orders)
    with path.open("ab") as file:
        file.write(row("o1").encode() + b"\n")
    with pytest.raises(CutOff, match="was changed while it was read"):
        list(orders)


@pytest.mark.parametrize("mark", ["\x0b", "\x0c", "\x1e", "\xad", "\u2060", "\u2028", "'", "="])
def test_ids_that_look_the_same_are_those_of_one_order(read: Reader, mark: str) -> None:
    for rows in ([row("o1"), row(f"{mark}o1")], [row(f"{mark}o1"), row("o1")]):
        content = csv_of(*rows, row("o2"))
        for found in (read(content), read.pipe(content)):
            assert (found.ids, len(found.rejected)) == (["o2"], 1)
        content = csv_of(rows[0], row("o2"), rows[1])
        assert read(content).ids == ["o2"]


def test_a_row_without_an_id_spoils_the_order_above_it(read: Reader) -> None:
    content = csv_of(row("o1"), row("", price="40.00"), row("o2"))
    for found in (read(content), read.pipe(content)):
        assert (found.ids, found.rejected_ids) == (["o2"], ["o1"])
        assert found.why == ["line 3 order_id: must be the same in all rows, not ''"]


@pytest.mark.parametrize(
    "broken",
    [
        '{"order_id":"o1","customer_id":\n',
        line("o1", customer_id="x" * MAX_LINE),
        line("o1", items=[{}] * 20_000),
        line("o1")[:-3] + "\n",
    ],
)
def test_an_order_that_could_not_be_parsed_is_not_accepted_from_a_later_line(
    read: Reader, broken: str
) -> None:
    found = read((broken + line("o2") + line("o1")).encode(), "orders.jsonl")
    assert (found.ids, found.rejected_ids) == (["o2"], ["o1", "o1"])
