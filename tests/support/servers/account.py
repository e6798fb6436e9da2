"""As whom a server runs: PostgreSQL refuses to be root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_REFUSES = "run the tests as another user, or name a server in LEDGER_URL: PostgreSQL refuses root"
_OTHERS = ("postgres", "nobody", "daemon")


@dataclass(frozen=True)
class Account:
    """Another user than the tests' own.

    Attributes:
        user: Its number.
        group: The number of its group.
    """

    user: int
    group: int

    @property
    def options(self) -> dict[str, Any]:
        """What to start a process with, so that it is this user's and has no other rights."""
        return {"user": self.user, "group": self.group, "extra_groups": []}

    def can_run(self, *command: str | Path) -> bool:
        """Whether it may enter every folder above, read the libraries, and so on: by trying."""
        try:
            done = subprocess.run(
                command, cwd="/", capture_output=True, check=False, **self.options
            )
        except OSError:
            return False
        return done.returncode == 0

    def give(self, folder: Path) -> None:
        """Make it the owner of a folder."""
        shutil.chown(folder, self.user, self.group)


def other_account() -> Account | None:
    """Choose whose the server is, if it cannot be the tests' own user's."""
    if os.getuid() != 0:
        return None
    # PostgreSQL looks up its own name, so it must be a user that the machine knows.
    known = {user.pw_name: user for user in pwd.getpwall() if user.pw_uid != 0}
    user = next((known[name] for name in _OTHERS if name in known), None)
    assert user, f"{_REFUSES}, and there is no user {' or '.join(_OTHERS)}"
    account = Account(user.pw_uid, user.pw_gid)
    assert account.can_run("/bin/sh", "-c", ":"), (
        f"{_REFUSES}, and this root may not become another user"
    )
    return account
