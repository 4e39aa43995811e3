"""Throughput and latency of single PUTs over the number of connections."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from tests.benchmarks.samples import Key, Samples

SIDES = {"tracker": "tab:blue", "plain": "tab:red", "bare": "tab:gray"}


def draw(samples: Samples, path: Path) -> None:
    """Nothing, if no PUT was measured."""
    cases = dict.fromkeys(key.case for key in samples.values if key.measure == "put")
    if not cases:
        return
    connections = [int(case.split()[0]) for case in cases]
    figure, (rates, latencies) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    for side, colour in SIDES.items():
        for axes, quantity, style in ((rates, "rate", "-"), (latencies, "p50", "-"), (latencies, "p99", "--")):
            spreads = [samples.spread(Key("put", side, case, quantity)) for case in cases]
            points = [(x, spread) for x, spread in zip(connections, spreads, strict=True) if spread]
            where = [x for x, _ in points]
            label = side if quantity == "rate" else f"{side} {quantity}"
            axes.plot(where, [spread.median for _, spread in points], style, color=colour, marker="o", label=label)
            least, most = [spread.low for _, spread in points], [spread.high for _, spread in points]
            axes.fill_between(where, least, most, color=colour, alpha=0.15, linewidth=0)
    for axes, title, unit in ((rates, "throughput", "PUTs per second"), (latencies, "latency", "ms")):
        axes.set(title=f"Single PUT: {title}", xlabel="connections", ylabel=unit, xscale="log", yscale="log")
        axes.set_xticks(connections, map(str, connections))
        axes.minorticks_off()
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
