#!/usr/bin/env python3
"""Start Debian's Chromium without a window, without notice of network changes.

Chromium aborts its requests when an address comes or goes (ERR_NETWORK_CHANGED), even requests to this machine, and
tests of sites create and remove networks at the same time. It has no option against that. A process that cannot open
a netlink(7) socket gets no notice. This script imports no module of Pantau, and Chromium replaces it with the same
arguments.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

#: Without a graphical interface: the same pages take a third less time.
_PROGRAM = "chromium-headless-shell"
#: By machine: its audit architecture and the number of socket(2) (seccomp(2), audit.h).
_CALLS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
_AF_NETLINK, _EAFNOSUPPORT = 16, 97
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOWED, _REFUSED = 0x7FFF0000, 0x00050000


def deny_netlink_sockets() -> None:
    """Refuse netlink sockets to this process and its children."""
    machine, socket_call = _CALLS[platform.machine()]
    steps = [
        *((_LOAD, 0, 0, 4), (_IF_EQUAL, 0, 5, machine)),
        *((_LOAD, 0, 0, 0), (_IF_EQUAL, 0, 3, socket_call)),
        *((_LOAD, 0, 0, 16), (_IF_EQUAL, 0, 1, _AF_NETLINK)),
        *((_RETURN, 0, 0, _REFUSED | _EAFNOSUPPORT), (_RETURN, 0, 0, _ALLOWED)),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code)))
    library = ctypes.CDLL(None, use_errno=True)
    for words in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SECCOMP, _FILTER, program, 0, 0)):
        if library.prctl(*words):
            raise OSError(ctypes.get_errno(), "the kernel rejects the seccomp filter")


if __name__ == "__main__":
    deny_netlink_sockets()
    os.execvp(_PROGRAM, [_PROGRAM, *sys.argv[1:]])
