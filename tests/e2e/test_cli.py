# SPDX-License-Identifier: MIT
"""The command line itself: help, usage errors, options anywhere, durations, `pier info`."""

import json
import pathlib
import platform
import re
import shlex
import subprocess

import pytest

PAGES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "man"

VERBS = [
    "serve", "get", "head", "post", "put", "patch", "delete", "connect", "send", "broadcast",
    "check", "scan", "resolve", "ports", "cert", "encode", "decode", "hash", "sim", "info",
]
SERVE_OPTIONS = (
    "--handler --reply --once --exec --lines --max-line --model --workers --max-conns "
    "--idle-timeout --json -v"
).split()
LOCAL = "tcp://127.0.0.1:0"


def usage_error(result, *words):
    assert result.rc == 2, result
    assert result.out == b"", "errors belong on stderr"
    for word in words:
        assert word.lower() in result.err.lower(), f"{word!r} is not in {result.err!r}"


def echo_one(client):
    client.send(client.sock.recv(65536))
    client.expect_end()


# -- help


def test_help_lists_the_verbs(pier):
    result = pier("--help")
    assert result.rc == 0 and result.err == ""
    for verb in VERBS:
        assert re.search(rf"\b{verb}\b", result.out.decode())


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb_has_examples(pier, verb):
    result = pier(verb, "--help")
    assert result.rc == 0 and result.err == ""
    text = result.out.decode()
    assert re.search("example", text, re.I)
    assert len(re.findall(rf"\bpier {verb}\b", text)) >= 2  # the usage line and an example


@pytest.mark.parametrize(
    "verb, options",
    [
        ("serve", SERVE_OPTIONS),
        ("connect", ["--crlf", "--wait"]),
        ("send", ["--greeting", "--timeout"]),
        ("sim", ["--list", "--seed", "--seeds", "--for", "--first", "--jobs", "--trace", "--json"]),
        ("info", ["--json"]),
        ("resolve", ["--ipv4", "--ipv6", "--reverse", "--json", "--timeout"]),
        ("ports", ["--json"]),
        ("hash", ["--check"]),
    ],
)
def test_help_names_every_option(pier, verb, options):
    text = pier(verb, "--help").out.decode()
    for option in options:
        assert re.search(rf"(?<![\w-]){option}\b", text), option


def entries(mdoc):
    """The options and the examples that a page lists, in order, without what is only markup."""
    sections = re.findall(r"^\.Sh (?:OPTIONS|EXAMPLES)\n(.*?)(?=^\.Sh |\Z)", mdoc, re.M | re.S)
    return re.findall(r"^\.It (.*)$", "".join(sections).replace("\\-", "-"), re.M)


@pytest.mark.parametrize("verb", VERBS)
def test_a_page_has_the_options_and_examples_of_the_help(pier, verb):
    shown = entries(pier("help", "--mdoc", verb).out.decode())
    assert shown and shown == entries((PAGES / f"pier-{verb}.1").read_text())


def test_the_page_of_the_command_has_the_verbs_in_the_order_of_the_help(pier):
    helped = re.findall(r"^  ([a-z]+) ", pier("help").out.decode(), re.M)
    page = re.findall(r"^\.It Cm (\w+)", (PAGES / "pier.1").read_text(), re.M)
    assert helped == page and set(VERBS) | {"completion", "help"} == set(helped)


def test_the_page_and_the_help_have_the_same_exit_codes(pier):
    status = pier("help").out.decode().partition("exit status: ")[2]
    page = (PAGES / "pier.1").read_text().partition(".Sh EXIT STATUS")[2].partition(".Sh ")[0]
    assert re.findall(r"(\d+) ", status) == re.findall(r"^\.It (\d+)$", page, re.M)


def complete(pier, *words):
    script = pier("completion", "bash").out.decode()
    line = (f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _pier; "
            'echo "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", f"{script}\n{line}"], capture_output=True, text=True,
                          check=True)
    return done.stdout.split()


def test_completion_offers_verbs_options_and_values(pier):
    assert set(VERBS) < set(complete(pier, "pier", ""))
    assert complete(pier, "pier", "help", "se") == ["serve", "send"]
    assert complete(pier, "pier", "completion", "b") == ["bash"]
    assert complete(pier, "pier", "serve", "--model", "p") == ["processes", "prefork"]


@pytest.mark.parametrize("verb", VERBS)
def test_completion_offers_every_option_of_a_verb(pier, verb):
    helped = re.findall(r"^ .{5}(--[a-z0-9-]+)", pier(verb, "--help").out.decode(), re.M)
    assert sorted(complete(pier, "pier", verb, "--")) == sorted(helped)


def test_help_wins_over_the_rest_of_the_line(pier):
    assert pier("serve", LOCAL, "--handler", "echo", "--help").rc == 0


def test_help_to_a_pipe_has_no_colours(pier):
    assert b"\x1b" not in pier("serve", "--help").out


def test_without_a_verb_the_usage_is_shown(pier):
    result = pier()
    assert result.rc in (0, 2)
    assert "serve" in result.err + result.out.decode()


# -- usage errors


def test_an_unknown_verb_is_a_usage_error(pier):
    usage_error(pier("frobnicate"), "frobnicate")


