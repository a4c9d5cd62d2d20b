import errno
import os
import stat

KNOWN = {"null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr", "shm", "ptmx", "pts", "console",
         "core", "mqueue",
         # Of the kernel that gVisor is, not of the host.
         "fuse"}


def use():
    done = {}
    with open("/dev/null", "r+b", buffering=0) as null:
        done["null"] = null.write(b"x") == 1 and null.read() == b""
    with open("/dev/zero", "rb", buffering=0) as zero:
        done["zero"] = zero.read(4) == bytes(4)
    with open("/dev/urandom", "rb", buffering=0) as random:
        done["random"] = random.read(16) != random.read(16)
    with open("/dev/full", "wb", buffering=0) as full:
        try:
            full.write(b"x")
            done["full"] = ""
        except OSError as error:
            done["full"] = errno.errorcode[error.errno]
    path = f"/dev/shm/insula-conformance-{os.getpid()}"
    with open(path, "w") as file:
        file.write("x")
    os.unlink(path)
    done["shm"] = True
    return done


def names():
    def is_device(name):
        mode = os.lstat(f"/dev/{name}").st_mode
        return stat.S_ISBLK(mode) or stat.S_ISCHR(mode)
    return {"strange": [name for name in os.listdir("/dev") if name not in KNOWN and is_device(name)]}
