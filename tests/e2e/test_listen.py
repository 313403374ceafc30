# SPDX-License-Identifier: MIT
"""Where `pier serve` listens, what it says of it, and how it ends when it cannot."""

import json
import re
import resource
import shutil
import signal
import socket
import subprocess

import pytest

from pierlib import Client, free_port_held, ipv6_missing, parse_url, refused, round_trip

pytestmark = pytest.mark.models("tasks")  # unless a test says otherwise

LOCAL = "tcp://127.0.0.1:0"


def listening(server, handler="message"):
    """The listening line that the endpoint must have produced."""
    return f"listening on {server.url} ({handler}, tasks, {server.endpoints[0].backend})"


def in_use(port):
    return f"pier: listen tcp://127.0.0.1:{port}: address already in use"


# -- the listening line


@pytest.mark.models("tasks", "threads")
@pytest.mark.parametrize("handler", ["message", "echo", "hello", "chat", "discard", "time"])
def test_the_listening_line_names_url_handler_model_and_backend(serve, model, handler):
    server = serve("--handler", handler)
    assert server.lines() == [
        f"listening on {server.url} ({handler}, {model.name}, {model.backend})"
    ]
    assert re.fullmatch(r"tcp://127\.0\.0\.1:[1-9]\d*", server.url)
    server.connect()


def test_the_default_url_is_port_8888_of_localhost(serve):
    url = "tcp://127.0.0.1:8888"
    if not refused(url):
        pytest.skip("port 8888 is taken on this machine")
    try:
        server = serve(urls=[], lines=2)
    except AssertionError as failure:
        if "address already in use" in str(failure):
            pytest.skip("port 8888 or 9999 was taken by somebody else just now")
        raise
    assert server.url == url
    assert server.lines()[0] == listening(server)
    server.assert_serves()


@pytest.mark.models("tasks", "threads")
def test_json_puts_one_listening_event_an_endpoint_on_stdout(serve, model, unix_url):
    server = serve("--json", urls=[LOCAL, unix_url], lines=0)
    server.out.wait_for(lambda data: data.count(b"\n") >= 2, "two lines on stdout")
    events = [json.loads(line) for line in server.out.data.splitlines()]
    assert re.fullmatch(r"tcp://127\.0\.0\.1:[1-9]\d*", events[0]["url"])
    assert events == [
        {
            "event": "listening",
            "url": url,
            "handler": "message",
            "model": model.name,
            "backend": model.backend,
        }
        for url in (events[0]["url"], unix_url)
    ]
    assert server.lines() == []
    for event in events:
        round_trip(server.connect(event["url"]))
    server.stop()
    for line in server.out.data.splitlines():
        json.loads(line)


def test_the_soft_descriptor_limit_is_raised_to_the_hard_one(serve):
    server = serve(wrapper=["prlimit", "--nofile=64:256"])
    assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (256, 256)
    clients = [server.connect() for _ in range(100)]
    for client in clients:
        round_trip(client)


# -- several endpoints


@pytest.mark.models("tasks", "threads")
def test_several_urls_are_served_at_once(serve, unix_url, abstract_url):
    server = serve(urls=[LOCAL, LOCAL, unix_url, abstract_url])
    urls = [endpoint.url for endpoint in server.endpoints]
    assert len(set(urls)) == 4 and urls[2:] == [unix_url, abstract_url]
    for url in urls:
        round_trip(server.connect(url))


@pytest.mark.parametrize("first", [True, False], ids=["busy-first", "busy-last"])
def test_several_urls_are_all_or_nothing(pier, model, unix_url, first):
    with free_port_held() as busy:
        busy.listen()
        port = busy.getsockname()[1]
        urls = [f"tcp://127.0.0.1:{port}", LOCAL, unix_url]
        result = pier("serve", *(urls if first else urls[::-1]))
    assert result.rc == 1
    assert in_use(port) in result.err.splitlines()
    assert "listening on" not in result.err
    assert refused(unix_url)


