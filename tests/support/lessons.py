"""Lessons as a learner runs them, in sessions of their own, and what they showed."""

from __future__ import annotations

import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.support.eventually import eventually
from tests.support.orderly import kill, processes_of_session

if TYPE_CHECKING:
    from tests.support.orderly import Orderly

WITHIN = 20.0
"""A lesson takes less than ten seconds; beside other tests it is given twice that."""

_LINE = re.compile(r" *(\d+\.\d\d) s +(\d+) (.{11}) (.*)")


class Line(NamedTuple):
    """Who said what, and when; details under a line are lines of the same process."""

    seconds: float
    pid: int
    name: str
    text: str


@dataclass
class Shown:
    """All that a lesson showed.

    Attributes:
        out: Its standard output.
        lines: What was said before the closing words.
        closing: The closing words, each on one line, by their titles.
        pid: The process that the learner started.
    """

    out: str
    lines: list[Line]
    closing: dict[str, str]
    pid: int

    def texts(self, word: str = "", name: str = "") -> list[str]:
        """What was said with a word in it, by processes whose name begins like this."""
        return [
            line.text for line in self.lines if word in line.text and line.name.startswith(name)
        ]

    def one(self, word: str) -> str:
        """What was said with this word, which was said once."""
        (found,) = self.texts(word)
        return found

    def part(self, begin: str, end: str | None = None) -> Shown:
        """The lines from one that begins with some words to another."""
        first = next(n for n, line in enumerate(self.lines) if line.text.startswith(begin))
        last = len(self.lines)
        if end is not None:
            last = next(n for n, line in enumerate(self.lines) if line.text.startswith(end))
        return Shown(self.out, self.lines[first:last], self.closing, self.pid)

    def pids(self, name: str) -> set[int]:
        """The processes whose name begins like this."""
        return {line.pid for line in self.lines if line.name.startswith(name)}


def show(orderly: Orderly, name: str, *arguments: str, stderr: str = "") -> Shown:
    """Run a lesson to its end, and hold it to what every lesson promises."""
    temporary = orderly.folder / "temporary"
    temporary.mkdir(exist_ok=True)
    orderly.environment["TMPDIR"] = str(temporary)
    running = orderly.start("lesson", name, *arguments)
    out, err = running.communicate(timeout=WITHIN)
    left = processes_of_session(running.pid)
    assert running.returncode == 0, (out, err)
    assert err == stderr
    assert left == [], "the lesson has ended, and these of its processes have not"
    assert list(temporary.iterdir()) == []
    body, _, end = out.partition("\nWhat you saw")
    lines: list[Line] = []
    for text in body.splitlines():
        match = _LINE.fullmatch(text)
        if match:
            lines.append(Line(float(match[1]), int(match[2]), match[3].strip(), match[4]))
        elif lines:
            lines.append(lines[-1]._replace(text=text.strip()))
    words = " ".join(f"What you saw{end}".split())
    found = re.fullmatch(r"What you saw (.+) Why (.+) In Orderly (.+)", words)
    assert found, words
    closing = dict(zip(("saw", "why", "here"), found.groups(), strict=True))
    return Shown(out, lines, closing, running.pid)


def alive(session: int) -> list[int]:
    """List those that have not ended, or whose parent is still to reap them.

    Orphans of a killed lesson are reaped by pid 1, at its own pace.
    """
    return [pid for pid in processes_of_session(session) if state_and_parent(pid) != ("Z", 1)]


def state_and_parent(pid: int) -> tuple[str, int]:
    try:
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ("Z", 1)
    return (state, int(parent))


def strike(orderly: Orderly, name: str, number: signal.Signals, after: str) -> int:
    """Send a signal to a lesson that has just said something; return how it ended."""
    arguments = ("--port", "0") if name == "tcp-server" else ()
    # What `orderly lesson` becomes, without the tenth of a second that it takes before.
    command = [sys.executable, "-P", "-m", f"lessons.{name.replace('-', '_')}"]
    running = orderly.start(*arguments, command=command)
    assert running.stdout is not None
    while (line := running.stdout.readline()) and after not in line:
        pass
    # A terminal sends SIGINT to everybody.
    for pid in processes_of_session(running.pid) if number == signal.SIGINT else [running.pid]:
        kill(pid, number)
    _, err = running.communicate(timeout=WITHIN)
    eventually(lambda: not alive(running.pid), what="the end of all its processes")
    # A child that is just being started when its parent is killed cannot know what to do.
    assert number == signal.SIGKILL or "Traceback" not in err, err
    return running.returncode
