"""Pipes to and from other programs: Popen, a chain of two, os.popen."""

from __future__ import annotations

import os
import sys
from subprocess import PIPE

from lessons.stage import close, detail, play, program, say

ORDERS = "A-1,ada,12.50\nA-2,ben,7.00\nA-3,cho,43.00\nA-4,ada,9.99\n"

# A program of its own, that knows nothing of us: it reads lines and writes lines.
PRICER = """
import os, sys
total = 0
for line in sys.stdin:
    order, customer, price = line.strip().split(",")
    total += round(float(price) * 100)
    print(f"process {os.getpid()} took {price} EUR from {customer} for {order}")
print(f"process {os.getpid()} saw the end of its input: {total / 100:.2f} EUR in all")
"""


def talk_to_a_program() -> None:
    """Write to a program and read what it answers."""
    with program(sys.executable, "-c", PRICER, stdin=PIPE, stdout=PIPE) as pricer:
        out, _ = pricer.communicate(ORDERS)  # writes and reads at once, and closes what it wrote to
    say(f"Popen started process {pricer.pid}, which ended with exit code {pricer.returncode}:")
    for line in out.splitlines():
        detail(line)


def chain_two_programs() -> None:
    """Connect two programs, as `sort | pricer` does in a shell."""
    with (
        program("sort", "-t,", "-k2", stdin=PIPE, stdout=PIPE) as sort,
        program(sys.executable, "-c", PRICER, stdin=sort.stdout, stdout=PIPE) as pricer,
    ):
        if sort.stdin is None or sort.stdout is None:
            raise RuntimeError("PIPE was asked for")
        sort.stdout.close()  # only the pricer reads it: if that dies, sort is to notice
        sort.stdin.write(ORDERS)
        sort.stdin.close()
        out, _ = pricer.communicate()
    say(f"sort, process {sort.pid}, wrote right into {pricer.pid}; not through me, {os.getpid()}:")
    for line in out.splitlines():
        detail(line)


def fill_a_pipe() -> None:
    """Write to a pipe that nobody reads, until it takes no more."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    size = 0
    try:
        while True:
            size += os.write(writes, bytes(1024))
    except BlockingIOError:
        say(f"a pipe holds {size} bytes here; then write() waits until somebody reads")
    os.close(reads)
    try:
        os.write(writes, b"A-5")
    except BrokenPipeError:
        say("with no reader left, write() raises BrokenPipeError")
    os.close(writes)


def use_a_shell() -> None:
    """Use os.popen: short, and there is a shell in between."""
    with os.popen("echo the shell is process $$") as answer:
        say(f"os.popen: {answer.read().strip()}")


def main() -> None:
    """Talk to other programs through pipes."""
    talk_to_a_program()
    chain_two_programs()
    use_a_shell()
    fill_a_pipe()
    close(
        "Programs that know nothing of each other passed orders on, and each saw the end of its "
        "input when the writing side was closed.",
        "A program's input and output are pipes if its parent says so. They hold some KiB: who "
        "writes all before reading anything may wait for ever, so use communicate().",
        "services/producer/sources/streams.py reads orders from standard input, so `orderly run "
        "-` takes its place in any chain; services/processes/signals.py wakes it when it waits "
        "there.",
    )


if __name__ == "__main__":
    play(main)
