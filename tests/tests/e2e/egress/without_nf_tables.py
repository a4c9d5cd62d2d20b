"""Runs the program that it is given where sockets of NETLINK_NETFILTER are refused, as on a kernel without them."""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
# Numbers of x86_64: socket(2), AF_NETLINK, NETLINK_NETFILTER, EPROTONOSUPPORT.
SOCKET, FAMILY, PROTOCOL, REFUSED = 41, 16, 12, 93
LOAD, EQUAL, ANSWER = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def step(code, k, yes=0, no=0):
    return struct.pack("HBBI", code, yes, no, k)


program = b"".join(
    [
        step(LOAD, 0),
        step(EQUAL, SOCKET, 0, 5),
        step(LOAD, 16),
        step(EQUAL, FAMILY, 0, 3),
        step(LOAD, 32),
        step(EQUAL, PROTOCOL, 0, 1),
        step(ANSWER, ERRNO | REFUSED),
        step(ANSWER, ALLOW),
    ]
)
kept = ctypes.create_string_buffer(program)
filter_ = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(kept))
libc = ctypes.CDLL(None, use_errno=True)
for arguments in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, 2, filter_, 0, 0)]:
    if libc.prctl(*arguments):
        sys.exit(os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])
