"""Draws the dashboard of template.yaml as it looks with made-up figures: `make dashboard` writes docs/dashboard.svg.

Widgets, titles, places and lines are read from the template. The figures are not: they tell of twelve hours in which
one of three SIEMs is down for an hour, and are the same at each run.
"""

import html
import json
import math
import os
import re
import sys

from samcli.yamlhelper import yaml_parse

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAMES = ("splunk", "sentinel", "elastic")  # the connectors of the picture
COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728")
CELL, ROW, LEFT = 54, 46, 42
POINTS = 144  # five minutes each
DOWN = range(70, 82)  # splunk is down


def load_body():
    with open(os.path.join(ROOT, "template.yaml"), encoding="utf-8") as f:
        text, variables = yaml_parse(f.read())["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    for name, join in variables.items():
        rows = [row["Fn::If"][1]["Fn::Sub"] for row in join["Fn::Join"][1]]
        text = text.replace("${%s}" % name, ",".join(r for r in rows if any(f"{n}" in r for n in NAMES)))
    text = re.sub(r"\$\{AWS::StackName\}", "arbitex-siem", text)
    return json.loads(re.sub(r"\$\{!?[^}]*\}", "", text))


def wave(seed, i):
    """A day's ups and downs with some noise, around 1, without a random generator."""
    noise = math.sin(i * 12.9898 + seed * 78.233) * 43758.5453
    return 1 + 0.35 * math.sin(i / POINTS * 2 * math.pi + seed) + 0.16 * (noise - math.floor(noise) - 0.5)


def series(metric, name):
    """The made-up figures of a metric, one for each five minutes."""
    k = NAMES.index(name)
    base = [900 * (1 - 0.25 * k) * wave(k, i) for i in range(POINTS)]
    down = [name == "splunk" and i in DOWN for i in range(POINTS)]
    backlog = 0.0
    waiting = []
    for b, d in zip(base, down):
        backlog = backlog + b if d else max(0.0, backlog - 4 * b)
        waiting.append(backlog)
    catching_up = [max(0.0, a - b) for a, b in zip([0, *waiting], waiting)]
    late = [k and 0 or w / 900 for w in waiting]
    return {
        "Received": lambda: [b * (2.2 if d else 1) + c for b, d, c in zip(base, down, catching_up)],
        "Delivered": lambda: [0 if d else b + c for b, d, c in zip(base, down, catching_up)],
        "Retried": lambda: [b * 2.2 if d else 0 for b, d in zip(base, down)],
        "DeadLettered": lambda: [410 if name == "splunk" and i in (80, 81) else 3 * (i == 30) * (k == 2) for i in range(POINTS)],
        "EndToEndMilliseconds": lambda: [None if d else 5400 * wave(k + 3, i) + 300_000 * x for i, (d, x) in enumerate(zip(down, late))],
        "DeliveryMilliseconds": lambda: [(2600 if d else 85 * (k + 1)) * wave(k + 5, i) for i, d in enumerate(down)],
        "ApproximateAgeOfOldestMessage": lambda: [6 * wave(k + 7, i) + (600 if d else 0) for i, d in enumerate(down)],
        "ApproximateNumberOfMessagesNotVisible": lambda: [30 * wave(k + 8, i) + w for i, w in enumerate(waiting)],
        "Cost": lambda: [0.0019 * (1 - 0.2 * k) * wave(k, i) + (0.0011 if d else 0) for i, d in enumerate(down)],
        "Errors": lambda: [0] * POINTS,
        "Throttles": lambda: [0] * POINTS,
        "Drained": lambda: series("DeadLettered", name),
        "Replayed": lambda: [410 if name == "splunk" and i in (90, 91) else 0 for i in range(POINTS)],
        "Skipped": lambda: [0] * POINTS,
        "Truncated": lambda: [0] * POINTS,
    }[metric]()


def lines(widget):
    """Label and figures of each line of a widget."""
    title, found = widget["title"], []
    for metric in widget["metrics"]:
        options = metric[-1] if isinstance(metric[-1], dict) else {}
        expression = options.get("expression", "")
        searched = re.search(r'MetricName="(\w+)"', expression)
        if searched and expression.startswith("SUM"):
            each = [series(searched[1], n) for n in NAMES]
            found.append((options["label"], [sum(v or 0 for v in row) for row in zip(*each)]))
        elif searched:
            found += [(n, series(searched[1], n)) for n in NAMES]
        elif title.startswith("Cost") and expression:
            found.append((options["label"], series("Cost", options["label"])))
        elif not expression and options.get("visible", True) and options["label"].split()[0] in NAMES:
            found.append((options["label"], series(metric[1], options["label"].split()[0])))
    return found


def numbers(widget):
    """Label and figure of each number of a widget, such that the account adds up."""
    total = {m: sum(sum(v or 0 for v in series(m, n)) for n in NAMES) for m in ("Delivered", "DeadLettered", "Replayed", "Truncated")}
    waiting = 163
    known = {"enqueued": total["Delivered"] + total["DeadLettered"] + waiting, "in the queues": waiting, "delivered": total["Delivered"],
             "dead-lettered": total["DeadLettered"], "replayed": total["Replayed"], "truncated": total["Truncated"]}
    return [(m[-1]["label"], known[m[-1]["label"]]) for m in widget["metrics"] if "expression" in m[-1]]


def text(x, y, words, size=11, color="#16191f", anchor="start", weight="normal"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{color}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{html.escape(words)}</text>')


def tick(value):
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def chart(w, x, y, width, height):
    found = lines(w)
    top = max([1 if w["yAxis"]["left"]["label"] != "USD" else 1e-3] + [v for _, values in found for v in values if v is not None]) * 1.1
    x0, y0, wide, high = x + LEFT + 8, y + 42, width - LEFT - 20, height - 100
    out = []
    for part in (0, 0.5, 1):
        level = y0 + high * (1 - part)
        out.append(f'<line x1="{x0}" y1="{level:.0f}" x2="{x0 + wide}" y2="{level:.0f}" stroke="#e1e4e8"/>')
        out.append(text(x0 - 5, level + 4, tick(top * part) if part else "0", 10, "#545b64", "end"))
    out.append(text(x + 10, y0 - 8, w["yAxis"]["left"]["label"], 10, "#545b64"))
    for k, (label, values) in enumerate(found):
        color = COLORS[k % len(COLORS)]
        path, pen = [], "M"
        for i, v in enumerate(values):
            if v is None:
                pen = "M"
                continue
            path.append(f"{pen}{x0 + wide * i / (POINTS - 1):.1f},{y0 + high * (1 - v / top):.1f}")
            pen = "L"
        out.append(f'<path d="{"".join(path)}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        column, row = k % 3, k // 3
        lx, ly = x0 + column * wide / 3, y + height - 24 + row * 14
        out.append(f'<rect x="{lx:.0f}" y="{ly - 8}" width="9" height="9" fill="{color}"/>' + text(lx + 13, ly, label, 10, "#545b64"))
    for part, label in ((0, "-12 h"), (0.5, "-6 h"), (1, "now")):
        out.append(text(x0 + wide * part, y0 + high + 14, label, 9, "#879196", "middle"))
    return out


def draw(widget):
    w = widget["properties"]
    x, y = widget["x"] * CELL + 4, widget["y"] * ROW + 4
    width, height = widget["width"] * CELL - 8, widget["height"] * ROW - 8
    out = [f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="#ffffff" stroke="#d5dbdb"/>']
    if widget["type"] == "text":
        heading, words = w["markdown"].split("\n", 1)
        return out + [text(x + 14, y + 34, heading.lstrip("# "), 20, weight="bold"), text(x + 14, y + 62, re.sub(r"\[(.*?)\]\(.*?\)", r"\1", words), 13)]
    out.append(text(x + 10, y + 17, w["title"], 12 if len(w["title"]) < 60 else 10, weight="bold"))
    if w["view"] != "singleValue":
        return out + chart(w, x, y, width, height)
    found = numbers(w)
    for k, (label, value) in enumerate(found):
        at = x + width * (k + 0.5) / len(found)
        out += [text(at, y + 96, f"{value:,.0f}", 26, anchor="middle"), text(at, y + 126, label, 12, "#545b64", "middle")]
    return out


def main():
    widgets = load_body()["widgets"]
    width = 24 * CELL
    height = max(w["y"] + w["height"] for w in widgets) * ROW
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, sans-serif">',
           "<!-- Made by docs/dashboard.py: the figures are made up. -->",
           f'<rect width="{width}" height="{height}" fill="#f2f3f3"/>']
    for widget in widgets:
        out += draw(widget)
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        f.write("\n".join([*out, "</svg>", ""]))


if __name__ == "__main__":
    main()
