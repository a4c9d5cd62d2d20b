import os
import signal


def say(text):
    with open(os.path.join(os.environ["DATA"], "last"), "w") as last:
        last.write(text)


def said():
    with open(os.path.join(os.environ["DATA"], "last")) as last:
        return {"text": last.read()}


def leave(*_):
    say("in order")
    os._exit(0)


HEARD = {"polite": leave, "deaf": lambda *_: say("heard, and stayed")}


def prepare(how):
    """Functions run on threads, and only the first thread may set handlers: it asks itself to."""
    HOW.append(how)
    os.kill(os.getpid(), signal.SIGUSR1)
    while not READY:
        pass
    return {}


HOW, READY = [], []


def install(*_):
    signal.signal(signal.SIGTERM, HEARD[HOW[0]])
    READY.append(True)


signal.signal(signal.SIGUSR1, install)
