"""Lessons on queues, pipes, sockets and schedules: what they show is really so."""

from __future__ import annotations

import re
import socket
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.support.lessons import Shown, show

if TYPE_CHECKING:
    from tests.support.orderly import Orderly


def test_queue_basics(orderly: Orderly) -> None:
    shown = show(orderly, "queue-basics")
    assert shown.one("put_nowait()").endswith("raised Full")
    assert shown.one("a queue for two").endswith("full() True, empty() False")
    (limit,) = re.findall(r"after (\d\.\d\d) s", shown.one("put(timeout=0.2) raised Full"))
    assert float(limit) >= 0.2
    (blocked,) = re.findall(r"for (\d\.\d\d) s", shown.one("put() blocked"))
    assert float(blocked) >= 0.25
    assert shown.one("get_nowait()").endswith("raised Empty")
    between = shown.part("multiprocessing.Queue")
    assert len(between.texts("empty() says False")) == 2
    assert between.one("got A-4")
    assert between.one("somebody was quicker")
    (lies,) = re.findall(r"True (\d+) times of 200", between.one("right after put()"))
    assert int(lies) > 0


def test_queue_main_child(orderly: Orderly) -> None:
    shown = show(orderly, "queue-main-child")
    (child,) = shown.pids("consumer")
    assert [text.split()[1] for text in shown.texts("paid A")] == ["A-1", "A-2", "A-3"]
    receipts = shown.texts("receipt for")
    assert len(receipts) == 3
    assert all(text.endswith(f"by process {child}") for text in receipts)
    assert shown.one("I sent") == (
        "I sent ['tea']; changed where it arrived: ['tea', 'coffee']; here: ['tea']"
    )


def test_queue_child_child(orderly: Orderly) -> None:
    shown = show(orderly, "queue-child-child")
    orders = [f"A-{number}" for number in range(1, 6)]
    sent = [text.split()[1].strip(",") for text in shown.texts("put A", "website")]
    assert sent == orders
    assert [text.split()[1] for text in shown.texts("paid", "payment")] == orders
    assert shown.texts("for room", "website")
    assert not shown.texts("paid", "main")
    assert shown.one("both have ended").endswith("0 and 0")


def test_pipe(orderly: Orderly) -> None:
    shown = show(orderly, "pipe")
    assert shown.one("both ways").endswith("a receipt for A-1 of ada came")
    assert "OSError" in shown.one("duplex=False")
    read = [text.split()[1] for text in shown.texts("read A", "reader")]
    assert sorted(read) == [f"A-{number}" for number in range(1, 6)]
    closed = shown.part("A child that closes", "A child that leaves")
    assert closed.one("end of file")
    left_open = shown.part("A child that leaves")
    assert not left_open.texts("end of file: ")
    assert left_open.one("order = receiving.recv()")
    assert left_open.one("read(")
    assert left_open.one("is_alive() True")


def test_popen_pipe(orderly: Orderly) -> None:
    shown = show(orderly, "popen-pipe")
    first, chained = shown.part("Popen", "sort"), shown.part("sort", "os.popen")
    assert [text.split()[-1] for text in first.texts(" took ")] == ["A-1", "A-2", "A-3", "A-4"]
    assert [text.split()[-1] for text in chained.texts(" took ")] == ["A-1", "A-4", "A-2", "A-3"]
    assert len(shown.texts("72.49 EUR in all")) == 2
    (shell,) = re.findall(r"is process (\d+)", shown.one("os.popen"))
    assert int(shell) != shown.pid
    assert int(re.findall(r"\d+", shown.one("a pipe holds"))[0]) >= 4096
    assert shown.one("BrokenPipeError")


@pytest.mark.long
def test_tcp_server(orderly: Orderly) -> None:
    shown = show(orderly, "tcp-server", "--port", "0")
    assert "127.0.0.1:" in shown.one("listening on")
    free, limited = shown.part("First:", "Then:"), shown.part("Then:")
    for part in (free, limited):
        for name in ("ada", "ben", "cho"):
            assert len(part.texts("answer after", name)) == 2
        said = [line.text for line in part.lines]
        last = said.index(part.one("answer, last of all: 4.20 EUR"))
        assert last > max(said.index(text) for text in part.texts("answer after"))
        servers = {re.findall(r"by (\d+)", text)[0] for text in part.texts("EUR, by")}
        assert len(servers) == 4
    assert not free.texts("are being served")
    assert limited.texts("2 are being served")
    assert limited.one("4 clients served") == "4 clients served, 2 at the same time at most"


