# SPDX-License-Identifier: MIT
"""`pier serve` and the clients that people have: ncat, socat, bash, Python; and vice versa."""

import asyncio
import shutil
import socket
import subprocess
import sys

import pytest

from pierlib import WAIT, Client, parse_url, wait_until


def tool(name):
    if not shutil.which(name):
        pytest.skip(f"no {name} on this machine")
    return name


def talk(argv, sent):
    """Runs a client that sends its input and prints what it gets."""
    done = subprocess.run(argv, input=sent, capture_output=True, timeout=WAIT)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- clients


def test_ncat_talks_to_message(serve):
    server = serve()
    assert talk([tool("ncat"), "127.0.0.1", str(server.port)], b"exit\n") == "再见!".encode()
    assert talk(["ncat", "127.0.0.1", str(server.port)], b"hi\n") == "已收到: hi\n".encode()


def test_ncat_with_crlf_talks_to_lines(serve):
    server = serve("--lines")
    got = talk([tool("ncat"), "-C", "127.0.0.1", str(server.port)], b"one\ntwo\nexit\n")
    assert got == "已收到: one\n已收到: two\n再见!\n".encode()


def test_ncat_talks_over_a_unix_socket(serve, unix_url):
    serve("--handler", "echo", urls=[unix_url])
    assert talk([tool("ncat"), "-U", unix_url[len("unix://") :]], b"hello") == b"hello"


def test_socat_echoes_bulk_data(serve):
    server = serve("--handler", "echo")
    sent = b"0123456789abcdef" * 65536
    assert talk([tool("socat"), "-t", str(WAIT), "-", f"TCP:127.0.0.1:{server.port}"], sent) == sent


def test_socat_talks_over_unix_sockets(serve, unix_url, abstract_url):
    serve("--handler", "echo", urls=[unix_url, abstract_url])
    for address in (
        f"UNIX-CONNECT:{unix_url[len('unix://'):]}",
        f"ABSTRACT-CONNECT:{abstract_url[len('unix://@'):]}",
    ):
        assert talk([tool("socat"), "-t", str(WAIT), "-", address], b"hello") == b"hello"


def test_bash_talks_through_dev_tcp(serve):
    server = serve("--handler", "hello")
    script = """exec 3<>"/dev/tcp/127.0.0.1/$0"
        head -c 8 <&3; printf Bob >&3; head -c 11 <&3; printf exit >&3; cat <&3"""
    assert talk([tool("bash"), "-c", script, str(server.port)], b"") == b"Welcome!Hello, Bob!"


def test_python_create_connection_talks_to_message(serve):
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port), WAIT) as sock:
        sock.sendall("你好".encode())
        assert sock.recv(1024).decode() == "已收到: 你好"


def test_asyncio_streams_talk_to_lines(serve):
    server = serve("--lines", "--handler", "hello")

    async def conversation():
        reader, writer = await asyncio.open_connection(*parse_url(server.url)[1])
        assert await reader.readexactly(8) == b"Welcome!"
        for name in "Bob", "世界":
            writer.write(f"{name}\n".encode())
            assert (await reader.readuntil(b"!\n")).strip().decode() == f"Hello, {name}!"
        writer.close()

    asyncio.run(asyncio.wait_for(conversation(), WAIT))


def test_a_python_program_in_a_process_of_its_own_is_served(serve):
    server = serve("--handler", "time")
    address = "127.0.0.1", server.port
    program = f"import socket; print(end=socket.create_connection({address}).recv(99).decode())"
    assert talk([sys.executable, "-c", program], b"").count(b"\n") == 1


# -- servers


@pytest.fixture
def running(tmp_path):
    """running(*argv) → once something accepts on tmp_path/r; killed at the end."""
    started = []
    path = tmp_path / "r"

    def accepts():
        try:
            Client.to(f"unix://{path}").close()
            return True
        except OSError:
            return False

    def run(*argv):
        started.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL))
        wait_until(accepts, f"{argv[0]} accepts")
        return f"unix://{path}"

    yield run
    for process in started:
        process.kill()
        process.wait()


def test_connect_and_send_talk_to_socat(pier, running, tmp_path):
    url = running(tool("socat"), f"UNIX-LISTEN:{tmp_path}/r,fork", "EXEC:cat")
    assert pier("send", url, "one", "two").out == b"one\ntwo\n"
    result = pier("connect", url, stdin=b"three")
    assert (result.rc, result.out) == (0, b"three")


def test_send_talks_to_ncat(pier, running, tmp_path):
    url = running(tool("ncat"), "-lkU", f"{tmp_path}/r", "-e", "/bin/cat")
    assert pier("send", url, "one", "two").out == b"one\ntwo\n"
