"""What TensorBoard itself shows of a run is what metrics.jsonl says, whatever was undone in between.

    tensorboard_check.py RUN FILES

RUN: the directory of a finished run. FILES: how many event files, one a process, are expected at least.
"""

import collections
import json
import math
import os
import sys

import numpy as np
from tensorboard.backend.event_processing import event_accumulator


def measured(run):
    """{tag: {step: float32}} of metrics.jsonl."""
    values = collections.defaultdict(dict)
    with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            for tag, value in line["values"].items():
                values[tag][line["step"]] = np.float32(math.nan if value is None else value)
    return values


def main():
    run, files = sys.argv[1], int(sys.argv[2])
    names = sorted(name for name in os.listdir(run) if name.startswith("events.out.tfevents."))
    if len(names) < files:
        sys.exit(f"{len(names)} event files, not {files}: {names}")
    events = event_accumulator.EventAccumulator(run, size_guidance={event_accumulator.SCALARS: 0})
    events.Reload()
    expected = measured(run)
    shown = set(events.Tags()["scalars"])
    if shown != set(expected):
        sys.exit(f"tags differ: {sorted(shown ^ set(expected))}")
    points = 0
    for tag, values in expected.items():
        found = events.Scalars(tag)
        if [point.step for point in found] != sorted(values):
            sys.exit(f"{tag}: steps {[point.step for point in found]}, not {sorted(values)}")
        for point in found:
            if np.float32(point.value) != values[point.step] and not (math.isnan(point.value) and math.isnan(values[point.step])):
                sys.exit(f"{tag}: {point.value} at step {point.step}, not {values[point.step]}")
        times = [point.wall_time for point in found]
        if times != sorted(times):
            sys.exit(f"{tag}: time goes back")
        points += len(found)
    if points == 0:
        sys.exit("nothing was measured")
    print(f"{points} points of {len(expected)} tags in {len(names)} files")


main()
