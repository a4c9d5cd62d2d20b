"""Runs the program that it is given on a host of its own: a network namespace with a small internet behind an uplink.

    unshare -n python3 routed_host.py PROGRAM...      the host
    ... world                                         the internet, which ends with the host
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1
WORLD = ["93.184.216.34", "10.9.9.9"]


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def answer(at):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
        packets.bind((at, 9))
        while True:
            said, asker = packets.recvfrom(100)
            packets.sendto(asker[0].encode(), asker)


def count(stream):
    """Reads all, says how much that was, and sends as much back."""
    with stream:
        total = 0
        while data := stream.recv(65536):
            total += len(data)
        stream.sendall(total.to_bytes(8, "big") + bytes(total))


def count_all(at):
    with socket.create_server((at, 9)) as listener:
        while True:
            stream, _ = listener.accept()
            threading.Thread(target=count, args=(stream,), daemon=True).start()


def world():
    print("here", flush=True)
    input()
    ip("link", "set", "lo", "up")
    for address in ["198.19.0.2/30", *(f"{address}/32" for address in WORLD)]:
        ip("address", "add", address, "dev", "downlink")
    ip("link", "set", "downlink", "up")
    for address in WORLD:
        threading.Thread(target=answer, args=(address,), daemon=True).start()
        threading.Thread(target=count_all, args=(address,), daemon=True).start()
    print("ready", flush=True)
    signal.pause()


def host(arguments):
    ip("link", "set", "lo", "up")
    with open("/proc/sys/net/ipv4/ip_forward", "w") as forward:
        forward.write("1")
    libc = ctypes.CDLL(None)
    behind = subprocess.Popen(
        ["unshare", "-n", sys.executable, __file__, "world"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    behind.stdout.readline()
    ip("link", "add", "uplink", "type", "veth", "peer", "name", "downlink", "netns", str(behind.pid))
    ip("address", "add", "198.19.0.1/30", "dev", "uplink")
    ip("link", "set", "uplink", "up")
    behind.stdin.write("\n")
    behind.stdin.flush()
    behind.stdout.readline()
    ip("route", "add", "default", "via", "198.19.0.2")
    os.execv(arguments[0], arguments)


if __name__ == "__main__":
    world() if sys.argv[1:] == ["world"] else host(sys.argv[1:])
