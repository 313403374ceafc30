#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A page with a form, and the answer to it, escaped. A cookie remembers the name."""

import html
import http.cookies
import http.server
import sys
import urllib.parse

ASK = """<!DOCTYPE html><title>Form</title>
<form method="post" action="/">
<input name="name" value="%s">
<textarea name="message"></textarea>
<button>Send</button></form>
"""
THANK = "<!DOCTYPE html><title>Form</title>\n<p>Thank you, %s.</p>\n<pre>%s</pre>\n"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, page, cookie=None):
        body = page.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if cookie:
            self.send_header("Set-Cookie", f"name={cookie}; Max-Age=86400; Path=/; SameSite=Lax; "
                                           "HttpOnly")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        cookies = http.cookies.SimpleCookie(self.headers.get("Cookie", ""))
        name = urllib.parse.unquote(cookies["name"].value) if "name" in cookies else ""
        self.answer(200, ASK % html.escape(name))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.headers.get_content_type() != "application/x-www-form-urlencoded":
            self.answer(415, "")
            return
        form = dict(reversed(urllib.parse.parse_qsl(body, keep_blank_values=True)))
        name = form.get("name", "")
        if not name or len(name.encode()) > 100:
            self.answer(422, "")
            return
        page = THANK % (html.escape(name), html.escape(form.get("message", "")))
        self.answer(200, page, urllib.parse.quote(name, safe=""))

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
