"""Plot of the times at which jobs worked."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from stablequant.report import figures


def plot_timeline(jobs: pd.DataFrame, path: Path) -> None:
    """Draw one line per rule, with one bar per job over the time that it worked.

    ``jobs`` is a table of `stablequant.workflow.timeline.read_jobs`. The title gives the number of jobs, their work in
    core seconds, and the seconds from the start of the first job to the end of the last job.
    """
    starts = jobs["end"] - pd.to_timedelta(jobs["seconds"], unit="s")
    first = starts.groupby(jobs["rule"]).min().sort_values()
    figure, axes = plt.subplots(figsize=(8, 0.27 * max(1, len(first)) + 0.8 + figures.TITLE))
    begin = starts.min()
    for place, rule in enumerate(first.index):
        chosen = jobs["rule"] == rule
        spans = [
            ((start - begin).total_seconds(), max(seconds, 0.5))
            for start, seconds in zip(starts[chosen], jobs.loc[chosen, "seconds"], strict=True)
        ]
        axes.broken_barh(spans, (place - 0.35, 0.7), facecolor=figures.OTHERS, edgecolor=figures.INK, linewidth=0.6)
    axes.set_yticks(range(len(first)), first.index)
    axes.invert_yaxis()
    axes.set_xlabel("seconds since the first job began its work")
    axes.tick_params(axis="y", length=0)
    span = (jobs["end"].max() - begin).total_seconds() if len(jobs) else 0
    message = f"{len(jobs)} jobs did {jobs['work'].sum():.0f} core seconds of work within {span:.0f} s"
    figures.title(figure, message, "one line per rule, one bar per job; start-up of processes is not counted")
    figures.save(figure, path)
