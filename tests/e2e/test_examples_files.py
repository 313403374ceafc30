# SPDX-License-Identifier: MIT
"""send_file and receive_file of examples/ and their counterparts in Python: files arrive whole or
not at all, whoever is at the other end and wherever it broke off."""

import hashlib
import os
import random
import re
import shutil
import socket
import subprocess

import pytest

from pierlib import WAIT, Client, Process, check_report, wait_until
from test_examples import (  # noqa: F401
    LANGUAGES, LISTENING, base_env, finish, program, unused_url)

BYTES = random.Random(1).randbytes(1_500_000)
NAME = "Größe 你好.bin"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "received").mkdir()
    return tmp_path / "received"


@pytest.fixture
def receive(program, base_env, folder):  # noqa: F811
    """receive(language) → the receiver running in folder, its .url read from what it says."""
    started = []

    def start(language, wrapper=()):
        command = [*wrapper, *program(language, "receive_file"), "tcp://127.0.0.1:0", folder]
        receiver = Process(command, base_env)
        started.append(receiver)
        line = wait_until(lambda: LISTENING.search(receiver.stderr()), "receive_file listens")
        receiver.url = line[1]
        return receiver

    yield start
    for receiver in started:
        check_report(receiver.stderr())
        receiver.kill()


@pytest.fixture
def send(finish, tmp_path):  # noqa: F811
    """send(language, url, data, name) → Result of sending a file with these bytes."""
    def start(language, url, data=BYTES, name=NAME):
        (tmp_path / name).write_bytes(data)
        return finish(language, "send_file", tmp_path / name, url)

    return start


def header(data=BYTES, name=NAME, length=None, digest=None):
    digest = hashlib.sha256(data).hexdigest() if digest is None else digest
    name = name if isinstance(name, bytes) else name.encode()
    return b"%s\n%s\n%s\n" % (name, str(len(data) if length is None else length).encode(),
                              digest.encode())


def send_part(receiver, count, data=BYTES):
    """A sender that breaks off after count bytes, and the receiver has heard of it."""
    with Client.to(receiver.url) as client:
        client.send(header(data))
        client.expect("AT 0\n")
        client.send(data[:count])
        client.half_close()
        client.recv_matching(rb"NO .*byte %d of %d.*\n" % (count, len(data)))


# -- whole files

@pytest.mark.parametrize("ours", LANGUAGES)
@pytest.mark.parametrize("theirs", LANGUAGES)
@pytest.mark.parametrize("data", [BYTES, b"", b"\0" * 65536], ids=["large", "empty", "zeros"])
def test_a_file_arrives(receive, send, folder, ours, theirs, data):
    receiver = receive(ours)
    result = send(theirs, receiver.url, data)
    sending = f"sending {NAME} from byte 0 of {len(data)}\n"
    assert (result.rc, result.out, result.err) == (0, b"", sending)
    assert os.listdir(folder) == [NAME]
    assert (folder / NAME).read_bytes() == data
    printed = f"{NAME} {len(data)} {hashlib.sha256(data).hexdigest()}\n"
    receiver.out.wait_for(lambda out: out.decode() == printed, "what has come")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_old_file_stays_until_the_new_one_is_whole(receive, folder, language):
    (folder / NAME).write_bytes(b"old")
    with Client.to(receive(language).url) as client:
        client.send(header(b"12345678"))
        client.expect("AT 0\n")
        client.send(b"1234")
        wait_until(lambda: any(path.stat().st_size == 4 for path in folder.glob(".*.part")),
                   "a half is on the disk")
        assert (folder / NAME).read_bytes() == b"old"
        client.send(b"5678")
        client.expect("OK\n")
    assert (folder / NAME).read_bytes() == b"12345678"


