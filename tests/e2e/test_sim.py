# SPDX-License-Identifier: MIT
"""`pier sim`: the list, one seed and its trace, many seeds and their summary, usage errors.

What a failing seed looks like is tests/sim_sweep.c's: here every scenario passes."""

import json
import re

import pytest

from pierlib import SCALE

SCENARIOS = ["relay", "message", "chat", "happy-eyeballs", "cancel", "stop", "sync",
             "file", "datagram", "http"]
LAST = re.compile(r"seed (\d+): (\d+) events, (\d+\.\d{6}) s, hash ([0-9a-f]{16})")
SUMMARY = re.compile(r"(\d+) seeds, (\d+) failures, (\d+) seeds/s")
EVENT = re.compile(r" *\d+\.\d{6}  \S+ +[a-z]")
LONG = 60 * SCALE


def usage_error(result, *words):
    assert result.rc == 2, result
    assert result.out == b"", "errors belong on stderr"
    for word in words:
        assert word.lower() in result.err.lower(), f"{word!r} is not in {result.err!r}"


def last_line(result):
    assert (result.rc, result.err) == (0, "")
    return result.out.decode().splitlines()[-1]


def run_seed(pier, scenario, *args):
    """(seed, events, virtual time, hash) of a run that finds nothing."""
    match = LAST.fullmatch(last_line(pier("sim", scenario, *args, timeout=LONG)))
    assert match
    return match.groups()


# -- the list


def test_the_list_has_a_scenario_a_line_the_name_first(pier):
    result = pier("sim", "--list")
    assert (result.rc, result.err) == (0, "")
    lines = result.out.decode().splitlines()
    assert [line.split()[0] for line in lines] == SCENARIOS
    assert all(len(line.split()) > 2 for line in lines)


def test_the_list_is_an_array_in_json(pier):
    listed = json.loads(pier("sim", "--list", "--json").out)
    assert [scenario["name"] for scenario in listed] == SCENARIOS
    assert all(scenario["summary"] for scenario in listed)


# -- one seed


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_seed_comes_to_the_same_twice(pier, scenario):
    first = run_seed(pier, scenario, "--seed", "7")
    assert first[0] == "7" and int(first[1]) > 0
    assert run_seed(pier, scenario, "--seed", "7") == first


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_seeds_differ(pier, scenario):
    hashes = {run_seed(pier, scenario, "--seed", str(seed))[3] for seed in range(1, 9)}
    assert len(hashes) == 8


def test_without_a_seed_it_is_the_first(pier):
    assert run_seed(pier, "relay") == run_seed(pier, "relay", "--seed", "1")


def test_the_largest_seed_is_one(pier):
    assert run_seed(pier, "relay", "--seed", str(2**63 - 1))[0] == str(2**63 - 1)


def test_a_trace_has_time_host_and_event_and_changes_nothing(pier):
    result = pier("sim", "relay", "--seed", "7", "--trace", timeout=LONG)
    lines = result.out.decode().splitlines()
    assert LAST.fullmatch(last_line(result)).groups() == run_seed(pier, "relay", "--seed", "7")
    assert len(lines) == int(LAST.fullmatch(lines[-1])[2]) + 1
    assert all(EVENT.match(line) for line in lines[:-1])
    times = [float(line.split()[0]) for line in lines[:-1]]
    assert times == sorted(times)


def test_a_seed_in_json(pier):
    seed, events, _, trace_hash = run_seed(pier, "chat", "--seed", "3")
    result = json.loads(pier("sim", "chat", "--seed", "3", "--json").out)
    assert (result["scenario"], result["seed"], result["events"]) == (
        "chat", int(seed), int(events))
    assert (result["hash"], result["failure"]) == (trace_hash, None)
    assert result["time_ns"] > 0 and result["faults"] >= 0 and result["choices"] > 0


def test_a_reduction_leaves_something_out(pier):
    whole = run_seed(pier, "message", "--seed", "4")
    less = run_seed(pier, "message", "--seed", "4", "--reduced", "calm=order+split,size=10")
    assert less[3] != whole[3]


# -- many seeds


def test_many_seeds_end_with_a_summary(pier):
    result = pier("sim", "relay", "--seeds", "50", "--jobs", "2", timeout=LONG)
    seeds, failures, rate = SUMMARY.fullmatch(last_line(result)).groups()
    assert (seeds, failures) == ("50", "0") and int(rate) > 0


def test_many_seeds_begin_where_they_are_told(pier):
    result = pier("sim", "sync", "--seeds", "20", "--first", "1000", "--json", timeout=LONG)
    summary = json.loads(last_line(result))
    assert summary == {**summary, "scenario": "sync", "first": 1000, "seeds": 20, "failures": 0}
    assert summary["seeds_per_second"] > 0


@pytest.mark.parametrize("more", [[], ["--seeds", "1000000000"]], ids=["endless", "counted"])
def test_many_seeds_end_after_a_time(pier, more):
    result = pier("sim", "message", "--for", "300ms", *more, timeout=LONG)
    assert int(SUMMARY.fullmatch(last_line(result))[1]) > 0
    assert 0.3 <= result.elapsed < 10 * SCALE


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_found_in_a_few_seeds(pier, scenario):
    result = pier("sim", scenario, "--seeds", "30", timeout=LONG)
    assert SUMMARY.fullmatch(last_line(result))[2] == "0"


# -- usage


def test_without_a_name_the_scenarios_are_listed(pier):
    usage_error(pier("sim"), "which scenario", *SCENARIOS)


@pytest.mark.parametrize("typo, meant", [("rely", "relay"), ("happy-eyeball", "happy-eyeballs")])
def test_a_mistyped_scenario_is_asked_for(pier, typo, meant):
    usage_error(pier("sim", typo), typo, "did you mean", meant)


def test_an_unknown_scenario_is_a_usage_error(pier):
    usage_error(pier("sim", "weather"), "weather")


@pytest.mark.parametrize(
    "args",
    [
        ["relay", "chat"],
        ["--list", "relay"],
        ["--list", "--seed", "1"],
        ["relay", "--seed", "1", "--seeds", "2"],
        ["relay", "--seed", "1", "--for", "1s"],
        ["relay", "--seeds", "2", "--trace"],
        ["relay", "--seeds", "2", "--reduced", "size=1"],
        ["relay", "--first", "2"],
        ["relay", "--jobs", "2"],
        ["relay", "--seeds", "0"],
        ["relay", "--seeds", "2", "--jobs", "0"],
        ["relay", "--seed", "-1"],
        ["relay", "--seed", "many"],
        ["relay", "--seed", str(2**63)],
        ["relay", "--for", "0"],
        ["relay", "--frobnicate"],
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_a_usage_error(pier, args):
    usage_error(pier("sim", *args))


@pytest.mark.parametrize("text", ["nonsense", "calm=weather", "size=101", "faults=x", "size"])
def test_a_reduction_that_is_none_is_a_usage_error(pier, text):
    usage_error(pier("sim", "relay", "--seed", "1", "--reduced", text), "--reduced", text)


# -- output


def test_output_that_cannot_be_written_is_a_failure(pier):
    result = pier("sim", "relay", wrapper=["sh", "-c", 'exec "$@" >/dev/full', "sh"])
    assert result.rc == 1 and "standard output" in result.err


def test_completion_and_help_know_the_verb(pier):
    assert " sim" in pier("completion", "bash").out.decode()
    text = pier("sim", "--help").out.decode()
    for option in "--list --seed --seeds --for --first --jobs --trace --reduced --json".split():
        assert re.search(rf"(?<![\w-]){option}\b", text), option