def test_the_same_url_twice_is_in_use(pier, model, abstract_url):
    result = pier("serve", abstract_url, abstract_url)
    assert result.rc == 1
    assert f"pier: listen {abstract_url}: address already in use" in result.err.splitlines()
    assert "listening on" not in result.err


# -- kinds of addresses


@pytest.mark.models("tasks", "threads")
def test_listens_on_ipv6(serve):
    if ipv6_missing():
        pytest.skip(ipv6_missing())
    server = serve(urls=["tcp://[::1]:0"])
    assert re.fullmatch(r"tcp://\[::1\]:[1-9]\d*", server.url)
    server.assert_serves()


@pytest.mark.models("tasks", "threads")
def test_listens_on_a_unix_path(serve, unix_url):
    server = serve(urls=[unix_url])
    assert server.url == unix_url
    server.assert_serves()


@pytest.mark.models("tasks", "threads")
def test_listens_on_an_abstract_unix_name(serve, abstract_url):
    server = serve(urls=[abstract_url])
    assert server.url == abstract_url
    server.assert_serves()


def test_an_empty_host_is_every_address(serve):
    server = serve(urls=["tcp://:0"])
    assert {parse_url(endpoint.url)[1][1] for endpoint in server.endpoints} == {server.port}
    round_trip(server.connect(f"tcp://127.0.0.1:{server.port}"))
    round_trip(server.connect(f"tcp://127.0.0.2:{server.port}"))
    if not ipv6_missing():
        round_trip(server.connect(f"tcp://[::1]:{server.port}"))


def own_hosts(tmp_path, lines, before=""):
    """A command that runs its arguments with an /etc/hosts of our own; skips where it cannot."""
    if not shutil.which("unshare"):
        pytest.skip("no unshare command to give the server its own /etc/hosts")
    hosts = tmp_path / "hosts"
    hosts.write_text("".join(line + "\n" for line in lines))
    script = f'{before}mount --bind "$0" /etc/hosts && exec "$@"'
    for flags in "-m", "-rm":
        wrapper = ["unshare", flags + ("n" if before else ""), "sh", "-ec", script, str(hosts)]
        if subprocess.run([*wrapper, "true"], capture_output=True).returncode == 0:
            return wrapper
    pytest.skip("the server cannot have its own /etc/hosts here (namespaces or ip command missing)")


@pytest.mark.models("tasks", "threads")
def test_a_name_binds_every_address_it_has_on_one_port(serve, tmp_path):
    addresses = ["127.0.0.1", "127.0.0.2"] + ([] if ipv6_missing() else ["[::1]"])
    wrapper = own_hosts(tmp_path, [address.strip("[]") + " manifold" for address in addresses])
    server = serve(urls=["tcp://manifold:0"], wrapper=wrapper, lines=len(addresses))
    assert sorted(e.url for e in server.endpoints) == sorted(
        f"tcp://{a}:{server.port}" for a in addresses
    )
    for endpoint in server.endpoints:
        round_trip(server.connect(endpoint.url))
    assert refused(f"tcp://127.0.0.3:{server.port}")


def test_localhost_is_served_on_one_port(serve):
    """Which addresses localhost has is the resolver's business: what /etc/hosts says, at least."""
    try:
        known = socket.getaddrinfo("localhost", None, socket.AF_INET)
    except socket.gaierror:
        pytest.skip("this machine's resolver does not know localhost")
    expected = {address[4][0] for address in known}
    server = serve(urls=["tcp://localhost:0"])
    server.assert_serves()
    found = [parse_url(endpoint.url)[1] for endpoint in server.listening()]
    assert {port for _, port in found} == {server.port}
    assert expected <= {host for host, _ in found} <= expected | {"127.0.0.1", "::1"}
    for endpoint in server.listening():
        round_trip(server.connect(endpoint.url))


def test_families_that_the_machine_lacks_are_skipped(serve, tmp_path):
    without_ipv6 = "ip link set lo up; echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; "
    wrapper = own_hosts(tmp_path, ["127.0.0.1 manifold", "::1 manifold"], without_ipv6)
    server = serve(urls=["tcp://manifold:0"], wrapper=wrapper)
    assert server.lines() == [listening(server)] and server.url.startswith("tcp://127.0.0.1:")


