import json
import os
import socket
import urllib.request


def ask(host, port):
    with socket.create_connection((host, int(port)), 15) as connection:
        said = connection.recv(100).decode()
        return {"through": said.startswith("hello from"), "said": said}


def who():
    return {"said": os.environ["WORD"]}


def fetch(host):
    with urllib.request.urlopen(f"http://{host}/who", timeout=30) as answer:
        return json.load(answer)
