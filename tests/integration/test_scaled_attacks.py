"""Whoever can write to Redis can neither run anything here, nor change what is charged."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shared.queue.redis_keys import on_its_way, queue_name
from shared.schema import encode_nudge
from tests.support.attacks import BOMB_BYTES, FUNCTION, NOISE, REFUSED, Attacker
from tests.support.eventually import eventually
from tests.support.inputs import order
from tests.support.server import Server, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.scaled import Scaled
    from tests.support.servers.redis_server import RedisServer


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Somebody who waits for a call."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.0)
        yield listening


@pytest.fixture
def besieged(scaled: Scaled) -> Iterator[Server]:
    """A service whose two workers are alive to the end, and charge what the journal says."""
    service = Server(scaled)
    try:
        service.start("--workers", "2")
        pids = service.workers
        yield service
        scaled.until_settled(scaled.accepted())
        assert service.workers == pids
        assert service.stop().code == 0
        scaled.assert_serial()
    finally:
        service.close()


def attacker(scaled: Scaled, listening: socket.socket) -> Attacker:
    loot = scaled.folder / "loot"
    loot.mkdir()
    ledger_id = scaled.ledger_id()
    return Attacker(
        scaled.redis(),
        queue_name(ledger_id),
        encode_nudge(ledger_id, 3).decode(),
        loot,
        f"http://127.0.0.1:{listening.getsockname()[1]}/",
    )


def place(server: Server, name: str, count: int) -> None:
    """Place orders of many customers."""
    block = (order(f"{name}-{n}", customer_id=f"c-{n % 40}") for n in range(count))
    assert {answer["code"] for answer in server.bulk(lines(block))} == {202}


@pytest.mark.long
def test_strangers_jobs_are_refused_and_say_why(
    scaled: Scaled, besieged: Server, listener: socket.socket
) -> None:
    place(besieged, "before", 200)
    it = attacker(scaled, listener)
    for name, (push, _) in REFUSED.items():
        push(it, name)
        place(besieged, name, 20)
    wanted = {name: why for name, (_, why) in REFUSED.items() if why}
    eventually(lambda: it.refused().keys() >= wanted.keys(), within=30, what="all are refused")
    found = {name: why[: len(wanted[name])] for name, why in it.refused().items()}
    assert found == wanted
    assert not list(it.loot.iterdir())
    assert all(peak_memory(pid) < BOMB_BYTES for pid in besieged.workers)
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.long
def test_messages_that_the_journal_does_not_vouch_for_change_nothing(
    scaled: Scaled, besieged: Server, listener: socket.socket
) -> None:
    place(besieged, "before", 400)
    scaled.until_settled(400)
    it = attacker(scaled, listener)
    ((genuine,),) = scaled.query(
        "SELECT convert_from(body, 'UTF8') FROM journal ORDER BY partition LIMIT 1"
    )
    partition, many = (json.loads(genuine)[name] for name in ("partition", "last"))

    def changed(**fields: object) -> str:
        return json.dumps(json.loads(genuine) | fields, separators=(",", ":"))

    assert changed() == genuine
    forged = [
        genuine.replace('"unit_price":150', '"unit_price":1'),
        changed(partition=partition + 1),
        changed(first=0, last=many - 1),
        # Numbers that were never given, up to one that no database holds.
        *(changed(first=n, last=n + many - 1) for n in (10**9, 10**17, 10**30)),
        genuine[:-1],
    ]
    foreign = [
        changed(ledger_id="another-ledger"),
        changed(partition=9999),
        changed(partition=10**30),
    ]
    unreadable = [changed(schema_version=2), changed(first=-1)]
    before = scaled.meters()
    for number, message in enumerate([*forged, *foreign, *unreadable, *[genuine] * 10]):
        it.made(f"message-{number}", FUNCTION, message)
        place(besieged, f"beside-{number}", 20)
    wanted = {"forged": len(forged), "foreign": len(foreign), "unreadable": len(unreadable)}
    wanted["redelivered"] = before["redelivered"] + 10

    def counted() -> bool:
        now = scaled.meters()
        return all(now[kind] >= number for kind, number in wanted.items())

    eventually(counted, within=30, what="each message is counted as what it is")
    page = besieged.client.get("/metrics").text
    for kind in ("forged", "foreign", "unreadable"):
        assert f'orderly_deliveries_total{{kind="{kind}"}} {wanted[kind]}.0' in page
    assert len(it.refused()) == len(unreadable)


@pytest.mark.long
def test_junk_in_queue_and_registries_is_taken_out(
    scaled: Scaled, besieged: Server, listener: socket.socket
) -> None:
    place(besieged, "before", 200)
    it = attacker(scaled, listener)
    it.connection.rpush("rq:job:wrong-type", "a list, where a hash should be")
    for entry in (
        NOISE,
        b"",
        b"\xff",
        b"no-such-job",
        b"wrong-type",
        b"rq:job:wrong-type",
        b"../x",
    ):
        it.push(entry)
        it.connection.rpush(it.between, entry)
        it.connection.zadd(it.started, {entry: 1})
    it.connection.zadd(it.started, dict.fromkeys(("no-such-job:1", "wrong-type:1", "a:b:c:d"), 1))
    # Behind all of that is a job that a dead worker has really left, and it is done.
    it.abandon("left-behind", retries_left=3)
    place(besieged, "beside", 200)

    def is_clean() -> bool:
        keys = f"rq:queue:{it.name}", it.between, it.started, "rq:job:left-behind"
        return not it.connection.exists(*keys)

    eventually(is_clean, within=60, what="nothing is left of it")
    assert not it.refused()
    place(besieged, "after", 200)


@pytest.mark.long
def test_a_key_of_the_wrong_type_is_taken_out_and_named(
    on_own_redis: Scaled, own_redis: RedisServer
) -> None:
    """Whichever it is, be it there before a service starts, or come while one runs."""
    scaled = on_own_redis
    scaled("migrate")
    name = queue_name(scaled.ledger_id())
    queue, lock = f"rq:queue:{name}", f"rq:clean_registries:{name}"
    keys = [queue, f"{queue}:intermediate", f"rq:wip:{name}", f"rq:failed:{name}", lock]
    keys += [f"rq:workers:{name}", "rq:workers", "rq:queues"]

    def spoil(key: str) -> None:
        own_redis.ask("SET", key, "junk")

    def named(key: str) -> int:
        return sum("held what it may not" in each["event"] for each in server.logged(key=key))

    for key in keys:
        spoil(key)
    with closing(Server(scaled)) as server:
        server.start("--workers", "1")
        for number, key in enumerate(2 * keys):
            times = 1 + number // len(keys)
            if times > 1:
                spoil(key)
            eventually(lambda key=key, times=times: named(key) >= times, within=30, what=key)  # type: ignore[misc]
            assert server.place(order(f"a-{number}")).status_code == 202
            scaled.until_settled(number + 1)
        eventually(lambda: not server.client.get("/status").json()["queue_trouble"], within=30)
        assert server.stop().code == 0
    scaled.assert_serial()


def peak_memory(pid: int) -> int:
    """The most memory that a process ever had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@pytest.mark.long
@pytest.mark.parametrize("lasting", [{"ex": 3600}, {}])
def test_a_mark_that_stays_keeps_no_partition_waiting(
    besieged: Server, scaled: Scaled, lasting: dict[str, int]
) -> None:
    for partition in range(16):
        scaled.redis().set(on_its_way(scaled.ledger_id(), partition), "1", **lasting)  # type: ignore[arg-type]
    for number in range(16):
        assert besieged.place(order(f"a-{number}", customer_id=f"c-{number}")).status_code == 202
    scaled.until_settled(16)
