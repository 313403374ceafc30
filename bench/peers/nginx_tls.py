# SPDX-License-Identifier: MIT
"""nginx as a contestant: one worker on a port of the kernel's choice, which serves a file of 100 MiB over https.

The listening socket is made here and inherited, so that its port is known before nginx has begun; this process becomes
nginx. Usage: nginx_tls.py NGINX CERT KEY FOLDER. Prints `listening on tcp://127.0.0.1:PORT`.
"""
import os
import pathlib
import socket
import sys

CONFIG = """
daemon off;
worker_processes 1;
error_log stderr crit;
pid {folder}/nginx.pid;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_timeout 1h;
        root {folder};
    }}
}}
"""


def main():
    nginx, cert, key, folder = sys.argv[1:]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    bulk = folder / "bulk"
    if not bulk.exists():
        bulk.write_bytes(bytes(100 << 20))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(4096)
    os.set_inheritable(listener.fileno(), True)
    port = listener.getsockname()[1]
    config = folder / f"nginx-{port}.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, cert=cert, key=key))
    print(f"listening on tcp://127.0.0.1:{port}", flush=True)
    os.execve(nginx, [nginx, "-p", str(folder), "-c", str(config), "-e", "stderr"],
              {**os.environ, "NGINX": f"{listener.fileno()};"})


main()
