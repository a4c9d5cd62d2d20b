import socket


def ask(host, port):
    with socket.create_connection((host, int(port)), 15) as connection:
        said = connection.recv(100).decode()
        return {"through": said.startswith("hello from"), "said": said}
