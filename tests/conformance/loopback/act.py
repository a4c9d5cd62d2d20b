import socket
import threading


def ask(port):
    with socket.create_connection(("127.0.0.1", int(port)), 5) as connection:
        return {"through": connection.recv(100) == b"word"}


def listen():
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        while True:
            with listener.accept()[0] as connection:
                connection.sendall(b"word")

    threading.Thread(target=answer, daemon=True).start()
    return {"port": listener.getsockname()[1]}
