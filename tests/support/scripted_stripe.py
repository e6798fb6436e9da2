"""A Stripe that honours keys, and answers as an order's id says, request by request.

The id's parts after the first are the steps: ``a.500.replayed`` fails at first, and says so again.
Where there are no more steps, the money is taken.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

# Status, headers, and the members of the error.
FAILURES: dict[str, tuple[int, dict[str, str], dict[str, str]]] = {
    "400": (400, {}, {"type": "invalid_request_error", "message": "no such card"}),
    "401": (401, {}, {"type": "invalid_request_error", "message": "Invalid API Key provided"}),
    "402": (402, {}, {"type": "card_error", "message": "Your card has too little on it."}),
    "404": (404, {}, {"code": "resource_missing", "message": "No such customer"}),
    "409": (409, {}, {"type": "idempotency_error", "message": "another request is at work"}),
    "429": (429, {"Retry-After": "0"}, {"message": "Too many requests"}),
    "500": (500, {}, {"type": "api_error", "message": "something went wrong"}),
    "503": (503, {"Retry-After": "0"}, {"type": "api_error", "message": "in a moment"}),
    "nowhere": (404, {}, {"message": "Unrecognized request URL"}),
    "other": (400, {}, {"type": "idempotency_error", "message": "other parameters"}),
    "replayed": (500, {"Idempotent-Replayed": "true"}, {"message": "something went wrong"}),
}


class ScriptedStripe:
    """Listens on a port of its own.

    Attributes:
        url: Its address.
        asked: The generation of each key that an order was asked for under, by its id.
        payments: What was taken.
    """

    def __init__(self) -> None:
        self.asked: dict[str, str] = {}
        self.payments: list[dict[str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._send(200, {"object": "list", "data": scripted.payments, "has_more": False})

            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                fields = parse_qs(self.rfile.read(size).decode())
                given = {name: values[0] for name, values in fields.items()}
                step = scripted.step_of(given, self.headers["Idempotency-Key"])
                if step in FAILURES:
                    status, headers, error = FAILURES[step]
                    self._send(status, {"error": error}, headers)
                    return
                payment = scripted.pay(given, int(step == "more"))
                if step == "cut":
                    self.close_connection = True
                else:
                    self._send(200, payment)

            def _send(
                self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
            ) -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(text)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def step_of(self, given: dict[str, str], key: str) -> str:
        """Note a request, and say what it comes to."""
        order_id = given["metadata[order_id]"]
        assert key == "~".join(
            given[f"metadata[{each}]"] for each in ("ledger", "order_id", "generation")
        )
        before = self.asked.get(order_id, "")
        self.asked[order_id] = before + given["metadata[generation]"]
        steps = order_id.split(".")[1:]
        return steps[len(before)] if len(before) < len(steps) else "paid"

    def pay(self, given: dict[str, str], more: int) -> dict[str, Any]:
        """Take the money, once for a key."""
        metadata = {
            name[9:-1]: value for name, value in given.items() if name.startswith("metadata[")
        }
        for payment in self.payments:
            if payment["metadata"] == metadata:
                return payment
        payment = {
            "id": f"pi_{len(self.payments)}",
            "object": "payment_intent",
            "amount": int(given["amount"]),
            "currency": given["currency"],
            "metadata": metadata,
            "status": "succeeded",
        }
        self.payments.append(payment)
        return payment | {"amount": payment["amount"] + more}
