"""The producer's thread: one input after another, to intake."""

from __future__ import annotations

import threading
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from services.producer.batcher import Batcher, at_rate
from services.producer.sources import synthetic
from services.producer.sources.several_inputs import AcrossInputs
from services.producer.sources.source import CutOff
from shared.errors import LedgerUnavailable, OrderlyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.producer.batcher import OnVerdict
    from services.producer.sources.files import Input
    from services.producer.sources.source import Source


class Reader:
    """Reads inputs, other sources and the generator, and feeds them to intake; in its own thread.

    Attributes:
        problems: Inputs that were not read to their end, or taken in in part, and why.
        notes: What was left out of them.
        error: What ended the reading early.
    """

    def __init__(
        self,
        batcher: Batcher,
        inputs: Sequence[Input],
        sources: Mapping[str, Source],
        *,
        orders: int,
        seed: int,
        rate: float | None,
        stop: threading.Event,
    ) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.error: OrderlyError | None = None
        self._bug: BaseException | None = None
        self._batcher = batcher
        self._inputs = inputs
        self._sources = sources
        self._orders = orders
        self._seed = seed
        self._rate = rate
        self._stop = stop
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether there is nothing more to come."""
        return not self._thread.is_alive()

    def check(self) -> None:
        """Raise in this thread what leaves the run nothing to do but to end."""
        if self._bug is not None:
            raise self._bug
        if isinstance(self.error, LedgerUnavailable):
            raise self.error

    @property
    def share(self) -> float | None:
        """How much of the input has been read, if that can be known."""
        if self._sources:
            return None
        if not self._inputs:
            return self._batcher.received / self._orders if self._orders else 1.0
        if self._orders or any(each.size is None for each in self._inputs):
            return None
        whole = sum(each.size or 0 for each in self._inputs)
        return sum(each.position() for each in self._inputs) / max(1, whole)

    def _run(self) -> None:
        try:
            self._read_inputs()
            for name, source in self._sources.items():
                self._consume(source, name)
            if self._orders:
                orders = synthetic.orders(self._orders, self._seed)
                self._consume(orders, "generator")
        except OrderlyError as error:
            self.error = error
        except BaseException as error:  # noqa: BLE001  raised again by check()
            self._bug = error

    def _read_inputs(self) -> None:
        with closing(AcrossInputs()) as across:
            for each in self._inputs:
                before = self._batcher.received
                on_verdict = partial(across.note, each) if len(self._inputs) > 1 else None
                source = across.guard(each) if on_verdict else each.orders()
                try:
                    is_whole = self._consume(source, each.name, on_verdict)
                    if is_whole and self._batcher.received == before:
                        self.notes.append(f"{each.name}: there are no orders in it")
                finally:
                    self._note(each)

    def _consume(self, source: Source, name: str, on_verdict: OnVerdict | None = None) -> bool:
        """Take in a source; return whether it was taken in to its end."""
        if self._rate:
            source = at_rate(source, self._rate, self._stop)
        try:
            if self._batcher.consume(source, on_verdict):
                return True
            self.problems.append(f"{name}: stopped before its end")
        except CutOff as cut:
            where = f"{name}, line {cut.line}" if cut.line else name
            self.problems.append(f"{where}: {cut.said}")
        return False

    def _note(self, source: Input) -> None:
        self.notes += source.notes.to_tell(source.name)
        self.problems += source.notes.problems(source.name)
