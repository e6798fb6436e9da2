"""Whose turn is it? One stream of orders under four policies, side by side."""

from __future__ import annotations

import argparse
import math
import re
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from lessons.stage import close, detail, play, say

STREAM = "ada:0:8 ben:1:4 cho:2:9 dan:4:1 eve:6:5 fay:7:2 gus:15:3"


@dataclass(eq=False)
class Order:
    """An order that one consumer works on; times are in ticks of a simulated clock."""

    name: str
    arrives: int
    work: int
    left: int = 0
    ends: int = 0

    @property
    def turnaround(self) -> int:
        """From its arrival to its end."""
        return self.ends - self.arrives

    @property
    def waiting(self) -> int:
        """The part of this in which nobody worked on it."""
        return self.turnaround - self.work


class Policy(ABC):
    """Decides at every tick which of the orders that are there is worked on."""

    title: str

    @abstractmethod
    def add(self, order: Order) -> None:
        """Take in an order that has arrived."""

    @abstractmethod
    def pick(self, clock: int) -> Order | None:
        """Choose for the tick that begins now."""

    @abstractmethod
    def ran(self, order: Order) -> None:
        """Learn that the order chosen was worked on for a tick; perhaps it is finished."""


class FirstCome(Policy):
    """First come, first served: simple and fair, and a short order may wait behind a long one."""

    title = "first come, first served"

    def __init__(self) -> None:
        self.queue: deque[Order] = deque()

    def add(self, order: Order) -> None:
        self.queue.append(order)

    def pick(self, clock: int) -> Order | None:  # noqa: ARG002
        return self.queue[0] if self.queue else None

    def ran(self, order: Order) -> None:
        if not order.left:
            self.queue.popleft()


class ShortestFirst(Policy):
    """Shortest job first: the least waiting on average, if one knows how long each will take."""

    title = "shortest job first"

    def __init__(self) -> None:
        self.there: list[Order] = []
        self.at_work: Order | None = None

    def add(self, order: Order) -> None:
        self.there.append(order)

    def pick(self, clock: int) -> Order | None:  # noqa: ARG002
        if self.at_work is None and self.there:
            self.at_work = min(self.there, key=lambda order: order.work)
            self.there.remove(self.at_work)
        return self.at_work

    def ran(self, order: Order) -> None:
        if not order.left:
            self.at_work = None


class RoundRobin(Policy):
    """Round robin: each has a turn of so many ticks, then it goes to the end of the queue."""

    def __init__(self, quantum: int) -> None:
        self.title = f"round robin, turns of {quantum}"
        self.quantum = quantum
        self.queue: deque[Order] = deque()
        self.used = 0

    def add(self, order: Order) -> None:
        self.queue.append(order)

    def pick(self, clock: int) -> Order | None:  # noqa: ARG002
        if self.used == self.quantum:
            # Only now, so that whoever has just arrived stands before the one that had its turn.
            self.queue.rotate(-1)
            self.used = 0
        return self.queue[0] if self.queue else None

    def ran(self, order: Order) -> None:
        self.used += 1
        if not order.left:
            self.queue.popleft()
            self.used = 0


class Feedback(Policy):
    """A multilevel feedback queue: more than sorting by priority, for it learns.

    A new order begins at the top level. Who has used up its share of a level, in however many
    pieces, moves down to longer turns that come less often. The highest level that has anybody
    goes first. Now and then all go back to the top, so that nobody waits for ever at the bottom.
    """

    def __init__(self, shares: tuple[int, ...] = (2, 4, 8), boost: int = 20) -> None:
        self.title = f"feedback, {len(shares)} levels"
        self.shares = shares
        self.boost = boost
        self.levels: list[deque[Order]] = [deque() for _ in shares]
        self.used: dict[Order, int] = {}

    def add(self, order: Order) -> None:
        self.levels[0].append(order)
        self.used[order] = 0

    def pick(self, clock: int) -> Order | None:
        if clock and clock % self.boost == 0:
            everybody = [order for level in self.levels for order in level]
            self.levels = [deque(everybody), *(deque() for _ in self.shares[1:])]
            self.used = dict.fromkeys(everybody, 0)
        return next((level[0] for level in self.levels if level), None)

    def ran(self, order: Order) -> None:
        number = next(number for number, level in enumerate(self.levels) if order in level)
        self.used[order] += 1
        if not order.left:
            self.levels[number].popleft()
        elif self.used[order] == self.shares[number]:
            self.levels[number].popleft()
            self.levels[min(number + 1, len(self.levels) - 1)].append(order)
            self.used[order] = 0


def simulate(policy: Policy, stream: str) -> tuple[list[Order], list[str]]:
    """Run a stream under a policy; return its orders, and who was worked on at each tick."""
    orders = parse(stream)
    timeline: list[str] = []
    while any(not order.ends for order in orders):
        clock = len(timeline)
        for order in orders:
            if order.arrives == clock:
                policy.add(order)
        chosen = policy.pick(clock)
        timeline.append(chosen.name if chosen else "")
        if chosen:
            chosen.left -= 1
            if not chosen.left:
                chosen.ends = clock + 1
            policy.ran(chosen)
    return orders, timeline


