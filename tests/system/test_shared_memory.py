"""A machine without the shared memory that semaphores need, or without /proc."""

from __future__ import annotations

import pytest

from tests.support.needs import needed
from tests.support.orderly import COMMAND, Orderly, assert_one_line, finish

RUN = ("run", "--orders", "3", "--seed", "1")
NODES = "for each in null zero urandom; do touch dev/$each; mount --bind /dev/$each dev/$each; done"


@pytest.mark.anew
@pytest.mark.parametrize("command", [RUN, ("serve", "--port", "0")])
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("mount -t tmpfs -o ro none /dev/shm", "Read-only file system"),
        (
            "mount -t tmpfs -o size=4k none /dev/shm; head -c 4096 /dev/zero >/dev/shm/full",
            "No space left on device",
        ),
        (f"mkdir dev; mount -t tmpfs none dev; {NODES}; mount --rbind dev /dev", "No such file"),
    ],
)
def test_shared_memory_that_cannot_be_used_is_named_in_one_line(
    orderly: Orderly, command: tuple[str, ...], spoil: str, why: str
) -> None:
    apart = [str(needed("unshare")), "--mount", "--map-root-user"]
    script = ["sh", "-c", f'{spoil}; exec "$@"', "sh"]
    process = orderly.start(*command, command=[*apart, *script, *COMMAND])
    assert_one_line(finish(process), 3, "/dev/shm", why)  # noqa: S108


@pytest.mark.anew
def test_without_proc_workers_are_started_all_the_same(orderly: Orderly) -> None:
    apart = [str(needed("unshare")), "--mount", "--map-root-user"]
    script = ["sh", "-c", 'mount -t tmpfs none /proc; exec "$@"', "sh"]
    result = finish(orderly.start(*RUN, "--json", command=[*apart, *script, *COMMAND]))
    assert result.code == 0, result.err
    assert (result.json["created"], result.json["verified"]) == (3, True)
