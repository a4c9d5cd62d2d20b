import os


def see(word):
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if word.encode() in file.read().split(b"\0"):
                    return {"through": True, "process": name}
        except OSError:
            continue
    return {"through": False}
