"""Names of a ledger's keys in Redis, and the script that works on them.

Braces keep the keys together that a command or the script takes at once: a cluster puts all with
the same word in braces into one place.
"""

from __future__ import annotations

# For each partition: 1 if its message shall be sent, 0 if another one is on its way, and -1 if
# there is no room. Sending marks the partition; the consumer that takes the message unmarks it.
# A mark that would stay for longer than it may is none: a clock went back, or somebody else set it.
CLAIM = """
local room = ARGV[1] - redis.call('LLEN', KEYS[1])
local said = {}
for i = 2, #KEYS do
  local left = redis.call('PTTL', KEYS[i])
  if ARGV[i + 1] == '0' and left > 0 and left <= tonumber(ARGV[2]) then
    said[i - 1] = 0
  elseif room <= 0 then
    said[i - 1] = -1
  else
    redis.call('SET', KEYS[i], 1, 'PX', ARGV[2])
    said[i - 1] = 1
    room = room - 1
  end
end
return said
"""


def queue_name(ledger_id: str) -> str:
    """Name a ledger's queue: its own, so that ledgers may share a Redis."""
    return f"orderly-{{{ledger_id}}}"


def on_its_way(ledger_id: str, partition: int | str) -> str:
    """Name the key that is there while a partition's last message has not been taken."""
    return own_key(ledger_id, f"on-its-way:{partition}")


def own_key(ledger_id: str, name: str) -> str:
    """Name a key that RQ has no part in."""
    return f"orderly:{{{ledger_id}}}:{name}"
