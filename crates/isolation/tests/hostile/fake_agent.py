#!/usr/bin/python3
# An agent that speaks the protocol and may be told to do anything with it. A test appends what it does.
import array, os, socket, struct, sys, time

host = socket.socket(fileno=0)
KEY = sys.argv[1]
buffer, fds = b"", []


def frame(kind, body=b""):
    return struct.pack("<IB", 1 + len(body), kind) + body


def text(word):
    return struct.pack("<I", len(word)) + word.encode()


def hear(sock=None):
    """The next frame from the host: its kind. Leaves its descriptors in `fds`."""
    global buffer
    while True:
        if len(buffer) >= 4:
            size = struct.unpack("<I", buffer[:4])[0]
            if len(buffer) >= 4 + size:
                body, buffer = buffer[4:4 + size], buffer[4 + size:]
                return body[0]
        data, control, _, _ = (sock or host).recvmsg(65536, socket.CMSG_SPACE(64 * 4))
        if not data:
            sys.exit(0)
        buffer += data
        for level, kind, rights in control:
            got = array.array("i")
            got.frombytes(rights[: len(rights) // 4 * 4])
            fds.extend(got)


def wait_for(*kinds):
    while hear() not in kinds:
        pass


def say(data, rights=(), sock=None):
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", rights))] if rights else []
    (sock or host).sendmsg([data], control)


def stay():
    while True:
        time.sleep(1000)


HELLO, SETUP, LAUNCH, COMMIT, SIGNAL, KILL_ALL, PAUSE, RESUME, SOCKETS, LOG_ACK, BYE = range(11)


def welcome(version=VERSION, key=KEY, phase=b"\1\0"):
    return frame(0, struct.pack("<H", version) + text(key) + phase + struct.pack("<Q", 0))


def ready(pid):
    return frame(1, struct.pack("<i", pid))


STARTED, COMMITTED, DONE = frame(2), frame(4), frame(9)


def failed(step=2, errno=5, detail="x"):
    return frame(3, struct.pack("<Bi", step, errno) + text(detail))


def listening(v6=0, unix=0, passed=0):
    return frame(5, bytes([v6, unix, passed]))


def exited(code=0, next_line=0):
    return frame(6, struct.pack("<BiQ", 0, code, next_line))


def sockets(count):
    return frame(7, bytes([count]))


def log(*lines):
    body = b"".join(struct.pack("<QQB", n, 0, 0) + text(line) for n, line in lines)
    return frame(8, b"\0" + struct.pack("<I", len(lines)) + body)


def shell():
    """Up to a blank shell, as the real one: the process that was started ends, its child is the agent."""
    wait_for(SETUP)
    child = os.fork()
    if child:
        say(ready(child))
        os._exit(0)
    os.setsid()


def started():
    """Up to a running workload."""
    shell()
    wait_for(LAUNCH)
    say(STARTED)


def visited():
    """Up to a second host on the socket for adoption, which has said hello."""
    global host, buffer
    started()
    wait_for(COMMIT)
    listener = socket.socket(fileno=fds[-2])
    listener.listen(4)
    say(COMMITTED)
    host, _ = listener.accept()
    buffer = b""
    wait_for(HELLO)
