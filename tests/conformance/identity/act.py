import os
import socket
import sys


def status(field):
    with open("/proc/self/status") as lines:
        return next((line.split()[1] for line in lines if line.startswith(field + ":")), "")


def me():
    # Not every kernel tells `NoNewPrivs` in /proc; prctl(2), PR_GET_NO_NEW_PRIVS, is the same question.
    import ctypes
    new_privileges = status("NoNewPrivs") or str(ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))
    return {"host": socket.gethostname(), "uid": os.getuid(), "argument": sys.argv[1],
            "capabilities": status("CapEff"), "new_privileges": new_privileges}
