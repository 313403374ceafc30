# SPDX-License-Identifier: MIT
"""The peer Python: http.server with a thread for each connection, HTTP/1.1 and hello.

Usage: http_python.py. Prints `listening on tcp://127.0.0.1:PORT`.
"""
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment

    def do_GET(self):
        body = b"Hello, World!\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Hello)
print(f"listening on tcp://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
