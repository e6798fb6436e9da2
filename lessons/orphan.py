"""The parent goes first: who adopts the child?"""

from __future__ import annotations

import os

from lessons.stage import close, fork, play, say
from lessons.watching import name_of, state_of, until


def main() -> None:
    """Start a parent that starts a child and ends before it."""
    hears, told = os.pipe()
    parent_is_there, parent_holds = os.pipe()

    def consumer() -> None:
        os.close(hears)
        os.close(parent_holds)
        parent = os.getppid()
        say(f"my parent is {parent}")
        os.write(told, b"!")
        os.read(parent_is_there, 1)  # end of file: nobody holds the other end any more
        until(lambda: os.getppid() != parent)
        adopter = os.getppid()
        say(f"my parent has gone; now it is {adopter}, {name_of(adopter)}. I am an orphan")
        say("paid A-1 of ada: an orphan works like anybody else")
        os.write(told, f"{os.getpid()} {adopter}".encode())

    def shop() -> None:
        say(f"I am the parent, and mine is {os.getppid()}")
        child = fork("consumer", consumer)
        os.read(hears, 1)
        say(f"my child {child} is at work, and I end without waiting for it")

    say(f"I am the grandparent, {os.getpid()}; I start a parent, and it starts a child")
    parent = fork("parent", shop)
    os.close(told)
    os.close(parent_holds)
    os.waitpid(parent, 0)
    say(f"the parent, {parent}, has ended and I have reaped it")
    orphan, adopter = map(int, os.read(hears, 50).split())
    if adopter == os.getpid():
        say("I am this container's first process: it fell to me to adopt my grandchild")
        os.waitpid(orphan, 0)
    else:
        say(f"not I, its grandparent, but {adopter} adopted {orphan}")
    if until(lambda: not state_of(orphan)):
        say(f"{orphan} has ended, and its new parent has reaped it")
    else:
        say(f"{orphan} has ended, and {adopter} does not reap it: see the lesson zombie")
    close(
        "When its parent ended, the child got another one: pid 1, or a process that has asked the "
        "system for this task, as user sessions and containers do. It went on working.",
        "Somebody must be there to reap it, so the system finds it a new parent. Nobody tells the "
        "orphan; and nobody stops it, either.",
        "services/processes/child.py lets a worker leave with its parent: an orphaned worker "
        "would hold the ledger open, and take orders that nobody supervises.",
    )


if __name__ == "__main__":
    play(main)