@pytest.mark.parametrize("language", LANGUAGES)
def test_links_are_replaced_and_not_followed(receive, send, folder, tmp_path, language):
    (tmp_path / "victim").write_bytes(b"victim")
    (folder / NAME).symlink_to(tmp_path / "victim")
    url = receive(language).url
    assert send("c", url, b"1").rc == 0
    assert not (folder / NAME).is_symlink() and (folder / NAME).read_bytes() == b"1"
    part = folder / f".{hashlib.sha256(b'2').hexdigest()}.part"
    part.symlink_to(tmp_path / "victim")
    result = send("c", url, b"2")
    assert result.rc == 1 and re.search("symbolic links", result.err)
    assert (tmp_path / "victim").read_bytes() == b"victim"


# -- after a break

@pytest.mark.parametrize("sender", LANGUAGES)
@pytest.mark.parametrize("first, second", [("c", "c"), ("c", "python"), ("python", "c")])
def test_a_broken_transfer_goes_on_where_it_was(receive, send, folder, sender, first, second):
    receiver = receive(first)
    send_part(receiver, 1_000_000)
    receiver.kill()
    assert not (folder / NAME).exists()
    result = send(sender, receive(second).url)
    assert (result.rc, result.err) == (0, f"sending {NAME} from byte 1000000 of {len(BYTES)}\n")
    assert os.listdir(folder) == [NAME]
    assert (folder / NAME).read_bytes() == BYTES


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_killed_receiver_goes_on_where_it_was(receive, send, folder, language):
    receiver = receive(language)
    with Client.to(receiver.url) as client:
        client.send(header() + BYTES[:700_000])
        wait_until(lambda: any(path.stat().st_size == 700_000 for path in folder.glob(".*.part")),
                   "a part is on the disk")
        receiver.kill()
    result = send("c", receive(language).url)
    assert (result.rc, result.err) == (0, f"sending {NAME} from byte 700000 of {len(BYTES)}\n")
    assert (folder / NAME).read_bytes() == BYTES


@pytest.mark.parametrize("language", LANGUAGES)
def test_another_file_of_the_same_name_begins_at_its_beginning(receive, send, folder, language):
    receiver = receive(language)
    send_part(receiver, 1000)
    other = BYTES[::-1]
    assert "from byte 0 of" in send("c", receiver.url, other).err
    assert (folder / NAME).read_bytes() == other


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_spoiled_part_is_noticed_and_not_used_again(receive, send, folder, language):
    receiver = receive(language)
    send_part(receiver, 1000)
    next(folder.glob(".*.part")).write_bytes(b"x" * 1000)
    result = send("c", receiver.url)
    assert result.rc == 1 and f"receiver: NO {NAME}: {len(BYTES)} bytes with SHA-256" in result.err
    assert os.listdir(folder) == []
    assert send("c", receiver.url).rc == 0
    assert (folder / NAME).read_bytes() == BYTES


# -- what a receiver does not take

@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", [
    "../x", "/tmp/x", "a/../../x", ".", "..", "", ".hidden", "a/b", "a\x1b[2J", "a\rb", "a\x7f",
    b"a\xff", "x" * 256])
