import socket

HELD = {}


def hold(host, port):
    HELD["one"] = socket.create_connection((host, int(port)), 15)
    return {"said": HELD["one"].recv(100).decode()}


def echo(word):
    HELD["one"].sendall(word.encode())
    return {"said": HELD["one"].recv(100).decode()}
