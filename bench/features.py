#!/usr/bin/env python3
"""Measures the feature job against pandas, in turn, and prints a markdown table. README.md has the method.

    python bench/features.py RAW_CSV CRIPTO_BENCH [--threads N] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "glue"))
import features  # noqa: E402
import pandas as pd  # noqa: E402

WORKS = {"read": "raw.csv to candles", "compute": "candles to features", "update": "a day more (and less)"}


class Ours:
    def __init__(self, program: str, raw: str, threads: int) -> None:
        # polars reads with threads of its own.
        environment = os.environ | {"POLARS_MAX_THREADS": str(threads)}
        command = [program, "features", "--threads", str(threads), raw]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.rows = self.answer()["rows"]

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[0]} ended with {self.process.wait()}")
        return json.loads(line)

    def burst(self, work: str) -> float:
        request = {"work": work, "burst": {"warm_up": True, "least_runs": 3, "least_ms": 100}}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.answer()["median_ms"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def milliseconds(run) -> float:
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) * 1e3


def typed_read(raw: str) -> pd.DataFrame:
    """What pandas' own number parser makes of the file, which is faster than the reference and less tolerant."""
    table = pd.read_csv(raw, sep="|", header=None, skiprows=1, names=features.RAW_COLUMNS)
    table["data"] = pd.to_datetime(table["data"], format="%Y-%m-%d", errors="coerce")
    for column in features.PRICE_AND_VOLUME_COLUMNS:
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table.sort_values(["ativo", "data"], kind="stable").reset_index(drop=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the feature job against pandas.")
    parser.add_argument("raw_csv", metavar="RAW_CSV")
    parser.add_argument("ours", metavar="CRIPTO_BENCH", help="target/release/cripto-bench")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    arguments = parser.parse_args()

    candles = features.read_raw(arguments.raw_csv)
    ours = Ours(arguments.ours, arguments.raw_csv, arguments.threads)
    if ours.rows != len(candles):
        raise SystemExit(f"{ours.rows} rows of ours, {len(candles)} of pandas")
    features.compute_features(candles)
    theirs = {
        "read": lambda: typed_read(arguments.raw_csv),
        "compute": lambda: features.compute_features(candles),
        "update": lambda: features.compute_features(candles),
    }
    times: dict[str, list[tuple[float, float]]] = {work: [] for work in WORKS}
    for _ in range(arguments.rounds):
        for work, rounds in times.items():
            rounds.append((ours.burst(work), milliseconds(theirs[work])))
    ours.close()

    print(f"{len(candles)} rows, {arguments.threads} threads, pandas {pd.__version__}, {arguments.rounds} rounds\n")
    print("| work | ours | pandas | pandas / ours |\n|---|---|---|---|")
    for work, rounds in times.items():
        mine, pandas = (statistics.median(side) for side in zip(*rounds))
        ratio = statistics.median(their / our for our, their in rounds)
        print(f"| {WORKS[work]} | {mine:.1f} ms | {pandas:.0f} ms | {ratio:.1f} |")


if __name__ == "__main__":
    main()
