def write(lines):
    for n in range(int(lines)):
        print(f"line {n}")
    print(end="", flush=True)
    return {}


def large(mb):
    return "x" * (int(mb) << 20)
