"""The real sample, end to end, against the serial replay."""

from __future__ import annotations

import csv
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.orderly import SAMPLE
from tests.support.replay import replay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.orderly import Orderly

pytestmark = pytest.mark.anew


def read_sample() -> Iterator[dict[str, Any]]:
    """Read the sample as a stranger would; leave out what has a quantity of zero."""
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        for order_id, rows in groupby(csv.DictReader(file), key=lambda row: row["order_id"]):
            lines = list(rows)
            items = [
                {
                    "quantity": int(row["quantity"]),
                    "unit_price": int(Decimal(row["unit_price"]) * 100),
                }
                for row in lines
            ]
            if all(item["quantity"] > 0 for item in items):
                yield {
                    "order_id": order_id,
                    "customer_id": lines[0]["customer_id"],
                    "currency": lines[0]["currency"],
                    "items": items,
                }


@pytest.mark.parametrize(
    "workers", [2, *(pytest.param(number, marks=pytest.mark.long) for number in (1, 4, 7))]
)
def test_any_number_of_workers_pays_the_sample_as_one_clerk_would(
    orderly: Orderly, workers: int
) -> None:
    expected = replay(read_sample())
    report = orderly.json("run", SAMPLE, "--fresh", "--workers", str(workers))
    assert report["received"] == 2984
    assert report["created"] == 2841
    assert report["rejected"] == 143
    assert report["duplicates"] == report["recovered"] == report["open"] == report["dead"] == 0
    assert report["verified"] is True
    for name in ("paid", "declined", "paid_amount"):
        assert report[name] == expected.totals()[name]
    assert orderly.final_state() == expected
    orderly.assert_serial()


@pytest.mark.long
def test_the_same_file_again_changes_nothing(orderly: Orderly) -> None:
    orderly.json("run", SAMPLE)
    before = orderly.final_state(), orderly("journal").out
    report = orderly.json("run", SAMPLE)
    assert (report["received"], report["created"]) == (2984, 0)
    assert (report["duplicates"], report["rejected"]) == (2841, 143)
    assert report["paid"] == report["declined"] == report["open"] == 0
    assert (orderly.final_state(), orderly("journal").out) == before