def test_tcp_server_says_so_if_its_port_is_taken(orderly: Orderly) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = orderly("lesson", "tcp-server", "--port", port)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"tcp-server: cannot use port {port}: ")
    assert result.err.endswith("try --port 0\n")


@pytest.mark.long
def test_backend_calls(orderly: Orderly) -> None:
    shown = show(orderly, "backend-calls")
    titles = ["1.", "2.", "3.", "4.", "5.", None]
    parts = [shown.part(begin or "", end) for begin, end in pairwise(titles)]
    orders = {f"{name}-{n}" for name in ("ada", "ben", "cho", "dan", "eve", "fay") for n in (1, 2)}
    heard, seconds, out = [], [], []
    for part in parts:
        answers = [text.split() for text in part.texts(" after 0.", "main")]
        assert {answer[0] for answer in answers} == orders
        heard.append([" ".join(answer[:2]) for answer in answers])
        took = part.one("ms an order").split()
        seconds.append(float(took[0]))
        out.append(int(took[-1]))
        hers = [answer for answer in heard[-1] if answer.startswith("ada")]
        assert part.one("ada heard") == f"ada heard: {', then '.join(hers)}"
    assert out == [1, 4, 12, 4, 6]
    assert seconds[0] >= 1.2
    assert seconds[2] < seconds[0] / 2
    one_by_one, naive, in_turn = heard[0], heard[3], heard[4]
    assert "ada-2 declined" in one_by_one
    assert naive.index("ada-2 paid") < naive.index("ada-1 declined")
    assert in_turn[-2:] == ["ada-1 paid", "ada-2 declined"]  # and nobody waited for her
    assert sorted(in_turn) == sorted(one_by_one)
    assert len(shown.pids("bank")) == len(parts)
    assert shown.pid not in shown.pids("bank")


# Small cases from textbooks, worked by hand: a NAME:ARRIVAL:WORK stream, and for each policy the
# mean and the 95th percentile of waiting and turnaround. Of so few the percentile is the maximum.
CONVOY = "A:0:24 B:0:3 C:0:3"
CONVOY_EXPECTED = {
    # A 0-24, B 24-27, C 27-30. Waiting 0 24 27 = 51; turnaround 24 27 30 = 81.
    "first come, first served": (17.00, 27, 27.00, 30),
    # B 0-3, C 3-6, A 6-30. Waiting 6 0 3 = 9; turnaround 30 3 6 = 39.
    "shortest job first": (3.00, 6, 13.00, 30),
    # A 0-4, B 4-7, C 7-10, A 10-30. Waiting 6 4 7 = 17; turnaround 30 7 10 = 47.
    "round robin, turns of 4": (5.67, 7, 15.67, 30),
    # Top: A 0-2, B 2-4, C 4-6. Next: A 6-10, B 10-11, C 11-12. Then A alone, 12-30.
    # Waiting 6 8 9 = 23; turnaround 30 11 12 = 53.
    "feedback, 3 levels": (7.67, 9, 17.67, 30),
}
STAGGERED = "A:0:7 B:2:4 C:4:1 D:5:4"
STAGGERED_EXPECTED = {
    # A 0-7, B 7-11, C 11-12, D 12-16. Waiting 0 5 7 7 = 19; turnaround 7 9 8 11 = 35.
    "first come, first served": (4.75, 7, 8.75, 11),
    # A 0-7, C 7-8, B 8-12, D 12-16. Waiting 0 6 3 7 = 16; turnaround 7 10 4 11 = 32.
    "shortest job first": (4.00, 7, 8.00, 11),
    # A 0-4, B 4-8, C 8-9, A 9-12 (it came back behind C, before D came), D 12-16.
    # Waiting 5 2 4 7 = 18; turnaround 12 6 5 11 = 34.
    "round robin, turns of 4": (4.50, 7, 8.50, 12),
    # Top: A 0-2, B 2-4, C 4-5, D 5-7. Next: A 7-11, B 11-13, D 13-15. Last: A 15-16.
    # Waiting 9 7 0 6 = 22; turnaround 16 11 1 10 = 38.
    "feedback, 3 levels": (5.50, 9, 9.50, 16),
}
# Two long orders. Top: A 0-2, B 2-4. Next: A 4-8, B 8-12. Last: A 12-20, of 15 one is left.
# At 20 all go back to the top, B first, for A has just had its turn: B 20-22, A 22-23, B 23-30.
# Without the boost B would go on for its eight, 20-28, and A end at 29.
BOOSTED = "A:0:15 B:0:15"
BOOSTED_EXPECTED = (11.50, 15, 26.50, 30)
# An order that comes while a longer one is at a lower level goes first, at once.
# Top: A 0-2. Next: A 2-4, then B comes: B 4-5, A 5-7. Waiting 1 0; turnaround 7 1.
PREEMPTED = "A:0:6 B:4:1"
PREEMPTED_EXPECTED = (0.50, 1, 4.00, 7)


