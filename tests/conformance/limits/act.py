import errno
import os
import subprocess
import sys


def files(n):
    held = []
    try:
        for _ in range(int(n)):
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return {"opened": len(held), "error": errno.errorcode[error.errno]}
    finally:
        for fd in held:
            os.close(fd)
    return {"opened": len(held), "error": ""}


def processes(n):
    """Each child holds nothing but a process; the pipe ends them all."""
    read, write = os.pipe()
    started, trouble = 0, ""
    for _ in range(int(n)):
        try:
            child = os.fork()
        except OSError as error:
            trouble = errno.errorcode[error.errno]
            break
        if child == 0:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        started += 1
    os.close(read)
    os.close(write)
    for _ in range(started):
        os.wait()
    return {"started": started, "error": trouble}


def eat(mb):
    held = []
    for _ in range(int(mb)):
        held.append(bytearray(b"x") * (1 << 20))
    return {"held": len(held)}
