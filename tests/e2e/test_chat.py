# SPDX-License-Identifier: MIT
"""`--handler chat`: each message to every other client, once, with its sender's address."""

import re

import pytest

from pierlib import chat_join, chat_room, in_parallel, ipv6_missing


def test_chat_sends_each_message_to_every_other_client(serve):
    members = chat_room(serve("--handler", "chat"), 4)
    for speaker in members:
        speaker.send(f"it is {speaker.address}")
        for member in members:
            if member is not speaker:
                member.expect(f"[{speaker.address}] it is {speaker.address}\n")
    for (
        member
    ) in members:  # and nothing else: no echo to the speaker, no notices of comings and goings
        member.half_close()
        member.expect_end()
        members = [other for other in members if other is not member]


@pytest.mark.models("tasks")
def test_chat_reaches_clients_of_all_workers(serve):
    members = chat_room(serve("--handler", "chat", "--workers", "2"), 8)
    members[0].send("all?")
    for member in members[1:]:
        member.expect(f"[{members[0].address}] all?\n")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_chat_strips_the_line_end(serve, ending):
    alice, bob = chat_room(serve("--handler", "chat"), 2)
    for text in "hi", "你好", "a b":
        alice.send(text + ending)
        bob.expect(f"[{alice.address}] {text}\n")


def test_chat_passes_invalid_utf8_through(serve):
    alice, bob = chat_room(serve("--handler", "chat"), 2)
    alice.send(b"\xff\xfe!")
    bob.expect(f"[{alice.address}] ".encode() + b"\xff\xfe!\n")


def test_chat_prints_ipv6_addresses_in_brackets(serve):
    if ipv6_missing():
        pytest.skip(ipv6_missing())
    alice, bob = chat_room(serve("--handler", "chat", urls=["tcp://[::1]:0"]), 2)
    assert alice.address.startswith("[::1]:")
    alice.send("hi")
    bob.expect(f"[{alice.address}] hi\n")


def test_chat_prints_unix_clients_as_unix(serve, unix_url):
    alice, bob = chat_room(serve("--handler", "chat", urls=[unix_url]), 2)
    alice.send("hi")
    bob.expect("[unix] hi\n")


def test_chat_is_one_room_for_all_urls(serve, unix_url):
    server = serve("--handler", "chat", urls=["tcp://127.0.0.1:0", unix_url])
    alice, bob = server.connect(), server.connect(server.endpoints[1].url)
    chat_join(chat_join([], alice), bob)
    alice.send("hi")
    bob.expect(f"[{alice.address}] hi\n")


def test_chat_goes_on_when_a_client_leaves_or_is_reset(serve):
    alice, bob, carol, dave = chat_room(serve("--handler", "chat"), 4)
    carol.close()
    dave.reset()
    for text in "one", "two", "three":
        alice.send(text)
        bob.expect(f"[{alice.address}] {text}\n")
        bob.send(text)
        alice.expect(f"[{bob.address}] {text}\n")


def test_chat_keeps_messages_whole_when_all_speak_at_once(serve):
    members = chat_room(serve("--handler", "chat"), 6)

    def talk(number):
        for count in range(10):
            members[number].send(f"{number}.{count:02};")
        members[number].send("done")

    def listen(number):
        data = b""
        while data.count(b"done") < 5:
            data += members[number].recv_line()
        return data.decode()

    heard = in_parallel(12, lambda i: listen(i - 6) if i >= 6 else talk(i))[6:]
    for number, text in enumerate(heard):
        for other, member in enumerate(members):
            said = "".join(re.findall(rf"^\[{re.escape(member.address)}\] (.*)\n", text, re.M))
            assert said == (
                "" if other == number else "".join(f"{other}.{n:02};" for n in range(10)) + "done"
            )


def test_chat_drops_a_slow_client_and_tells_it_while_others_go_on(serve):
    server = serve("--handler", "chat")
    alice, bob = chat_room(server, 2)
    slow = server.connect(rcvbuf=4096)
    chat_join([alice, bob], slow)
    size, rounds = (
        8192,
        2048,
    )  # 16 MiB, more than the kernel's socket buffers and any sensible queue hold
    for _ in range(rounds):
        alice.send(b"x" * size)
        heard = 0
        while (
            heard < size
        ):  # bob hears it all, in step, and so is never slow; one send may arrive as two messages
            heard += bob.recv_line().count(b"x")
    data, _ = slow.drain()  # has an end: the server let go of it
    assert data.count(b"x") < size * rounds
    told = re.sub(rb"\[%s\] x*\n?" % re.escape(alice.address.encode()), b"", data)
    assert re.search(
        rb"[A-Za-z]{2}", told
    ), f"nothing tells the dropped client why: {data[-200:]!r}"
    alice.send("still here?")
    bob.expect(f"[{alice.address}] still here?\n")