def table(shown: Shown) -> dict[str, tuple[float, int, float, int]]:
    """Read the table at the end: mean and 95th percentile of waiting, and of turnaround."""
    row = r"^ +(\w.*?) +(\d+\.\d\d) +(\d+) +(\d+\.\d\d) +(\d+)$"
    rows = re.findall(row, shown.out, re.MULTILINE)
    return {
        title: (float(mean), int(most), float(whole), int(longest))
        for title, mean, most, whole, longest in rows
    }


@pytest.fixture(scope="module")
def tables() -> dict[str, dict[str, tuple[float, int, float, int]]]:
    """What was run already: a run shows all policies."""
    return {}


@pytest.mark.parametrize("policy", CONVOY_EXPECTED)
@pytest.mark.parametrize("stream", [CONVOY, STAGGERED])
def test_a_policy_is_as_worked_by_hand(
    orderly: Orderly,
    tables: dict[str, dict[str, tuple[float, int, float, int]]],
    policy: str,
    stream: str,
) -> None:
    if stream not in tables:
        tables[stream] = table(show(orderly, "scheduling", "--orders", stream))
    expected = CONVOY_EXPECTED if stream == CONVOY else STAGGERED_EXPECTED
    assert tables[stream][policy] == expected[policy]


@pytest.mark.parametrize(
    ("stream", "expected"), [(BOOSTED, BOOSTED_EXPECTED), (PREEMPTED, PREEMPTED_EXPECTED)]
)
def test_feedback_lifts_up_and_lets_newcomers_through(
    orderly: Orderly, stream: str, expected: tuple[float, int, float, int]
) -> None:
    assert table(show(orderly, "scheduling", "--orders", stream))["feedback, 3 levels"] == expected


def test_a_gantt_chart_shows_the_schedule(orderly: Orderly) -> None:
    shown = show(orderly, "scheduling", "--orders", STAGGERED, "--quantum", "4")
    chart = shown.part("round robin", "feedback")
    assert chart.one("A   ").split(None, 1)[1] == "####.....###"
    feedback = shown.out.split("feedback")[1]
    rows = dict(re.findall(r"^ {28}(\w) {12}(.*)$", feedback, re.MULTILINE))
    assert {name: row.rstrip() for name, row in rows.items()} == {
        "A": "##.....####....#",
        "B": "  ##.......##",
        "C": "    #",
        "D": "     ##......##",
    }


def test_scheduling_draws_a_picture(orderly: Orderly) -> None:
    picture = orderly.folder / "charts.svg"
    shown = show(orderly, "scheduling", "--orders", CONVOY, "--svg", "charts.svg")
    assert shown.one("drawn into charts.svg")
    root = ET.fromstring(picture.read_text(encoding="utf-8"))  # noqa: S314  our own
    name = "{http://www.w3.org/2000/svg}"
    titles = [text.text for text in root.iter(f"{name}text") if text.get("font-weight")]
    assert titles == list(CONVOY_EXPECTED)
    worked = [rect for rect in root.iter(f"{name}rect") if rect.get("fill") == "#2a6f97"]
    assert len(worked) == 4 * 30


@pytest.mark.parametrize("stream", ["", "A:0:0", "A:0:1 A:2:1", "<b>:0:1"])
def test_scheduling_refuses_a_stream_that_is_none(orderly: Orderly, stream: str) -> None:
    result = orderly("lesson", "scheduling", "--orders", stream)
    assert (result.code, result.out) == (2, "")
    assert result.err.count("error: ") == 1
