#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A list of things to do, in JSON: GET and POST /todos; GET, PUT, PATCH and DELETE /todos/ID."""

import http.server
import json
import re
import sys
import urllib.parse

TODOS = {}
TEXT_MAX = 200


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, value=None, fields=None, kind="application/json"):
        body = b"" if value is None else json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        for name, text in (fields or {}).items():
            self.send_header(name, text)
        if value is not None:
            self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fail(self, status):
        self.answer(status, {"status": status}, kind="application/problem+json")

    def read_json(self):
        """The object, or None, and then it has been answered."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get_content_type() != "application/json":
            return self.fail(415)
        try:
            return json.loads(body)
        except ValueError:
            return self.fail(400)

    def change(self, old):
        value = self.read_json()
        if value is None:
            return None
        text = value.get("text", old.get("text"))
        if not isinstance(text, str) or len(text.encode()) > TEXT_MAX:
            return self.fail(422)
        return {"text": text, "done": value.get("done", old.get("done", False)) is True}

    def todo(self):
        """The number in the path, or None, and then it has been answered."""
        found = re.fullmatch(r"/todos/(\d+)", self.path)
        if found and int(found[1]) in TODOS:
            return int(found[1])
        return self.fail(404)

    def do_GET(self):
        if self.path == "/todos":
            self.answer(200, list(TODOS.values()), {"X-Total-Count": str(len(TODOS))})
        elif number := self.todo():
            self.answer(200, TODOS[number])

    def do_POST(self):
        if self.path != "/todos":
            self.fail(404)
        elif value := self.change({}):
            number = Handler.last = Handler.last + 1
            TODOS[number] = {"id": number, **value}
            self.answer(201, TODOS[number], {"Location": f"/todos/{number}"})

    last = 0

    def update(self, whole):
        number = self.todo()
        value = number and self.change({} if whole else TODOS[number])
        if value:
            TODOS[number] = {"id": number, **value}
            self.answer(200, TODOS[number])

    def do_PUT(self):
        self.update(True)

    def do_PATCH(self):
        self.update(False)

    def do_DELETE(self):
        if number := self.todo():
            del TODOS[number]
            self.answer(204)

    def log_message(self, *args):
        pass


def main():
    url = urllib.parse.urlsplit(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
    server = http.server.ThreadingHTTPServer((url.hostname, url.port), Handler)
    print("listening on http://%s:%d" % server.server_address, file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
