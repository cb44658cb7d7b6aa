#!/usr/bin/env python3
"""Start Debian's Chromium without a window, deaf to what becomes of the machine's addresses.

It breaks off what it is about to fetch whenever one comes or goes (ERR_NETWORK_CHANGED), even from this machine itself; and
tests of sites beside it make networks and take them away. It has no switch for that. Who cannot ask the kernel (netlink(7)) is
told nothing, and goes on. It imports nothing of ours, and Chromium takes its place with the words that it was given.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

#: Without what would draw its window, which takes half as long again for the same pages.
_PROGRAM = "chromium-headless-shell"
#: Of each machine how the kernel knows it, and the call that opens a socket (seccomp(2), audit.h).
_CALLS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
_AF_NETLINK, _EAFNOSUPPORT = 16, 97
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOWED, _REFUSED = 0x7FFF0000, 0x00050000


def become_deaf() -> None:
    """Refuse this process, and all that comes of it, sockets to the kernel."""
    machine, opens = _CALLS[platform.machine()]
    steps = [
        *((_LOAD, 0, 0, 4), (_IF_EQUAL, 0, 5, machine)),
        *((_LOAD, 0, 0, 0), (_IF_EQUAL, 0, 3, opens)),
        *((_LOAD, 0, 0, 16), (_IF_EQUAL, 0, 1, _AF_NETLINK)),
        *((_RETURN, 0, 0, _REFUSED | _EAFNOSUPPORT), (_RETURN, 0, 0, _ALLOWED)),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code)))
    library = ctypes.CDLL(None, use_errno=True)
    for words in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SECCOMP, _FILTER, program, 0, 0)):
        if library.prctl(*words):
            raise OSError(ctypes.get_errno(), "the kernel takes no filter")


if __name__ == "__main__":
    become_deaf()
    os.execvp(_PROGRAM, [_PROGRAM, *sys.argv[1:]])
