"""Producer and consumer, from the version that hangs to the one that is killed and lives."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.lessons import Shown, show

if TYPE_CHECKING:
    from tests.support.orderly import Orderly


def paid(shown: Shown) -> list[str]:
    """Name the orders that were paid, in that sequence."""
    return [
        text.removeprefix("paid ").split()[0] for text in shown.texts("paid ") if " of " in text
    ]


def test_v1_pays_all_and_hangs_with_one_consumer_in_read_and_two_at_its_lock(
    orderly: Orderly,
) -> None:
    shown = show(orderly, "v1-hang")
    orders = [f"A-{number}" for number in range(1, 7)]
    assert sorted(text.split()[1] for text in shown.texts("paid A")) == orders
    assert "6 orders sent, 6 paid" in shown.one("6 orders sent")
    said = shown.one("6 orders sent")
    later = shown.lines[[line.text for line in shown.lines].index(said) + 1 :]
    assert not [line for line in later if line.name.startswith("consumer")]
    alive = shown.texts("is alive and stands at")
    assert len(alive) == 3
    assert {int(re.findall(r"pid (\d+)", text)[0]) for text in alive} == shown.pids("consumer")
    assert len(shown.texts("order = orders.get()")) == 3
    assert len(shown.texts("read(")) == 1
    assert len(shown.texts("with self._rlock:")) == 2


@pytest.mark.long
def test_v2_loses_nothing_with_a_mark_each_behind_the_last_order(orderly: Orderly) -> None:
    shown = show(orderly, "v2-sentinel")
    everything = ["P-1", "P-2", "W-1", "W-2", "W-3", "W-4"]

    right = shown.part("First:", "Then:")
    assert sorted(paid(right)) == everything
    assert right.one("orders sent,") == "6 orders sent, 6 paid, 0 lost"
    assert len(right.pids("consumer")) == 3
    assert len(right.texts("took an end mark, and leaves", "consumer")) == 3

    too_few = shown.part("Then:", "Last:")
    assert sorted(paid(too_few)) == everything
    assert len(too_few.texts("took an end mark", "consumer")) == 2
    hangs = too_few.one("got no mark and hangs")
    assert hangs.split(",")[0] not in {
        line.name for line in too_few.lines if "took an end mark" in line.text
    }
    assert too_few.one("orders.get()")

    overtaken = shown.part("Last:")
    assert sorted(paid(overtaken)) == ["W-1", "W-2", "W-3", "W-4"]
    assert len(overtaken.texts("took an end mark", "consumer")) == 3
    lost = "6 orders sent, 4 paid, 2 lost, P-1 of dan, P-2 of eve"
    assert overtaken.one("orders sent,") == lost


def test_v3_joins_when_the_last_order_is_done_and_its_daemons_end_with_it(
    orderly: Orderly,
) -> None:
    shown = show(orderly, "v3-joinable")
    assert sorted(paid(shown)) == ["A-1", "A-2", "A-3", "A-4", "A-5"]
    texts = [line.text for line in shown.lines]
    joined = texts.index("join() has returned; 2 consumers still wait in get(); I end")
    assert joined > max(texts.index(text) for text in shown.texts("paid "))
    gone = shown.texts("gone with the shop")
    assert {int(re.findall(r"\d+", text)[0]) for text in gone} == shown.pids("consumer")
    assert len(gone) == 2
    assert "ValueError" in shown.one("task_done() twice")


def test_v4_deadlocks_the_healthy_and_survives_with_a_queue_each(orderly: Orderly) -> None:
    shown = show(orderly, "v4-killed")
    shared = shown.part("First:", "Then:")
    assert shared.texts("read(")
    assert shared.one("receipts came") == "6 orders put; after a second 0 receipts came"
    assert len(shared.texts("with self._rlock:")) == 2
    assert paid(shared) == []

    separate = shown.part("Then:")
    assert sorted(paid(separate)) == ["A-1", "A-2", "B-1", "B-2", "C-1", "C-2"]
    assert separate.texts("kill -9")
    killed = int(re.findall(r"pid (\d+)", separate.one("kill -9"))[0])
    replaced = int(re.findall(r"process, (\d+)", separate.one("B is dead"))[0])
    assert killed not in separate.pids("B")
    assert separate.pids("B") == {replaced}
    assert separate.one("in the journal, 6 paid")


def test_pipes_end_by_themselves_even_if_the_producer_is_killed(orderly: Orderly) -> None:
    shown = show(orderly, "pipe-orders")
    well = shown.part("First:", "Then:")
    assert [order for order in paid(well) if order[0] == "A"] == ["A-1", "A-2", "A-3"]
    assert [order for order in paid(well) if order[0] == "B"] == ["B-1", "B-2"]
    assert well.one("of 5 orders") == "5 of 5 orders paid"
    assert len(well.texts("exit code 0")) == 3

    killed = shown.part("Then:")
    assert sorted(paid(killed)) == ["A-1", "A-2", "B-1"]
    assert killed.one("of 5 orders") == "3 of 5 orders paid"
    assert killed.one("exit code -9").startswith("producer")
    assert len(killed.texts("end of file", "A")) == len(killed.texts("end of file", "B")) == 1
    assert len(killed.texts("exit code 0")) == 2