# -- failures


@pytest.mark.models("tasks", "threads")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_address_in_use_ends_the_command(serve, pier, model, workers):
    server = serve("--workers", workers)
    result = pier("serve", "--model", model.name, "--workers", workers, server.url)
    assert result.rc == 1
    assert result.err.splitlines() == [in_use(server.port)]
    assert result.out == b""
    server.assert_serves()


def test_a_unix_path_in_use_ends_the_command_and_stays(serve, pier, unix_url):
    server = serve(urls=[unix_url])
    result = pier("serve", unix_url)
    assert result.rc == 1
    assert f"pier: listen {unix_url}: address already in use" in result.err.splitlines()
    server.assert_serves()


def test_an_address_of_another_machine_cannot_be_listened_on(pier, model):
    url = "tcp://192.0.2.1:0"
    result = pier("serve", url)
    assert result.rc == 1
    assert f"pier: listen {url}: cannot assign requested address" in result.err.splitlines()


def test_a_unix_path_without_its_folder_cannot_be_listened_on(pier, model, unix_url):
    result = pier("serve", unix_url + "/no/such")
    assert result.rc == 1
    assert "no such file or directory" in result.err or "not a directory" in result.err


@pytest.mark.parametrize("name", ["no-such-name.invalid"])
def test_a_name_that_does_not_resolve_is_exit_3(pier, model, name):
    result = pier("serve", f"tcp://{name}:0", timeout=60)
    assert result.rc == 3
    assert name in result.err and "listening on" not in result.err


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "127.0.0.1:8888",
        "tcp://",
        "tcp:127.0.0.1:0",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:99999",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:12x",
        "tcp://[::1:0",
        "tcp://[::zz]:0",
        "gopher://127.0.0.1:0",
        "unix://",
        "",
    ],
)
def test_a_bad_url_is_a_usage_error_that_names_it(pier, model, url):
    for urls in [url], [LOCAL, url]:
        result = pier("serve", *urls)
        assert result.rc == 2
        assert result.err.strip() and url in result.err
        assert "listening on" not in result.err


def test_a_unix_path_that_is_too_long_is_an_error(pier, model):
    result = pier("serve", "unix:///tmp/" + "x" * 200)
    assert result.rc in (1, 2) and result.err.strip()


# -- restarting


@pytest.mark.models("tasks", "threads")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_restart_binds_at_once(serve, number):
    server = serve()
    for word in (
        "exit",
        "hi",
    ):  # the first leaves TIME_WAIT on the server's side, the second is still connected
        client = server.connect()
        client.send(word)
        client.recv_exactly(1)
    server.stop(number)
    again = serve(urls=[server.url])
    assert again.url == server.url
    again.assert_serves()


@pytest.mark.models("tasks")
def test_a_killed_server_of_datagrams_leaves_its_port_at_once(serve):
    server = serve(urls=["udp://127.0.0.1:0"])
    for _ in range(10):
        server.stop(signal.SIGKILL)
        server = serve(urls=[server.url])


def test_a_restart_binds_its_unix_path_again(serve, unix_url):
    for _ in range(2):
        server = serve(urls=[unix_url])
        server.assert_serves()
        assert server.stop() == 0


# -- the backend


def test_an_unknown_backend_is_one_warning_and_falls_back(serve):
    server = serve(env={"PIER_BACKEND": "warp"})
    (warning,) = server.extra_lines()
    assert "warp" in warning
    assert server.endpoints[0].backend in ("epoll", "io_uring")
    server.assert_serves()


def test_backend_auto_is_no_warning(serve):
    server = serve(env={"PIER_BACKEND": "auto"})
    assert server.extra_lines() == []
    assert server.endpoints[0].backend in ("epoll", "io_uring")


def test_clients_of_a_vanished_listener_are_refused(serve):
    server = serve()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        Client.to(server.url)
