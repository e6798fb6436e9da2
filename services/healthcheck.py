"""Whether the service of this host is well, as a container engine asks it every few seconds."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.request
from typing import TYPE_CHECKING

from services.pipeline.select import queue_trouble
from shared.ledger.ledger import open_ledger
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
    if service == "bank":
        return _ask_bank(settings.bank_url)
    return _ask(settings.http_port) if service == "serve" else _find_workers(settings)


def _ask_bank(url: str) -> str | None:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"{url}/healthz", timeout=PATIENCE
        ):
            return None
    except (OSError, http.client.HTTPException) as error:
        return f"{url} does not answer: {error}"


def _ask(port: int) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        said = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"port {port} does not answer: {error}"
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        return f"/readyz says {response.status}"
    return _of_the_queue(said.get("queue_trouble"))


def _find_workers(settings: Settings) -> str | None:
    ledger = open_ledger(settings, create=False, patience=PATIENCE)
    with ledger.database.read() as connection:
        hosts = {each.host for each in present(connection) if each.state != "starting"}
    ledger.database.close()
    here = socket.gethostname()
    if here not in hosts:
        return f"no worker of {here} has been seen at work lately"
    return _of_the_queue(queue_trouble(settings, ledger.ledger_id))


def _of_the_queue(trouble: str | None) -> str | None:
    return trouble and f"Redis is away: {trouble}"