@pytest.mark.parametrize(
    "typo, meant", [("serv", "serve"), ("sevre", "serve"), ("conect", "connect"), ("inof", "info")]
)
def test_a_mistyped_verb_is_asked_for(pier, typo, meant):
    usage_error(pier(typo), typo, "did you mean", meant)


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_option_is_a_usage_error(pier, verb):
    usage_error(pier(verb, "--frobnicate"), "--frobnicate")
    usage_error(pier(verb, "-Q"), "-Q")


@pytest.mark.parametrize(
    "verb, typo, meant",
    [
        ("serve", "--handlr", "--handler"),
        ("serve", "--wokers", "--workers"),
        ("connect", "--clrf", "--crlf"),
        ("send", "--greting", "--greeting"),
        ("info", "--jsn", "--json"),
    ],
)
def test_a_mistyped_option_is_asked_for(pier, verb, typo, meant):
    usage_error(pier(verb, typo), typo, "did you mean", meant)


@pytest.mark.parametrize(
    "option", ["--handler", "--reply", "--exec", "--max-line", "--model", "--idle-timeout"]
)
def test_an_option_without_its_value_is_a_usage_error(pier, option):
    usage_error(pier("serve", LOCAL, option), option)


@pytest.mark.parametrize(
    "args",
    [
        ["--handler", "echo", "--reply", "x"],
        ["--handler", "message", "--exec", "cat"],
        ["--reply", "x", "--exec", "cat"],
        ["--handler", "echo", "--reply", "x", "--exec", "cat"],
    ],
    ids=" ".join,
)
def test_handler_reply_and_exec_exclude_each_other(pier, args):
    usage_error(pier("serve", *args, LOCAL), *[arg for arg in args if arg.startswith("--")][:2])


def test_an_unknown_handler_is_a_usage_error(pier):
    usage_error(pier("serve", "--handler", "ecoh", LOCAL), "ecoh")


def test_an_unknown_model_is_a_usage_error(pier):
    usage_error(pier("serve", "--model", "fibres", LOCAL), "fibres")


@pytest.mark.parametrize("forking", ["processes", "prefork"])
def test_a_chat_room_does_not_span_processes(pier, forking):
    usage_error(pier("serve", "--model", forking, "--handler", "chat", LOCAL), "chat")


@pytest.mark.parametrize("option", ["--workers", "--max-conns", "--max-line"])
@pytest.mark.parametrize("value", ["many", "1x", "1.5"])
def test_a_number_that_is_none_is_a_usage_error(pier, option, value):
    usage_error(pier("serve", option, value, LOCAL), option)


@pytest.mark.parametrize(
    "value", ["", "soon", "5x", "-1s", "s", "1 s", "ms", "1s2", "99999999999999999999h"]
)
@pytest.mark.parametrize("verb", ["serve", "connect", "send"])
def test_a_duration_that_is_none_is_a_usage_error(pier, verb, value):
    option = {"serve": "--idle-timeout", "connect": "--wait", "send": "--timeout"}[verb]
    usage_error(pier(verb, option, value, LOCAL, *(["x"] if verb == "send" else [])), option)


# -- options


@pytest.mark.parametrize("value", ["300ms", "2s", "1m", "1h", "3", "5000ms"])
def test_durations_have_units_and_a_bare_number_is_seconds(pier, peer, value):
    result = pier("send", "--timeout", value, peer(echo_one).url, "hi")
    assert (result.rc, result.out) == (0, b"hi\n")


@pytest.mark.parametrize("place", range(3))
def test_options_stand_anywhere(pier, peer, place):
    args = [peer(echo_one).url, "hi"]
    args[place:place] = ["--timeout", "5s"]
    result = pier("send", *args)
    assert (result.rc, result.out) == (0, b"hi\n")


def test_two_dashes_end_the_options(pier, peer):
    result = pier("send", "--timeout", "5s", peer(echo_one).url, "--", "--timeout")
    assert (result.rc, result.out) == (0, b"--timeout\n")


@pytest.mark.models("tasks")
def test_options_of_serve_stand_after_its_urls(serve):
    server = serve(urls=[LOCAL, "--handler", "echo"], lines=1)
    assert server.exchange(b"hi") == b"hi"


# -- info


def test_info_tells_kernel_and_backend(pier):
    result = pier("info")
    assert result.rc == 0 and result.err == ""
    text = result.out.decode()
    assert platform.release() in text
    assert re.search(r"^backend +(epoll|io_uring)$", text, re.M)


def test_info_json_is_one_json_object(pier):
    result = pier("info", "--json")
    assert result.rc == 0 and result.err == ""
    info = json.loads(result.out)
    assert isinstance(info, dict) and info
    assert platform.release() in result.out.decode()
    assert info["backend"] in ("epoll", "io_uring")


def test_info_names_a_backend_that_was_refused(pier):
    result = pier("info", env={"PIER_BACKEND": "warp"})
    assert result.rc == 0
    assert "warp" in result.err + result.out.decode() and len(result.err.splitlines()) <= 1


def test_info_takes_no_arguments(pier):
    usage_error(pier("info", "surplus"), "surplus")
