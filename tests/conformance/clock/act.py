import errno
import time


def clock():
    try:
        time.clock_settime(time.CLOCK_REALTIME, time.time())
        answer = "done"
    except OSError as error:
        answer = errno.errorcode[error.errno]
    return {"time": time.time(), "monotonic": time.monotonic(), "set": answer}
