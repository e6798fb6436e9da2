"""A ledger that grows: no statement goes by a plan that was made when its tables were empty."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import sqlalchemy as sa

from shared.environment import load_settings
from shared.ledger.ledger import open_ledger
from tests.support.ledgers import order, take_in
from tests.support.settling import settler

if TYPE_CHECKING:
    from tests.support.servers.postgres_server import Postgres

PLANS = """SELECT sum(custom_plans), sum(generic_plans) FROM pg_prepared_statements
WHERE cardinality(parameter_types) > 0"""


def test_no_plan_is_kept_for_other_values_and_a_larger_table(postgres: Postgres) -> None:
    """Which would be chosen after five times: for all that is asked for again and again."""
    settings = load_settings(ledger_url=postgres.new_database(), partitions=1)
    ledger = open_ledger(settings)
    with closing(ledger.database) as database:
        for number in range(20):
            take_in(ledger, [order(f"o-{number}", f"c-{number}")])
            settler(ledger).settle_partition(0)
        with database.write() as writing, database.read() as reading:
            for connection in (writing, reading):
                custom, generic = connection.execute(sa.text(PLANS)).one()
                assert custom > 20
                assert generic == 0
