#!/usr/bin/python3

# Draw doc/monitoring/dashboard.json from what a Prometheus knows, as Grafana would lay it out:
#
#     dashboard.py http://127.0.0.1:9090 FROM TO dashboard.png
#
# FROM and TO are seconds since 1970. test/monitoring.sh --draw calls it.

import datetime
import json
import math
import pathlib
import re
import sys
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
from matplotlib import dates, pyplot  # noqa: E402
from matplotlib.patches import FancyBboxPatch  # noqa: E402
from PIL import Image  # noqa: E402

COLUMNS = 24  # of Grafana's grid
STEP = 2  # seconds between two values
RATE_INTERVAL = "10s"
BACKGROUND, PANEL, TEXT, GRID = "#111217", "#181b1f", "#ccccdc", "#2c3235"
COLORS = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#b877d9"]
NAMED = {"green": "#73bf69", "orange": "#ff780a", "red": "#f2495c"}


def ask(base, expression, start, end):
    """Return what Prometheus has for an expression: labels, and a list of times and values."""
    for name, value in {"$__rate_interval": RATE_INTERVAL, "$datname": ".*", "$account": ".*"}.items():
        expression = expression.replace(name, value)
    query = urllib.parse.urlencode({"query": expression, "start": start, "end": end, "step": STEP})
    with urllib.request.urlopen(f"{base}/api/v1/query_range?{query}") as reply:
        return [(each["metric"], [(float(t), float(v)) for t, v in each["values"]])
                for each in json.load(reply)["data"]["result"]]


def legend(target, labels):
    """Fill in a legend, such as {{account}}."""
    return re.sub(r"{{(\w+)}}", lambda name: labels.get(name[1], ""), target["legendFormat"]).strip()


def with_unit(value, unit):
    """Write a value with its unit."""
    if unit == "percentunit":
        return f"{100 * value:.0f}%"
    if unit == "s":
        return f"{value * 1000:.0f} ms" if 0 < value < 1 else f"{value:.3g} s"
    return f"{value:.3g}" + (" /s" if unit == "ops" else "")


def frame(figure, panel, height):
    """Return the axes of a panel, in its place."""
    at = panel["gridPos"]
    x, w = at["x"] / COLUMNS, at["w"] / COLUMNS
    y, h = 1 - (at["y"] + at["h"]) / height, at["h"] / height
    figure.patches.append(FancyBboxPatch((x + 0.004, y + 0.004), w - 0.008, h - 0.008, boxstyle="square,pad=0",
                                         facecolor=PANEL, edgecolor=GRID, zorder=-1,
                                         transform=figure.transFigure))
    figure.text(x + 0.01, y + h - 0.008, panel["title"], color=TEXT, fontsize=8.5, weight="bold", va="top")
    return x, y, w, h


def draw_stat(figure, panel, place, series, _):
    """Draw a panel that has one number: the last one."""
    x, y, w, h = place
    defaults = panel["fieldConfig"]["defaults"]
    value = series[0][1][1][-1][1] if series else 0
    color = "green"
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = step["color"]
    figure.text(x + w / 2, y + h * 0.42, with_unit(value, defaults["unit"]), color=NAMED[color], fontsize=20,
                ha="center", va="center", weight="bold")


def moment(seconds):
    """Return a time that matplotlib takes."""
    return datetime.datetime.fromtimestamp(float(seconds), datetime.timezone.utc)


def plot(axes, series, span):
    """Draw a line for each of the series."""
    for number, (name, (_, points)) in enumerate(series):
        points = [(t, v) for t, v in points if not math.isnan(v)]
        axes.plot([moment(t) for t, _ in points], [v for _, v in points], label=name, linewidth=1.1,
                  color=COLORS[number % len(COLORS)])


def stack(axes, series, span):
    """Draw areas on top of each other; where one has no value, it has no height."""
    times = range(int(span[0]), int(span[1]), STEP)
    values = []
    for _, (_, points) in series:
        known = {round((t - times[0]) / STEP): v for t, v in points}
        values.append([known.get(n, 0) for n in range(len(times))])
    colors = [COLORS[number % len(COLORS)] for number in range(len(series))]
    areas = axes.stackplot([moment(t) for t in times], values, labels=[name for name, _ in series], step="post",
                           colors=[color + "66" for color in colors])
    for area, color in zip(areas, colors):
        area.set_edgecolor(color)


def draw_lines(figure, panel, place, series, span):
    """Draw a panel that has lines, or areas that are stacked."""
    x, y, w, h = place
    defaults = panel["fieldConfig"]["defaults"]
    unit = defaults["unit"]
    axes = figure.add_axes([x + 0.045, y + 0.19 * h, w - 0.06, h * 0.63], facecolor=PANEL)
    (stack if defaults.get("custom", {}).get("stacking") and series else plot)(axes, series, span)
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S"))
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=3, maxticks=6))
    axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4, integer=defaults.get("decimals") == 0))
    axes.yaxis.set_major_formatter(lambda value, _: with_unit(value, unit))
    axes.set_ylim(bottom=0)
    axes.set_xlim(*map(moment, span))
    axes.tick_params(colors=TEXT, labelsize=6.5, length=0)
    axes.grid(color=GRID, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if series:
        width = sum(len(name) + 4 for name, _ in series)
        axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.13), ncol=6, frameon=False, labelcolor=TEXT,
                    fontsize=6.5 * min(1, 88 / width), handlelength=1, columnspacing=1)
    else:
        axes.text(0.5, 0.5, "No data", color=TEXT, ha="center", transform=axes.transAxes)


def main(base, start, end, file):
    """Draw all panels."""
    path = pathlib.Path(__file__).parent.parent / "doc/monitoring/dashboard.json"
    panels = json.loads(path.read_text())["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = pyplot.figure(figsize=(11, height * 0.27), facecolor=BACKGROUND)
    for panel in panels:
        series = [(legend(target, each[0]), each) for target in panel["targets"]
                  for each in ask(base, target["expr"], start, end)]
        draw = draw_stat if panel["type"] == "stat" else draw_lines
        draw(figure, panel, frame(figure, panel, height), series, (start, end))
    figure.savefig(file, dpi=80)
    Image.open(file).convert("P", palette=Image.ADAPTIVE, colors=48).save(file, optimize=True)


main(*sys.argv[1:])
