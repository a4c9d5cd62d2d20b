import os
import signal
import subprocess
import sys

WAIT = "import signal\nwhile True: signal.pause()"


def hide(word):
    """A daemon: double fork, own session, own group, deaf to what asks it to end."""
    ready, told = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setpgid(0, 0) if os.getpgid(0) != os.getpid() else None
            for deaf in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(deaf, signal.SIG_IGN)
            os.write(told, b"x")
            os.execv(sys.executable, [sys.executable, "-c", WAIT, word])
        os._exit(0)
    os.read(ready, 1)
    subprocess.Popen([sys.executable, "-c", WAIT, word], start_new_session=True)
    return {}
