"""Answers `GET /FUNCTION?NAME=VALUE` with what the function of that name in act.py gives back, as JSON."""

import errno
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import act


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "client"

    def log_message(self, *_):
        pass

    def do_GET(self):
        asked = urlsplit(self.path)
        function = getattr(act, asked.path.lstrip("/"), None)
        if function is None:
            return self.answer(404, {"error": "there is no such function"})
        try:
            self.answer(200, function(**dict(parse_qsl(asked.query))))
        except OSError as error:
            detail = f"{errno.errorcode.get(error.errno, '')}: {error}"
            self.answer(200, {"through": False, "errno": errno.errorcode.get(error.errno, ""), "detail": detail})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
    server.daemon_threads = True
    server.serve_forever()
