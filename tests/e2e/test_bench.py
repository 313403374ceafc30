# SPDX-License-Identifier: MIT
"""The bench judges and writes what it measured, and nothing else: from rounds made up here to figures, verdicts,
tables, plots and documents. Nothing is measured.

Marked slow so that the sanitizers' pass leaves it out: no C code runs.
"""

import importlib.machinery
import importlib.util
import json
import pathlib
import re
import sys
import types
import xml.etree.ElementTree

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "bench"))

import contestants  # noqa: E402
import plots  # noqa: E402
import report  # noqa: E402
import rounds as one  # noqa: E402
import targets  # noqa: E402

pytestmark = pytest.mark.slow

LOADER = importlib.machinery.SourceFileLoader("bench_run", str(REPOSITORY / "bench/run"))
run = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_run", LOADER))
LOADER.exec_module(run)

HEADER = {"processors": "2 × some", "memory": "1 GiB", "kernel": "6", "command": "./dev bench", "when": "2026-11-20",
          "rounds": 3, "seconds": 2.0, "versions": {"commit": "abc"}, "notes": [], "partial": False}


def echo_round(cpu_ns, user_share=0.03, ticks=500, p50_ns=100_000, p99_ns=200_000, foreign=0.0):
    return {"cpu_ns_op": cpu_ns, "user_ns_op": cpu_ns * user_share, "sys_ns_op": cpu_ns * (1 - user_share),
            "user_share": user_share, "ticks": ticks, "ops_per_s": 1e9 / cpu_ns, "mean_ns": p50_ns, "p50_ns": p50_ns,
            "p99_ns": p99_ns, "p999_ns": p99_ns, "busy": 0.97, "foreign": foreign, "steal": 0.0, "load_busy": 0.8,
            "rss_kib": 2048}


def echo_work(rounds):
    work = {"kind": "echo", "summary": "TCP echo", "unit": "ns", "both_cores": False, "floors": ["bare-epoll"],
            "own_floor": {"pier": "bare-epoll"}, "absent": {}, "failed": {}, "stumbled": {}, "rounds": rounds,
            "rounds_done": 3, "rounds_wanted": 3}
    work["figures"] = report.figure(work, rounds)
    return work


def results_of(**workloads):
    return {"header": HEADER, "workloads": workloads}


def rows_about(works, text):
    found = [row for row in targets.judge(works) if text in row[0]]
    assert found, f"no target mentions {text}"
    return found


def cpu_verdict(pier, bare=(1000, 1000, 1000)):
    work = echo_work({"bare-epoll": [echo_round(ns) for ns in bare], "pier": [echo_round(ns) for ns in pier]})
    return rows_about({"echo64x50": work}, "64 B × 50, epoll: CPU ≤ 1.02")[0]


def test_a_target_that_did_not_run_is_not_measured():
    verdicts = {row[2] for row in targets.judge({})}
    assert verdicts == {"not measured"}


def test_the_text_where_another_validator_comes_nearest_is_judged():
    def figures(**texts):
        return {text: {"best": ns, "median": ns} for text, ns in texts.items()}
    table = {"pier": figures(ascii=25, emoji=380), "rust": figures(ascii=40, emoji=620),
             "glib": figures(ascii=480, emoji=400)}
    target, measured, verdict = rows_about({"utf8": {"figures": table}}, "pier_utf8_valid")[0]
    assert measured.startswith("0.95 × glib at worst, emoji") and verdict == "ok"
    table["rust"] = figures(ascii=20, emoji=620)
    target, measured, verdict = rows_about({"utf8": {"figures": table}}, "pier_utf8_valid")[0]
    assert measured.startswith("1.25 × rust at worst, ascii") and verdict == "**missed**"


@pytest.mark.parametrize("pier, verdict", [
    ((1000, 1010, 1015), "ok"),
    ((1000, 1100, 1200), "ok, median missed"),
    ((1030, 1030, 1030), "**missed**"),
    ((1021, 1000.1e3, 1021), "**missed**"),
])
def test_a_ratio_is_judged_by_best_rounds_and_its_median_is_said(pier, verdict):
    assert cpu_verdict(pier)[2] == verdict


def test_a_noisy_figure_says_so_in_its_target():
    work = echo_work({"bare-epoll": [echo_round(1000)], "pier": [echo_round(1000, foreign=0.2)]})
    assert "noisy" in rows_about({"echo64x50": work}, "64 B × 50, epoll: CPU ≤ 1.02")[0][1]


def test_user_space_is_not_judged_from_few_ticks():
    few = echo_work({"bare-epoll": [echo_round(4000)], "pier": [echo_round(4000, 0.01, ticks=40)]})
    many = echo_work({"bare-epoll": [echo_round(4000)], "pier": [echo_round(4000, 0.06, ticks=4000)]})
    assert "too few ticks" in rows_about({"echo64x50": few}, "50, epoll: user space")[0][2]
    assert rows_about({"echo64x50": many}, "50, epoll: user space")[0][2] == "**missed**"


def test_a_peer_below_is_named():
    work = echo_work({"bare-epoll": [echo_round(1000)], "pier": [echo_round(1100)], "tokio": [echo_round(1090)],
                      "libuv": [echo_round(1300)]})
    row = rows_about({"echo64x50": work}, "50, epoll: CPU below every peer's")[0]
    assert "tokio 1,090" in row[1] and row[2] == "**missed**"


