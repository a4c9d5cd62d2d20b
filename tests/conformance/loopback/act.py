import socket


def ask(port):
    with socket.create_connection(("127.0.0.1", int(port)), 5) as connection:
        return {"through": connection.recv(100) == b"word of the host"}
