import os


def me():
    return {"uid": os.getuid(), "cwd": os.getcwd(), "pid": os.getpid()}


def see(word):
    """Whether a process in sight has this word in its command line."""
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if word.encode() in file.read():
                    return {"seen": True}
        except OSError:
            continue
    return {"seen": False}
