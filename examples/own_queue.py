"""A queue of one's own: a folder for each worker, a file for each message; and a run over it.

    python -m examples.own_queue examples/journey-orders.csv

A file is renamed when it is taken and deleted when it is done. Processes share no lock, so none
keeps one when it is killed. The port is ``shared/queue/port.py``, and the tests in
``tests/contract`` hold this queue to it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from services.cli.carry_out import carry_out
from services.cli.common import read_settings, run_command_line
from services.pipeline.local import LocalPipeline
from services.run import Plan
from shared.queue.port import Deliveries, EndOfQueue, QueuePerWorker
from shared.schema import encode_nudge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.schema import Message

CAPACITY = 16
"""Messages that wait for a worker."""

LOOK_SECONDS = 0.002
WAITING, TAKEN = ".waiting", ".taken"
END = b""


class FolderDeliveries(Deliveries):
    """A worker's end; all that travels to the worker's process is the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @override
    def receive(self, timeout: float) -> bytes | None:
        deadline = time.monotonic() + timeout
        while not (waiting := sorted(self.folder.glob(f"*{WAITING}"))):
            if time.monotonic() >= deadline:
                return None
            time.sleep(LOOK_SECONDS)
        # Before anybody looks at the journal: see FolderQueue.put().
        taken = waiting[0].rename(waiting[0].with_suffix(TAKEN))
        if message := taken.read_bytes():
            return message
        self.done()
        raise EndOfQueue

    @override
    def done(self) -> None:
        for taken in self.folder.glob(f"*{TAKEN}"):
            taken.unlink()


class FolderQueue(QueuePerWorker):
    """The producer's end.

    Args:
        ledger_id: Whose messages these are.
        workers: How many consumers there are.
    """

    def __init__(self, ledger_id: str, workers: int) -> None:
        self._ledger_id = ledger_id
        self._root = Path(tempfile.mkdtemp(prefix="orderly-queue-"))
        self._folders = [self._new_folder() for _ in range(workers)]
        self._sent = 0
        self._latest: dict[int, Path] = {}
        self._owed: set[int] = set()
        self._lock = threading.Lock()  # of this process's threads alone

    @override
    def renew(self, worker: int) -> FolderDeliveries:
        with self._lock:
            shutil.rmtree(self._folders[worker], ignore_errors=True)
            # Whoever has a worker replaced nudges all of its partitions.
            self._owed = {each for each in self._owed if each % len(self._folders) != worker}
            self._folders[worker] = self._new_folder()
        return FolderDeliveries(self._folders[worker])

    @override
    def put(self, messages: Iterable[Message]) -> None:
        with self._lock:
            for partition, body in messages:
                # Whoever takes the message that waits reads the journal afterwards, and there all
                # is that was accepted before this was put. So is it where a nudge is owed.
                if partition in self._owed or self._is_waiting(partition):
                    continue
                if not self._send(partition, body):
                    self._owed.add(partition)

    @override
    def nudge(self, partitions: Iterable[int]) -> None:
        with self._lock:
            self._owed.update(partitions)
        self.flush()

    @override
    def flush(self) -> None:
        with self._lock:
            for partition in sorted(self._owed):
                nudge = encode_nudge(self._ledger_id, partition)
                if self._is_waiting(partition) or self._send(partition, nudge):
                    self._owed.discard(partition)

    @override
    def depth(self) -> int:
        with self._lock:
            return len(self._owed) + sum(len([*each.iterdir()]) for each in self._folders)

    @override
    def join(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self.depth():
            if time.monotonic() > deadline:
                return False
            self.flush()
            time.sleep(LOOK_SECONDS)
        return True

    @override
    def finish(self, worker: int) -> bool:
        with self._lock:
            return self._write(self._folders[worker], END) is not None

    @override
    def close(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._root))

    def _is_waiting(self, partition: int) -> bool:
        return partition in self._latest and self._latest[partition].exists()

    def _send(self, partition: int, body: bytes) -> bool:
        """Send a message if there is room for it."""
        folder = self._folders[partition % len(self._folders)]
        if len([*folder.glob(f"*{WAITING}")]) >= CAPACITY:
            return False
        path = self._write(folder, body)
        if path is None:
            return False
        self._latest[partition] = path
        return True

    def _write(self, folder: Path, body: bytes) -> Path | None:
        """Write a message where it cannot be seen, and rename it to where it can."""
        draft = self._root / "draft"
        self._sent += 1
        try:
            draft.write_bytes(body)
            return draft.rename(folder / f"{self._sent:012}{WAITING}")
        except OSError:  # the disk is full: the journal has it, too
            return None


class FolderPipeline(LocalPipeline):
    """The pipeline of local mode, with this queue in place of its own."""

    @override
    def new_queue(self) -> FolderQueue:
        return FolderQueue(self._ledger.ledger_id, self._settings.payment_workers)


def main() -> None:
    """Run the files that are named as `orderly run` does."""
    parser = argparse.ArgumentParser(prog="python -m examples.own_queue")
    parser.add_argument("files", nargs="*", metavar="FILE", help="orders; - is standard input")
    parser.add_argument("--fresh", action="store_true", help="begin with an empty ledger")
    arguments = parser.parse_args()
    plan = Plan(files=arguments.files, fresh=arguments.fresh)
    carry_out(read_settings(employs=True), plan, pipeline=FolderPipeline)


if __name__ == "__main__":
    run_command_line(main)
