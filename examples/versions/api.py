"""A service of versions: answers with the version that it is. Standard library only.

    GET /          {"version": "v1", "pid": 1}
    GET /health    200; 500 for the version `broken`, which is never given a request

The version is the first argument: `command = "python3 api.py {id}"`.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = sys.argv[1]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        ill = self.path == "/health" and VERSION == "broken"
        body = json.dumps({"version": VERSION, "pid": os.getpid()}).encode() + b"\n"
        self.send_response(500 if ill else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing is worth a line."""


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