def parse(stream: str) -> list[Order]:
    """Read orders, as NAME:ARRIVAL:WORK with blanks in between."""
    orders = []
    for word in stream.split():
        match = re.fullmatch(r"([\w-]{1,12}):(\d{1,2}):([1-9]\d?)", word, re.ASCII)
        if match is None:
            raise argparse.ArgumentTypeError(f"{word!r} is not NAME:ARRIVAL:WORK, as in ada:0:8")
        name, arrives, work = match.groups()
        orders.append(Order(name, int(arrives), int(work), left=int(work)))
    if not orders or len({order.name for order in orders}) < len(orders):
        raise argparse.ArgumentTypeError("name at least one order, and each of them once")
    return orders


def percentile_95(values: list[int]) -> int:
    """The least value that 95 of 100 do not exceed (nearest rank)."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def draw(orders: list[Order], timeline: list[str]) -> None:
    """Draw a Gantt chart: `#` is at work, `.` waits."""
    for order in orders:
        cells = [
            "#" if name == order.name else "." if order.arrives <= clock < order.ends else " "
            for clock, name in enumerate(timeline)
        ]
        detail(f"{order.name:<12} {''.join(cells).rstrip()}")
    marks = "".join(f"{clock:<5}" for clock in range(0, len(timeline) + 1, 5))
    detail(f"{'':<12} {marks.rstrip()}")


def as_svg(charts: list[tuple[str, list[Order], list[str]]]) -> str:
    """Draw the same charts as one picture."""
    step, height = 16, 20
    shapes = []
    y = 0
    for title, orders, timeline in charts:
        y += 2 * height
        shapes.append(f'<text x="10" y="{y - 6}" font-weight="bold">{title}</text>')
        for order in orders:
            x = 120 + step * order.arrives
            width = step * order.turnaround
            shapes.append(f'<text x="10" y="{y + 14}">{order.name}</text>')
            shapes.append(f'<rect x="{x}" y="{y + 8}" width="{width}" height="4" fill="#c8ccd0"/>')
            shapes += [
                f'<rect x="{120 + step * clock}" y="{y + 2}" width="{step}" height="16" '
                'fill="#2a6f97"/>'
                for clock, name in enumerate(timeline)
                if name == order.name
            ]
            y += height
    width = 140 + step * max(len(timeline) for _, _, timeline in charts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 20}" '
        f'font-family="sans-serif" font-size="13">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(shapes) + "\n</svg>\n"
    )


def main() -> None:
    """Run one stream of orders under each policy, and compare."""
    options = argparse.ArgumentParser(prog="scheduling", description=__doc__)
    options.add_argument("--orders", default=STREAM, help="NAME:ARRIVAL:WORK, blanks in between")
    options.add_argument("--quantum", type=int, default=4, help="the length of a round robin turn")
    options.add_argument(
        "--svg", type=Path, metavar="FILE", help="draw the charts into a file, too"
    )
    given = options.parse_args()
    try:
        parse(given.orders)
    except argparse.ArgumentTypeError as error:
        options.error(str(error))
    if given.quantum < 1:
        options.error("--quantum: a turn takes at least 1 tick")

    say("orders as NAME:ARRIVAL:WORK, in ticks of the clock:")
    detail(given.orders)
    charts, rows = [], []
    for policy in (FirstCome(), ShortestFirst(), RoundRobin(given.quantum), Feedback()):
        orders, timeline = simulate(policy, given.orders)
        say(f"{policy.title}: # is at work, . waits")
        draw(orders, timeline)
        charts.append((policy.title, orders, timeline))
        waiting = [order.waiting for order in orders]
        turnaround = [order.turnaround for order in orders]
        rows.append(
            f"{policy.title:<27}{mean(waiting):>8.2f}{percentile_95(waiting):>6}"
            f"{mean(turnaround):>12.2f}{percentile_95(turnaround):>6}"
        )
    say("waiting and turnaround: mean, and what 95 of 100 orders do not exceed")
    detail(f"{'':<27}{'waiting':>8}{'95%':>6}{'turnaround':>12}{'95%':>6}")
    for row in rows:
        detail(row)
    if given.svg:
        try:
            given.svg.write_text(as_svg(charts), encoding="utf-8")
        except OSError as error:
            options.error(f"cannot write {given.svg}: {error.strerror}")
        say(f"drawn into {given.svg}")
    close(
        "The same orders and the same work, four times. Shortest first mostly waits least on "
        "average; with turns, short orders get through early and long ones end late.",
        "No policy is best for all. Shortest first has to know the work beforehand; feedback "
        "learns it: whoever needs long moves down a level, and is lifted up again now and then.",
        "services/payment/settle.py is first come, first served within a partition, for customers "
        "rely on that; between partitions services/worker/process.py takes turns of a second.",
    )


if __name__ == "__main__":
    play(main, takes_arguments=True)
