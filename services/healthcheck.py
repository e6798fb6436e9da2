"""Whether the service of this host is well, as a container engine asks it every few seconds."""

from __future__ import annotations

import http.client
import socket
from typing import TYPE_CHECKING

from shared.ledger.opening import open_ledger
from shared.ledger.workers import present

if TYPE_CHECKING:
    from shared.settings import Settings

PATIENCE = 3.0
"""Seconds that an answer may take."""


def why_unwell(service: str, settings: Settings) -> str | None:
    """Say what is wrong with a service of this host; None if it is well.

    Raises:
        LedgerUnavailable: The ledger cannot be asked for its workers.
    """
    return _ask(settings.http_port) if service == "serve" else _find_workers(settings)


def _ask(port: int) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"port {port} does not answer: {error}"
    finally:
        connection.close()
    return None if status == http.HTTPStatus.OK else f"/readyz says {status}"


def _find_workers(settings: Settings) -> str | None:
    ledger = open_ledger(settings, create=False, patience=PATIENCE)
    with ledger.database.read() as connection:
        hosts = {each.host for each in present(connection) if each.state != "starting"}
    ledger.database.close()
    here = socket.gethostname()
    return None if here in hosts else f"no worker of {here} has been seen at work lately"
