"""What a process needs to listen: a port that is taken at once, and descriptors for connections."""

from __future__ import annotations

import errno
import resource
import socket

from shared.errors import ConfigurationError

_DESCRIPTORS = 65_536


def bind(host: str, port: int, chosen_with: str) -> socket.socket:
    """Take the port, and say so if it is taken.

    Args:
        host: An address or a name of this machine.
        port: 0 is any free one.
        chosen_with: The options and settings that choose another, for whoever has to.

    Raises:
        ConfigurationError: It cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # So that whoever asks next is told at once; bind() alone may succeed twice.
        listener.listen(16)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            what = f"is taken; choose another with {chosen_with}"
        elif error.errno in {errno.EACCES, errno.EPERM}:
            what = f"may not be used by you; choose one above 1023 with {chosen_with}"
        else:
            what = f"cannot be used ({error.strerror}); choose an address of this machine"
        raise ConfigurationError(f"port {port} on {host} {what}") from None
    listener.setblocking(False)  # noqa: FBT003  its own signature
    return listener


def url_of(listener: socket.socket) -> str:
    """Where it can be called from this machine."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def raise_limit() -> int:
    """Raise the soft limit of open files as far as one's own rights go; return what it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = _DESCRIPTORS if hard == unlimited else min(hard, _DESCRIPTORS)
    if soft == unlimited or soft >= wanted:
        return _DESCRIPTORS if soft == unlimited else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS allows fewer than it says
        return soft
    return wanted
