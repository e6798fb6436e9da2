"""Taking turns: one at a time, not for ever, and whoever gave up holds nothing later."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from shared.ledger.database.file_lock import file_lock

if TYPE_CHECKING:
    from pathlib import Path


def test_a_turn_waits_for_the_one_before_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    entered = threading.Event()

    def next_one() -> None:
        with file_lock(path, 30):
            entered.set()

    with ExitStack() as mine:
        mine.enter_context(file_lock(path, None))
        waiting = threading.Thread(target=next_one)
        waiting.start()
        assert not entered.wait(0.1)
    assert entered.wait(30)
    waiting.join()


def test_who_gives_up_does_not_get_the_turn_later(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with file_lock(path, None):
        for _ in range(3):
            with pytest.raises(TimeoutError), file_lock(path, 0.05):
                pytest.fail("the lock is taken")
    # The three that gave up stand before this one in the kernel's queue, and let it pass.
    with file_lock(path, 30):
        pass


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), file_lock(tmp_path / "nowhere" / "lock", 1):
        pytest.fail("there is no such folder")
