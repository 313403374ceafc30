#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Draws the figures of bench/run: one SVG a workload, a bar a contestant, the ratio to the bare loop beside it.

The bar is the best round, the mark the median; zero is at the left, nothing is cut off. Colours follow the reader's
light or dark scheme. Nothing but the standard library.

usage: plots.py RESULTS.json DIRECTORY
"""
import json
import pathlib
import sys
from xml.sax.saxutils import escape

WIDTH, MARGIN, ROW, BAR, TOP = 760, 16, 26, 16, 62
PANEL_HEAD, FOOT = 26, 30
NAME_PX, VALUE_PX, SMALL_PX = 8.0, 7.6, 6.0  # a character's width at 13 and 11 px, rather too much than too little

STYLE = """<style>
  text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 13px; fill: #1f2328; }
  .page { fill: #ffffff; } .title { font-size: 15px; font-weight: 600; }
  .soft { font-size: 11px; fill: #59636e; } .own { font-weight: 600; }
  .axis { stroke: #c8ced5; } .mark { stroke: #1f2328; stroke-width: 2; }
  .pier { fill: #0b7a75; } .bare { fill: #8c959f; } .peer { fill: #d4a15a; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .page { fill: #0d1117; } .soft { fill: #9198a1; }
    .axis { stroke: #3d444d; } .mark { stroke: #e6edf3; }
    .pier { fill: #2fb5ad; } .bare { fill: #6e7681; } .peer { fill: #b98a45; }
  }
</style>"""

MICRO = {"yield": "yield to another task", "spawn_join": "spawn a task and join it",
         "chan_buffered": "message through a channel of 64, between tasks",
         "chan_threads": "message through a channel of 64, between threads",
         "mutex_threads": "lock and unlock, two threads at once"}


def kind(name):
    if name.startswith(("bare", "pthread")):
        return "bare"
    return "pier" if name.startswith(("pier", "libpier")) else "peer"


def rows_of(figures, key, unit, scale=1.0, ratio=None, digits=0):
    """(name, best, median, text) of those that have the figure, the best first."""
    rows = []
    for name, figure in figures.items():
        if key not in figure:
            continue
        best, median = (figure[key][w] / scale for w in ("best", "median"))
        text = f"{best:,.{digits}f} {unit}"
        if ratio and ratio in figure:
            text += f"  {figure[ratio][key]['best']:.2f} ×"
        rows.append((name, best, median, text))
    return sorted(rows, key=lambda row: row[1])


def echo_panels(work):
    floor = f" and the ratio to {work['floors'][0]}" if work["floors"] else ""
    panels = [(f"server CPU per operation{floor}", rows_of(work["figures"], "cpu_ns_op", "ns", ratio="ratio"))]
    if work["kind"] == "echo" and not work["both_cores"]:
        panels.append(("p99 of the echo as its client sees it, at saturation",
                       rows_of(work["figures"], "p99_ns", "µs", 1e3, ratio="ratio", digits=1)))
    return panels


def micro_panels(work):
    return [(title, rows_of({n: f for n, f in work["figures"].items() if bench in f}, bench, "ns", digits=1))
            for bench, title in MICRO.items()]


PANELS = {
    "echo": echo_panels,
    "relay": echo_panels,
    "udp": echo_panels,
    "idle": lambda work: [("resident bytes per connection after a message",
                           rows_of(work["figures"], "talked_bytes", "B"))],
    "startup": lambda work: [("milliseconds", rows_of(work["figures"], "ms", "ms", digits=1))],
    "crowd": lambda work: [("resident memory", rows_of(work["figures"], "rss_kib", "MiB", 1024)),
                           ("spawn all", rows_of(work["figures"], "spawn_ns", "ms", 1e6)),
                           ("wake and join all", rows_of(work["figures"], "join_ns", "ms", 1e6))],
    "micro": micro_panels,
}


def bar(row, y, left, scale, right):
    """The name, the bar, the mark and the value, each in its own column."""
    name, best, median, text = row
    own = ' class="own"' if kind(name) == "pier" else ""
    middle, mark = y + BAR - 3, left + median * scale
    return [f'<text x="{left - 8:.0f}" y="{middle}" text-anchor="end"{own}>{escape(name)}</text>',
            f'<rect x="{left:.0f}" y="{y}" width="{max(1.0, best * scale):.1f}" height="{BAR}" rx="2" '
            f'class="{kind(name)}"/>',
            f'<line x1="{mark:.1f}" x2="{mark:.1f}" y1="{y - 2}" y2="{y + BAR + 2}" class="mark"/>',
            f'<text x="{right}" y="{middle}" text-anchor="end"{own} xml:space="preserve">{escape(text)}</text>']


def panel(title, rows, y, left, plot_width):
    scale = plot_width / max(max(best, median) for _, best, median, _ in rows)
    out = [f'<text x="{MARGIN}" y="{y + 13}" class="soft">{escape(title)}</text>']
    y += PANEL_HEAD
    out.append(f'<line x1="{left:.0f}" x2="{left:.0f}" y1="{y - 4}" y2="{y + ROW * len(rows) - 4}" class="axis"/>')
    for i, row in enumerate(rows):
        out += bar(row, y + ROW * i, left, scale, WIDTH - MARGIN)
    return out, y + ROW * len(rows) + 6


def wrap(text, px):
    """Lines that fit between the margins at this width of a character."""
    lines, room = [""], int((WIDTH - 2 * MARGIN) / px)
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > room:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


def draw(title, header, panels):
    """All panels below each other; names and values have columns as wide as the longest of them."""
    rows = [row for _, panel_rows in panels for row in panel_rows]
    left = MARGIN + 8 + NAME_PX * max(len(row[0]) for row in rows)
    plot_width = WIDTH - MARGIN - left - 14 - VALUE_PX * max(len(row[3]) for row in rows)
    body, y = [], TOP
    for panel_title, panel_rows in panels:
        lines, y = panel(panel_title, panel_rows, y, left, plot_width)
        body += lines
    versions = header["versions"]
    foot = wrap(f"{header['processors']}, Linux {header['kernel']}, {header['when'][:10]}, commit {versions['commit']}. "
                f"{' '.join(header['notes'])}", SMALL_PX)
    legend = "one round" if header["rounds"] == 1 else (
        f"bar: the best of {header['rounds']} rounds, mark: the median")
    height = y + 15 * len(foot) + 12
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
           f'role="img" aria-label="{escape(title)}">', STYLE,
           f'<rect width="{WIDTH}" height="{height}" rx="6" class="page"/>',
           f'<text x="{MARGIN}" y="28" class="title">{escape(title)}</text>',
           f'<text x="{MARGIN}" y="47" class="soft">less is better; {legend}</text>', *body]
    out += [f'<text x="{MARGIN}" y="{y + 14 + 15 * i}" class="soft">{escape(line)}</text>'
            for i, line in enumerate(foot)]
    return "\n".join([*out, "</svg>"]) + "\n"


def draw_all(results, folder):
    """Writes DIRECTORY/WORKLOAD.svg for every workload that is a matter of bars; returns the paths."""
    folder, paths = pathlib.Path(folder), []
    folder.mkdir(parents=True, exist_ok=True)
    for name, work in results["workloads"].items():
        if work["kind"] not in PANELS or not work["figures"]:
            continue
        panels = [(title, rows) for title, rows in PANELS[work["kind"]](work) if rows]
        if panels:
            path = folder / f"{name}.svg"
            header = dict(results["header"], rounds=work["rounds_done"])
            path.write_text(draw(work["summary"], header, panels))
            paths.append(path)
    return paths


def main(arguments):
    if len(arguments) != 2:
        print(__doc__.strip().split("\n")[-1], file=sys.stderr)
        return 2
    for path in draw_all(json.loads(pathlib.Path(arguments[0]).read_text()), arguments[1]):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
