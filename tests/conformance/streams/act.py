import os

LINES = {
    "stdout": ["plain", "", "  spaces  ", "tab\there", "g\u00fcnther \u2615 \U0001f980", "cr\rin the middle", "\x1b[31mred\x1b[0m",
               "y" * 8000, "last"],
    "stderr": ["one", "two", "nul\x00in the middle", "\u00a0", "end"],
}


def write():
    for fd, stream in ((1, "stdout"), (2, "stderr")):
        os.write(fd, "".join(line + "\n" for line in LINES[stream]).encode())
    return LINES
