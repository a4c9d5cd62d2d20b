import os


def leave(code):
    os._exit(int(code))
