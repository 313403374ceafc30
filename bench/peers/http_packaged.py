# SPDX-License-Identifier: MIT
"""Web servers from packages as contestants: one worker each, no log, and hello as a fixed response or a small file.

Usage: http_packaged.py nginx|h2o|lighttpd PROGRAM FOLDER. Prints `listening on tcp://127.0.0.1:PORT` once it accepts.
The port is one that was free a moment ago; this process becomes the server.
"""
import os
import pathlib
import socket
import sys

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
http {{
    access_log off; keepalive_requests 100000000; server_tokens off; keepalive_timeout 75s;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port} backlog=4096; default_type text/plain; location / {{ return 200 "Hello, World!\\n"; }} }}
}}
"""
H2O = """
num-threads: 1
max-connections: 19000
http1-request-timeout: 75
listen: {{ host: 127.0.0.1, port: {port} }}
pid-file: {folder}/h2o.pid
error-log: /dev/null
hosts: {{ default: {{ paths: {{ /: {{ file.dir: {folder}/www }} }} }} }}
"""
LIGHTTPD = """
server.document-root = "{folder}/www"
server.bind = "127.0.0.1"
server.port = {port}
server.max-fds = 20000
server.max-connections = 19000
server.max-keep-alive-requests = 100000000
index-file.names = ( "index.html" )
mimetype.assign = ( ".html" => "text/plain" )
"""
COMMANDS = {"nginx": (NGINX, ["-p", "{folder}", "-e", "stderr", "-c"]), "h2o": (H2O, ["-c"]),
            "lighttpd": (LIGHTTPD, ["-D", "-f"])}


def announce_when_it_listens(port):
    """A child tells, since this process becomes the server."""
    if os.fork() > 0:
        return
    for _ in range(1000):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            print(f"listening on tcp://127.0.0.1:{port}", flush=True)
            break
        except OSError:
            os.sched_yield()
            socket.socket().close()
            __import__("time").sleep(0.005)
    os._exit(0)


def main():
    name, program, folder = sys.argv[1:]
    config, arguments = COMMANDS[name]
    folder = pathlib.Path(folder)
    (folder / "www").mkdir(parents=True, exist_ok=True)
    (folder / "www" / "index.html").write_text("Hello, World!\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = folder / f"{name}-{port}.conf"
    path.write_text(config.format(folder=folder, port=port))
    announce_when_it_listens(port)
    os.execv(program, [program, *[a.format(folder=folder) for a in arguments], str(path)])


main()