def test_balance_is_judged_by_its_worst_round():
    work = {"kind": "balance", "figures": report.figure_balance(None, {"pier-epoll-2": [
        {"deviation": 0.1, "counts": [220, 180]}, {"deviation": 0.3, "counts": [260, 140]}]})}
    assert rows_about({"balance": work}, "2 workers, epoll")[0][2] == "**missed**"


def test_documents_change_between_their_markers_only(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench: echo64x50 -->\nold\n<!-- end -->\nbetween\n"
                    "<!-- bench: crowd -->\nkept\n<!-- end -->\nafter\n")
    results = results_of(echo64x50=echo_work({"bare-epoll": [echo_round(1000)], "pier": [echo_round(1040)]}))
    unknown = report.write_docs(results, [page])
    text = page.read_text()
    assert unknown == ["crowd"] and "kept" in text and "old" not in text and "1,040" in text
    assert text.startswith("before\n<!-- bench: echo64x50 -->\n") and text.endswith("<!-- end -->\nafter\n")
    assert "\n<!-- end -->\nbetween\n" in text
    report.write_docs(results, [page])
    assert page.read_text() == text


def test_the_pages_of_the_project_have_markers_that_a_full_run_fills():
    known = set(run.WORKLOADS) | set(report.sections(results_of()))
    for name in run.DOCUMENTS:
        text = (REPOSITORY / name).read_text()
        wanted = [found["name"] for found in report.MARKED.finditer(text)]
        assert wanted and set(wanted) <= known
        assert len(wanted) == text.count("<!-- bench:") == text.count("<!-- end -->")


def test_tables_survive_json_and_have_as_many_cells_in_every_line():
    results = results_of(echo64x50=echo_work({"bare-epoll": [echo_round(1000)], "pier": [echo_round(1040)]}))
    again = json.loads(json.dumps(results))
    assert report.document(again) == report.document(results)
    lines = [line for line in report.table(again["workloads"]["echo64x50"]) if line.startswith("|")]
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1


def texts_of(svg):
    """(left, right, y) of every text in a plot, by the usual width of a character."""
    for item in xml.etree.ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        px = 5.8 if "soft" in item.get("class", "") else 7.4  # of DejaVu Sans at 11 and 13 px
        width, x = len(item.text) * px, float(item.get("x"))
        left = x - width if item.get("text-anchor") == "end" else x
        yield left, left + width, float(item.get("y"))


def test_no_label_of_a_plot_is_cut_or_meets_another_or_a_bar():
    longest = {f"a-contestant-with-a-long-name-{i}": [echo_round(1000 * 9 ** i, p99_ns=10 ** (4 + i))] for i in range(4)}
    work = echo_work({"bare-epoll": [echo_round(900)], "pier": [echo_round(1040)], **longest})
    svg = plots.draw(work["summary"], HEADER, plots.echo_panels(work))
    texts = sorted(texts_of(svg), key=lambda text: (text[2], text[0]))
    assert all(left >= 0 and right <= plots.WIDTH for left, right, _ in texts)
    for (_, right, y), (left, _, below) in zip(texts, texts[1:]):
        assert (right <= left) if y == below else below - y >= 13
    ends = [float(x) + float(width) for x, width in re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', svg)]
    values = [left for left, right, _ in texts if round(right) == plots.WIDTH - plots.MARGIN]
    assert len(ends) == 12 and max(ends) < min(values)


def fake_round(outcomes):
    def play(contestant, work, options):
        outcome = outcomes[contestant.name].pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return echo_round(outcome)
    return play


def play_workload(monkeypatch, outcomes, rounds=3, end=float("inf")):
    field = [contestants.Contestant(name, lambda *_: "/", "x.c", contestants.plain, floor=name == "bare-epoll")
             for name in outcomes]
    monkeypatch.setitem(one.ROUNDS, "echo", fake_round(outcomes))
    options = types.SimpleNamespace(rounds=rounds, seed=1, only="", end=end)
    return run.run_workload("made-up", run.Workload("echo", "made up", field), options)


def test_one_failed_round_is_named_and_a_second_is_the_end(monkeypatch):
    work = play_workload(monkeypatch, {"bare-epoll": [1000, 1000, 1000], "once": [one.Failed("stood still"), 1100, 1090],
                                       "twice": [900, one.Failed("broke"), one.Failed("broke again")],
                                       "not": [contestants.Absent("no package")]})
    assert work["figures"]["once"]["cpu_ns_op"]["best"] == 1090 and "twice" not in work["figures"]
    assert work["failed"] == {"twice": "broke again"} and work["absent"] == {"not": "no package"}
    last = report.table(work)[-1]
    assert "One round of once failed: stood still." in last and "twice FAILED: broke again." in last
    assert "not is absent: no package." in last


def test_a_contestant_whose_only_round_failed_has_failed(monkeypatch):
    work = play_workload(monkeypatch, {"bare-epoll": [1000], "once": [one.Failed("broke")]}, rounds=1)
    assert work["failed"] == {"once": "broke"}


def test_every_workload_has_a_round_when_the_time_is_up(monkeypatch):
    work = play_workload(monkeypatch, {"bare-epoll": [1000, 1000, 1000]}, end=0)
    assert work["rounds_done"] == 1 and work["rounds_wanted"] == 3


def test_a_run_without_the_bare_loop_has_a_table_without_ratios():
    work = echo_work({"pier": [echo_round(1040)]})
    assert any("1,040" in line and "–" in line for line in report.table(work))
    assert cpu_verdict((1000,))[2] == "ok"
    assert rows_about({"echo64x50": work}, "64 B × 50, epoll: CPU ≤ 1.02")[0][2] == "not measured"