def test_a_name_that_leads_elsewhere_is_refused(receive, folder, tmp_path, language, name):
    with Client.to(receive(language).url) as client:
        client.send(header(b"1", name) + b"1")
        assert re.fullmatch(b"NO [^\n]+\n", client.read_to_end())
    assert os.listdir(folder) == [] and os.listdir(tmp_path) == ["received"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("wrong", [
    {"length": -1}, {"length": ""}, {"length": "1x"}, {"length": 10 ** 18}, {"digest": ""},
    {"digest": "0" * 63}, {"digest": "../x"}, {"digest": "G" * 64}, {"digest": "0" * 65}], ids=str)
def test_a_header_that_makes_no_sense_is_refused(receive, folder, language, wrong):
    with Client.to(receive(language).url) as client:
        client.send(header(b"1", **wrong) + b"1")
        assert re.fullmatch(b"NO [^\n]+\n", client.read_to_end())
    assert os.listdir(folder) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_name_of_255_bytes_is_taken(receive, folder, language):
    with Client.to(receive(language).url) as client:
        client.send(header(b"1", "x" * 255) + b"1")
        assert client.read_to_end() == b"AT 0\nOK\n"
    assert os.listdir(folder) == ["x" * 255]


@pytest.mark.parametrize("language", LANGUAGES)
def test_bytes_of_another_digest_leave_nothing(receive, folder, language):
    with Client.to(receive(language).url) as client:
        client.send(header(b"12345678") + b"12345679")
        assert re.fullmatch(rb"AT 0\nNO .* 8 bytes with SHA-256 .*\n", client.read_to_end(), re.S)
    assert os.listdir(folder) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_length_shorter_than_what_is_here_is_refused(receive, folder, language):
    data = BYTES[:1000]
    (folder / f".{hashlib.sha256(data).hexdigest()}.part").write_bytes(data)
    with Client.to(receive(language).url) as client:
        client.send(header(data, length=999))
        assert re.fullmatch(rb"AT 1000\nNO .* 1000 bytes .*\n", client.read_to_end(), re.S)
    assert os.listdir(folder) == []


def small_disk(folder):
    """A command that runs its arguments with a disk of 64 KiB at folder; skips where it cannot."""
    if not shutil.which("unshare"):
        pytest.skip("no unshare command to give the receiver a small disk")
    script = 'mount -t tmpfs -o size=64k tmpfs "$0" && exec "$@"'
    for flags in "-m", "-rm":
        wrapper = ["unshare", flags, "sh", "-ec", script, folder]
        if subprocess.run([*wrapper, "true"], capture_output=True).returncode == 0:
            return wrapper
    pytest.skip("no small disk can be mounted here")


@pytest.mark.parametrize("ours", LANGUAGES)
@pytest.mark.parametrize("theirs", LANGUAGES)
def test_a_full_disk_is_told_and_survived(receive, send, folder, ours, theirs):
    receiver = receive(ours, small_disk(folder))
    result = send(theirs, receiver.url)
    assert result.rc == 1
    assert re.search("receiver: NO .*no space left on device", result.err, re.I)
    wait_until(lambda: re.search("no space left on device", receiver.stderr(), re.I), "it says so")
    assert receiver.running()
    with Client.to(receiver.url) as client:
        client.send("still there?\n")
        client.half_close()
        assert client.read_to_end().startswith(b"NO ")


# -- senders against what goes wrong

@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sender_tells_what_the_receiver_says(send, peer, language):
    def script(client):
        client.expect(header())
        client.send("NO way\n")

    result = send(language, peer(script).url)
    assert result.rc == 1 and "receiver: NO way" in result.err


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sender_is_told_why_its_bytes_are_not_wanted(send, peer, language):
    """The reply is there, and a reset behind it, while the sender still sends."""
    def script(client):
        client.expect(header(b"x" * 50_000_000))
        client.send("AT 0\nNO more\n")
        client.wait_arrived()
        client.reset()

    result = send(language, peer(script).url, b"x" * 50_000_000)
    assert result.rc == 1 and "receiver: NO more" in result.err


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_file_that_became_shorter_is_told(send, peer, tmp_path, language):
    def script(client):
        client.expect(header())
        os.truncate(tmp_path / NAME, 1000)
        client.send("AT 0\n")
        client.drain()

    result = send(language, peer(script).url)
    assert result.rc == 1 and "file ends at byte 1000" in result.err


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("replies", [b"", b"AT 0\n"])
def test_an_end_instead_of_a_reply_is_an_error(send, peer, language, replies):
    def script(client):
        client.expect(header(b"1"))
        client.send(replies)
        client.half_close()
        client.drain()

    assert send(language, peer(script).url, b"1").rc == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_exit_codes_of_a_sender(finish, send, tmp_path, language):  # noqa: F811
    assert finish(language, "send_file").rc == 2
    assert finish(language, "send_file", tmp_path / "none").rc == 1
    assert send(language, "tcp://no.such.host.invalid:1").rc == 3
    result = send(language, unused_url())
    assert result.rc == 4 and re.search("connection refused", result.err, re.I)


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_silence_is_exit_6_after_five_seconds(send, language):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = send(language, "tcp://127.0.0.1:%d" % silent.getsockname()[1], b"1")
    assert (result.rc, result.out) == (6, b"")
    assert 4.9 < result.elapsed < 5 + WAIT / 2
