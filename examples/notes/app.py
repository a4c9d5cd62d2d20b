"""Notes: a page and a small JSON API over one SQLite file per tenant. Standard library only.

    GET  /                    the page, and its parts under /page/
    GET  /health              200 when the database answers
    GET  /notes               every note of this tenant
    POST /notes {"text": ...} adds one
    GET  /counter             an in-memory counter, this process's id and when it started
    GET  /slow?ms=N           answers after N milliseconds
    GET  /stream?n=N&ms=M     N server-sent events, M milliseconds apart
    GET  /log?n=N             prints the next N numbered lines on standard output

It listens on PORT, or on SOCKET_PATH when LISTEN=socket.
"""

import hashlib
import json
import os
import socket
import socketserver
import sqlite3
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

DATABASE = os.environ.get("DATABASE_PATH", "notes.db")
STARTED = time.time()
PAGE = Path(__file__).parent / "page"
PARTS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page/style.css": ("style.css", "text/css; charset=utf-8"),
    "/page/notes.js": ("notes.js", "text/javascript; charset=utf-8"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}


class Numbers:
    """A counter that threads share."""

    def __init__(self):
        self.lock = threading.Lock()
        self.value = 0

    def take(self, count=1, each=None):
        """Takes `count` numbers; `each` sees them in order, and nobody else comes between."""
        with self.lock:
            first = self.value + 1
            self.value += count
            for number in range(first, self.value + 1) if each else ():
                each(number)
            return self.value


requests = Numbers()
lines = Numbers()


def database():
    """One connection per request: SQLite keeps them apart."""
    db = sqlite3.connect(DATABASE, timeout=10)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    return db


def read_notes():
    db = database()
    try:
        rows = db.execute("SELECT id, text FROM notes ORDER BY id").fetchall()
    finally:
        db.close()
    return [{"id": number, "text": text} for number, text in rows]


def add_note(text):
    db = database()
    try:
        with db:
            cursor = db.execute("INSERT INTO notes (text) VALUES (?)", (text,))
        return {"id": cursor.lastrowid, "text": text}
    finally:
        db.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        if self.request.family == socket.AF_UNIX:
            self.disable_nagle_algorithm = False
        super().setup()

    def address_string(self):
        return "client"

    def log_message(self, *_):
        """Standard output belongs to /log."""

    def answer(self, status, value):
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def part(self, name, kind):
        """A file of the page; a browser that has this very one is told so."""
        body = (PAGE / name).read_bytes()
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        known = self.headers.get("If-None-Match") == tag
        self.send_response(304 if known else 200)
        self.send_header("ETag", tag)
        self.send_header("Cache-Control", "no-cache")
        if not known:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not known:
            self.wfile.write(body)

    def number(self, name, default):
        return int(parse_qs(urlsplit(self.path).query).get(name, [default])[0])

    def do_GET(self):
        path = urlsplit(self.path).path
        if path in PARTS:
            self.part(*PARTS[path])
        elif path == "/health":
            self.answer(200, {"ok": True, "notes": len(read_notes())})
        elif path == "/notes":
            self.answer(200, read_notes())
        elif path == "/counter":
            self.answer(200, {"counter": requests.take(), "pid": os.getpid(), "started": STARTED})
        elif path == "/slow":
            time.sleep(self.number("ms", 100) / 1000)
            self.answer(200, {"slept": True})
        elif path == "/log":
            last = lines.take(self.number("n", 1), lambda number: print(f"line {number}", flush=True))
            self.answer(200, {"last": last})
        elif path == "/stream":
            self.stream(self.number("n", 10), self.number("ms", 100) / 1000)
        else:
            self.answer(404, {"error": "no such page"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if urlsplit(self.path).path != "/notes":
            return self.answer(404, {"error": "no such page"})
        try:
            text = json.loads(body)["text"]
        except (ValueError, KeyError, TypeError):
            return self.answer(400, {"error": 'send {"text": "..."}'})
        self.answer(201, add_note(str(text)))

    def stream(self, count, pause):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in range(1, count + 1):
            self.wfile.write(f"data: {number}\n\n".encode())
            self.wfile.flush()
            time.sleep(pause)
        self.close_connection = True


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


class SocketServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    request_queue_size = 1024
    daemon_threads = True


def main():
    database().close()
    if os.environ.get("LISTEN") == "socket":
        server = SocketServer(os.environ["SOCKET_PATH"], Handler)
    else:
        server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
    print("notes: ready", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
