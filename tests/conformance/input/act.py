import sys


def read():
    return {"got": sys.stdin.read()}
