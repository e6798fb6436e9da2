"""Lessons on processes, words, zombies and daemons: what they show is really so."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.lessons import show

if TYPE_CHECKING:
    from tests.support.orderly import Orderly


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def test_program_or_process(orderly: Orderly) -> None:
    shown = show(orderly, "program-or-process")
    instances = [numbers(text) for text in shown.texts("the same small program")]
    assert {parent for _, parent in instances} == {shown.pid}
    assert len({pid for pid, _ in instances}) == 2
    assert len(shown.texts("fork() returned")) == 2
    assert shown.one("fork() returned 0").endswith("tea costs 420")
    children = {line.name: line for line in shown.lines if "my parent is" in line.text}
    assert children["fork"].text == f"my parent is {shown.pid}; tea costs 420 here"
    assert children["spawn"].text == f"my parent is {shown.pid}; tea costs 350 here"
    server, price = numbers(children["forkserver"].text)
    assert server not in {shown.pid, children["forkserver"].pid}
    assert price == 350
    assert shown.one(f"its parent {server} is the fork server")


def test_process_two_ways(orderly: Orderly) -> None:
    shown = show(orderly, "process-two-ways")
    assert len(shown.pids("target")) == len(shown.pids("payment")) == 3
    assert shown.pids("payment").isdisjoint({shown.pid})
    turns = [line.text.split()[0] for line in shown.lines if line.name == "in turn"]
    assert turns == ["charging", "charged"] * 3
    by_mistake = [line.pid for line in shown.lines if "A-4 of dan" in line.text]
    assert by_mistake == [shown.pid] * 2


def test_who_am_i(orderly: Orderly) -> None:
    shown = show(orderly, "who-am-i")
    assert shown.one("before start()").endswith("pid None, is_alive False, exitcode None")
    (child, *_) = [line for line in shown.lines if line.name == "consumer"]
    assert child.text == f"I am {child.pid}; my parent is {shown.pid}"
    assert shown.one("after start()").endswith(f"pid {child.pid}, is_alive True, exitcode None")
    *_, impolite, polite = shown.texts("after terminate(), is_alive() was True")
    assert numbers(impolite)[0] >= 1
    assert float(re.findall(r"([\d.]+) ms", polite)[0]) >= 200
    assert "is_alive False, exitcode -15" in shown.one("after join()")
    assert shown.one("it was asked").startswith("exitcode 0")


def test_separate_memory(orderly: Orderly) -> None:
    shown = show(orderly, "separate-memory")
    (here,) = set(re.findall(r"0x\w+", " ".join(line.text for line in shown.lines)))
    assert shown.one("now there are") == f"I sell 3; now there are 7, still at {here}"
    assert shown.one("here there are still") == (
        f"the child has ended; here there are still 10, at {here}"
    )
    assert shown.one("a message came").endswith("my own stock: 7")
    assert shown.one("2000 before").endswith("1000 now")


def test_endings(orderly: Orderly) -> None:
    shown = show(orderly, "endings", stderr="Process stumbler:\nKeyError: 'coffee'\n")
    codes = [text.removeprefix("exit code of ") for text in shown.texts("exit code of")]
    assert codes == [
        "payer: 0",
        "refuser: 3",
        "stumbler: 1",
        "crasher: -11, killed by SIGSEGV",
        "asked: -15, killed by SIGTERM",
        "killed: -9, killed by SIGKILL",
    ]
    assert not shown.texts("never printed")


def test_main_guard(orderly: Orderly) -> None:
    shown = show(orderly, "main-guard")
    spawned = shown.part("shop.py without", "the same without")
    assert len(spawned.texts("as __mp_main__")) == 1
    assert spawned.texts("! RuntimeError")
    assert not spawned.texts("paid")
    assert spawned.one("the child's exit code").endswith("1")
    for part in (shown.part("the same without", "with the guard"), shown.part("with the guard")):
        assert part.one("paid A-1")
        assert not part.texts("RuntimeError")
        assert part.one("the child's exit code").endswith("0")
    assert not shown.part("the same without", "with the guard").texts("__mp_main__")


def test_sync_async(orderly: Orderly) -> None:
    shown = show(orderly, "sync-async")
    first, second = shown.part("Synchronous", "Asynchronous"), shown.part("Asynchronous")
    assert sorted(first.texts("answer:")) == sorted(second.texts("answer:"))
    assert [text.split()[0] for text in first.texts("A-")][:4] == ["asking", "answer:"] * 2
    assert len(second.texts("done() is False")) == 3
    times = re.findall(r"(\d\.\d\d) s", shown.one("synchronous "))
    assert float(times[0]) > 1.15
    assert float(times[1]) < float(times[0])


def test_blocking_nonblocking(orderly: Orderly) -> None:
    shown = show(orderly, "blocking-nonblocking")
    assert [text[-2] for text in shown.texts("read() returned")] == ["d"] * 3
    calls = [numbers(text)[-1] for text in shown.texts("calls: ")]
    assert calls[0] == 1
    assert calls[1] > 1000
    assert calls[2] == 1 + len(shown.texts("not yet"))
    assert 2 <= calls[2] < 10
    assert shown.one("raised BlockingIOError")
    cpu = [float(found) for found in re.findall(r"which (\d\.\d\d) s on the CPU", shown.out)]
    assert cpu[0] < cpu[1]
    assert cpu[2] < cpu[1]


@pytest.mark.long
def test_concurrent_parallel(orderly: Orderly) -> None:
    shown = show(orderly, "concurrent-parallel")
    parts = (shown.part("1.", "2."), shown.part("2.", "3."), shown.part("3."))
    for part in parts:
        assert len(part.texts(" step ")) == 12
    assert parts[0].one("the jobs").endswith("took turns")
    assert parts[1].one("the jobs").endswith("overlapped")
    assert {line.pid for line in parts[1].lines} == {shown.pid}
    assert len(parts[2].pids("pricer")) == 3


def test_states(orderly: Orderly) -> None:
    shown = show(orderly, "states")
    seen = [text.split(":")[0] + text[-3:] for text in shown.texts("the system says '")]
    letters = {text.split(":")[0]: text for text in shown.texts("the system says '")}
    assert len(seen) == 6
    for name, letter in {
        "sleeping": "S",
        "running": "R",
        "stopped": "T",
        "continued": "R",
        "zombie": "Z",
        "joined": "",
    }.items():
        assert f"the system says '{letter}'" in letters[name]
    rivals = [re.findall(r"(\d\.\d\d) s", text) for text in shown.texts("ready for")]
    assert len(rivals) == 2
    assert all(float(ran) > 0 and float(waited) > 0 for ran, waited in rivals)


def test_zombie(orderly: Orderly) -> None:
    shown = show(orderly, "zombie")
    assert len(shown.texts("State:")) == len(shown.texts("Z (zombie)")) == 2
    first, second = [numbers(text)[0] for text in shown.texts("PPid:")]
    assert first == shown.pid
    assert {second} == shown.pids("parent")
    assert shown.one("kill -9").endswith("its state is Z: dead already")
    assert shown.one("1. waitpid()").endswith("gone")
    assert shown.one("2. SIGCHLD").endswith("gone")
    assert "has adopted and reaped it" in shown.one("3. the parent's end")


def test_orphan(orderly: Orderly) -> None:
    shown = show(orderly, "orphan")
    (orphan,) = shown.pids("consumer")
    (parent,) = shown.pids("parent")
    assert shown.one("my parent is") == f"my parent is {parent}"
    adopter = numbers(shown.one("I am an orphan"))[0]
    assert adopter not in {parent, shown.pid, orphan}
    assert shown.one("not I") == f"not I, its grandparent, but {adopter} adopted {orphan}"
    said = [line.text for line in shown.lines]
    assert said.index(shown.one("and I end without")) < said.index(shown.one("I am an orphan"))
    assert shown.one(f"{orphan} has ended, and its new parent has reaped it")


def test_daemon(orderly: Orderly) -> None:
    shown = show(orderly, "daemon")
    flag = shown.part("multiprocessing's", "daemon = True")
    said = [line.text.split()[0] for line in flag.lines if line.name in {"shop", "report"}]
    assert said == ["my", "no"]
    assert flag.one("the shop has ended, after the report").endswith("is gone")
    assert "process has already started" in shown.one("AssertionError")

    killed = shown.part("Now a shop is killed")
    plain = killed.one("is still there")
    pid, adopter = numbers(plain)
    assert adopter not in shown.pids("shop")
    assert killed.one("following").endswith("has left with it")
    assert killed.one(f"I hung up on {pid}: now it is gone, too")
