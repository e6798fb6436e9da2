"""Several Redis servers that belong together: a cluster, and a primary that a Sentinel watches."""

from __future__ import annotations

from contextlib import ExitStack

import redis

from tests.support.eventually import eventually
from tests.support.servers.daemon import Daemon, free_port
from tests.support.servers.programs import redis_program
from tests.support.servers.redis_server import RedisServer

SLOTS = 16_384


class RedisCluster:
    """A cluster whose slots are divided among its nodes.

    Attributes:
        nodes: The servers.
        url: Where the last of them is.
    """

    def __init__(self, size: int) -> None:
        with ExitStack() as started:
            self.nodes = [RedisServer(more="cluster-enabled yes") for _ in range(size)]
            for node in self.nodes:
                started.callback(node.close)
            self.url = self.nodes[-1].url
            self._join()
            self._started = started.pop_all()

    def names(self) -> list[bytes]:
        """List the keys of all nodes."""
        found: list[bytes] = []
        for node in self.nodes:
            found += node.ask("KEYS", "*")
        return found

    def close(self) -> None:
        self._started.close()

    def _join(self) -> None:
        first = self.nodes[0]
        share = -(-SLOTS // len(self.nodes))
        for number, node in enumerate(self.nodes):
            slots = range(number * share, min(SLOTS, (number + 1) * share))
            node.ask("CLUSTER ADDSLOTS", *map(str, slots))
            node.ask("CLUSTER SET-CONFIG-EPOCH", str(number + 1))
            if node is not first:
                node.ask("CLUSTER MEET", "127.0.0.1", str(first.port))
        eventually(self._is_whole, within=30, what="all nodes know of all slots")

    def _is_whole(self) -> bool:
        said = [redis.Redis.from_url(node.url).cluster("INFO") for node in self.nodes]
        return all(
            each["cluster_state"] == "ok" and each["cluster_known_nodes"] == str(len(self.nodes))
            for each in said
        )


class Sentinel(Daemon):
    """A Sentinel that alone decides which server is the primary.

    Args:
        primary: Where the one listens that is so at first.
        service: What it is called.
        more: More lines for its configuration.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, primary: int, service: str, more: str = "") -> None:
        super().__init__("sentinel")
        self.port = free_port()
        self._service = service
        (self.folder / "sentinel.conf").write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {self.folder}\n"
            f"sentinel monitor {service} 127.0.0.1 {primary} 1\n"
            f"sentinel down-after-milliseconds {service} 1000\n"
            f"sentinel failover-timeout {service} 5000\n{more}\n"
        )
        self.start()

    def fail_over(self) -> None:
        """Make a replica the primary, as for maintenance."""
        with self._client() as client:
            eventually(lambda: client.sentinel_master(self._service)["num-slaves"] == 1, within=30)
            client.execute_command("SENTINEL FAILOVER", self._service)

    def primary(self) -> int:
        """The port of the one that is the primary."""
        with self._client() as client:
            return int(client.sentinel_get_master_addr_by_name(self._service)[1])

    def _client(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def _command(self) -> list[str]:
        return [str(redis_program()), str(self.folder / "sentinel.conf"), "--sentinel"]

    def _answers(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False
