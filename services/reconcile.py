"""``orderly reconcile``: the gateway of the settings, the ledger, and what differs between them."""

from __future__ import annotations

import multiprocessing
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from services.payment.load_gateway import load_gateway
from services.payment.outside import OutsideGateway
from services.pipeline.own_bank import OwnBank
from services.reconciling.compare import Comparison, compare
from services.reconciling.gateways_book import GatewaysBook
from services.reconciling.repair import repair
from shared.errors import ConfigurationError
from shared.ledger.gateways import check_gateway
from shared.ledger.ledger import open_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.ledger.ledger import Ledger
    from shared.settings import Settings


def reconcile(settings: Settings, *, repairs: bool) -> Comparison:
    """Compare the gateway's book with the ledger, and file what it says where that is wanted.

    Raises:
        ConfigurationError: The gateway has no book, or the ledger's orders are charged by another.
        BookUnavailable: The book cannot be read.
        LedgerUnavailable: The ledger cannot be read, or written.
    """
    ledger = open_ledger(settings, create=False)
    try:
        with _gateway(settings, ledger) as gateway:
            check_gateway(ledger, gateway.name)
            with closing(GatewaysBook(gateway, ledger.ledger_id)) as book:
                within = gateway.traits.settles_within
                found = compare(ledger, book, gateway.name, settles_within=within)
        if repairs:
            found.differences = [repair(ledger, each) for each in found.differences]
        return found
    finally:
        ledger.database.close()


@contextmanager
def _gateway(settings: Settings, ledger: Ledger) -> Iterator[OutsideGateway]:
    """Make the gateway, and for as long as it is asked the bank that is a run's own."""
    bank = None
    if settings.has_own_bank:
        bank = OwnBank(ledger, settings, multiprocessing.get_context("spawn"))
        settings = bank.for_workers
        bank.start()
    try:
        gateway = load_gateway(settings)
        if not isinstance(gateway, OutsideGateway):
            raise ConfigurationError(
                "PAYMENT_GATEWAY=ledger is the ledger itself, which orderly verify proves; name "
                "the gateway whose book is to be compared"
            )
        yield gateway
    finally:
        if bank is not None:
            bank.stop()
