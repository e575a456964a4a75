#!/usr/bin/env python3
"""Measures backfills on one machine with real `scorer backfill` processes, a Redis, a folder as the bucket and an emulator of
S3 (ministack), and prints markdown tables. `backfill.sh` calls this; README.md has the method.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from deployed import Deployed, instant

# On-demand list prices of Linux instances in us-east-1 in US dollars an hour, as published in 2025: name, vCPUs, GiB, price.
INSTANCES = [
    ("c6i.xlarge", 4, 8, 0.170),
    ("m6i.large", 2, 8, 0.096),
    ("c6i.4xlarge", 16, 32, 0.680),
    ("c6i.8xlarge", 32, 64, 1.360),
]
# S3 Standard in us-east-1: a thousand PUT or LIST requests.
PUT_THOUSAND = 0.005
PLANNED = {"assets": 1000, "days": 3650, "models": 5}
# What one download from S3 gives a second.
DOWNLOAD_MEGABYTES = 90
# The time that a small PUT takes from within the region, and how many one process has in flight.
PUT_SECONDS, IN_FLIGHT = 0.030, 16


@dataclass
class Run:
    """What one process came to."""

    rows: int
    parts: int
    seconds: float
    scoring: float
    writing: float
    whole: float
    # From the end of the last row until metrics and histories are published; by whoever is the last.
    publishing: float
    cpu: float
    megabytes: float

    @property
    def starting(self) -> float:
        """Loading the models, and the table."""
        return self.whole - self.seconds - self.publishing


def make_bucket(programs: Path, corpus: Path, copies: int) -> Path:
    """The corpus' models, and the table of its whole raw.csv, each asset several times under other names; in memory where
    there is a file system in memory, since thousands of small files are not to wait for a disk."""
    candles = (corpus / "raw.csv").read_bytes()
    # Kept for as long as the candles are the same: the corpus may be made again from others.
    table = corpus.parent / f"bench-backfill/{copies}-{hashlib.sha256(candles).hexdigest()[:16]}.parquet"
    if not table.exists():
        table.parent.mkdir(exist_ok=True)
        header, *lines = candles.decode().splitlines(keepends=True)
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as raw:
            raw.write(header)
            for copy in range(copies):
                # The first keep their names, which the models know.
                raw.writelines(line if copy == 0 else f"X{copy}{line}" for line in lines)
            raw.flush()
            unfinished = table.with_suffix(".part")
            subprocess.run([programs / "scorer", "features", raw.name, "--out", unfinished], check=True)
            unfinished.rename(table)
    memory = Path("/dev/shm")
    bucket = Path(tempfile.mkdtemp(prefix="cripto-bench-", dir=memory if memory.is_dir() else None))
    shutil.copytree(corpus / "models", bucket / "models", ignore=shutil.ignore_patterns("latest"))
    (bucket / "features").mkdir()
    shutil.copy(table, bucket / "features/cripto_features_20250220.parquet")
    return bucket


class Backfills:
    def __init__(self, programs: Path, deployed: Deployed, bucket: Path | None, since: str):
        self.programs, self.deployed, self.bucket, self.since = programs, deployed, bucket, since

    def start(self, core: int | None, shard: int, shards: int) -> tuple[subprocess.Popen, Path, float]:
        command = [self.programs / "scorer", "backfill", "--from", self.since, "--to", "2025-02-20"]
        command += ["--shards", str(shards), "--shard", str(shard)]
        command += ["--bucket", self.bucket] if self.bucket else []
        if core is not None:
            command = ["taskset", "--cpu-list", str(core), *command]
        log = self.deployed.folder / f"backfill-{shard}.log"
        with open(log, "wb") as file:
            process = subprocess.Popen(command, env={**os.environ, **self.deployed.env}, stdin=subprocess.DEVNULL, stderr=file)
        return process, log, time.monotonic()

    def finish(self, started: tuple[subprocess.Popen, Path, float]) -> Run:
        process, log, begun = started
        _, status, usage = os.wait4(process.pid, 0)
        whole = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        done = [line for line in lines if line.get("message") == "shard done"]
        if process.returncode != 0 or not done or done[0]["skipped"]:
            raise SystemExit(f"the backfill failed: {log.read_text()}")
        (line,) = done
        published = [instant(later) - instant(line) for later in lines if later.get("message") == "history and metrics published"]
        return Run(
            line["rows"], line["parts"], line["seconds"], line["scoring_seconds"], line["writing_seconds"], whole,
            sum(published), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000,
        )

    def clear(self) -> None:
        if self.bucket:
            shutil.rmtree(self.bucket / "predictions", ignore_errors=True)


def median(runs: list[Run], of) -> float:
    return statistics.median(of(run) for run in runs)


def table(header: str, rows: list[str]) -> None:
    print(f"\n{header}\n|{'---|' * (header.count('|') - 1)}")
    print("\n".join(rows), flush=True)


@dataclass
class Costs:
    """What one core was measured to take, in seconds and megabytes."""

    models_seconds: float
    rows_a_second: float
    publishing_a_row: float
    # What every process holds: models and chunks; of the table's file and its index for each row; of each row of its shard.
    fixed_megabytes: float
    table_megabytes_a_row: float
    shard_megabytes_a_row: float
    file_megabytes_a_row: float


def plan(costs: Costs) -> None:
    """All assets on all days, with a shard for each core of an instance."""
    rows = PLANNED["assets"] * PLANNED["days"]
    parts = PLANNED["models"] * PLANNED["days"]
    puts = parts * PUT_THOUSAND / 1000
    lines = []
    for name, cores, gibibytes, price in INSTANCES:
        # A machine whose memory is less than its cores need runs fewer processes.
        for processes in range(cores, 0, -1):
            memory = costs.fixed_megabytes + costs.table_megabytes_a_row * rows + costs.shard_megabytes_a_row * rows / processes
            if memory * processes < 0.9 * gibibytes * 1074:
                break
        starting = costs.models_seconds + costs.file_megabytes_a_row * rows / DOWNLOAD_MEGABYTES
        # Writes go on while the next rows are scored.
        scoring = max(rows / costs.rows_a_second / processes, parts / processes * PUT_SECONDS / IN_FLIGHT)
        took = starting + scoring + costs.publishing_a_row * rows
        lines.append(
            f"| {name}, {cores} vCPU, {gibibytes} GiB, ${price:.3f}/h | {processes} × {memory / 1000:.1f} GB"
            f" | {starting:.0f} + {scoring:.0f} + {costs.publishing_a_row * rows:.0f} s | ${took / 3600 * price:.3f} |"
        )
    print(f"\n{PLANNED['assets']} assets × {PLANNED['days']} days × {PLANNED['models']} models: {rows / 1e6:.2f} million rows,"
          f" {parts} parts (PUT requests ${puts:.2f}), {rows / costs.rows_a_second / 60:.1f} core-minutes of scoring")
    table("| one instance | processes | start + scoring + publication | cost of the instance |", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--ministack", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=8, help="how often each asset of raw.csv is there")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{date.today()}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before")
    bucket = make_bucket(options.programs.resolve(), options.corpus, options.copies)
    deployed = Deployed(options.programs.resolve(), options.ministack)
    try:
        measure(options, deployed, bucket)
    finally:
        shutil.rmtree(bucket)
        deployed.close()
    print(f"\nload {os.getloadavg()[0]:.1f} after")


def measure(options: argparse.Namespace, deployed: Deployed, bucket: Path) -> None:
    folder = Backfills(options.programs.resolve(), deployed, bucket, "2000-01-01")
    ones: list[Run] = []
    twos: list[list[Run]] = []
    for _ in range(options.rounds):
        folder.clear()
        ones.append(folder.finish(folder.start(0, 0, 1)))
        folder.clear()
        both = [folder.start(core, core, 2) for core in range(2)]
        twos.append([folder.finish(one) for one in both])
    rows, parts = ones[0].rows, ones[0].parts
    rate = median(ones, lambda run: run.rows / run.seconds)
    # Each pair takes as long as its slower process.
    pair = statistics.median(max(run.seconds for run in pair) for pair in twos)
    lines = [
        f"| one process on one core | {median(ones, lambda run: run.starting):.1f} + {median(ones, lambda run: run.seconds):.1f} + {median(ones, lambda run: run.publishing):.1f} s | {rate:,.0f}/s | {median(ones, lambda run: run.rows / run.scoring):,.0f}/s"
        f" | {median(ones, lambda run: run.rows / run.cpu):,.0f}/s | {median(ones, lambda run: run.megabytes):.0f} MB |",
        f"| two processes, a core each | {statistics.median(run.starting for pair in twos for run in pair):.1f} + {pair:.1f} + {statistics.median(sum(run.publishing for run in pair) for pair in twos):.1f} s | {rows / pair / 2:,.0f}/s | {statistics.median(run.rows / run.scoring for pair in twos for run in pair):,.0f}/s"
        f" | {statistics.median(run.rows / run.cpu for pair in twos for run in pair):,.0f}/s | {statistics.median(run.megabytes for pair in twos for run in pair):.0f} MB each |",
    ]
    print(f"\n{rows} rows of {28 * options.copies} assets, five models, {parts} parts in a folder; medians of {options.rounds} rounds")
    table("| | start + rows + publication | rows per second and core | scoring alone | rows per CPU second, start included | peak memory |", lines)
    print(f"\ntwice the processes: {median(ones, lambda run: run.seconds) / pair:.2f} × the speed")

    # The same through S3's protocol, some days of it: the emulator is one Python process on the same cores.
    for path in sorted(bucket.glob("*/*.*")):
        deployed.s3("PUT", str(path.relative_to(bucket)), path.read_bytes())
    s3 = Backfills(options.programs.resolve(), deployed, None, "2024-12-01")
    run = s3.finish(s3.start(None, 0, 1))
    lines = [
        f"| {run.rows} | {run.parts} | {run.seconds:.1f} s | {run.scoring:.1f} s | {run.writing:.1f} s | {run.parts / run.writing:,.0f}/s | {run.megabytes:.0f} MB |"
    ]
    print("\nthrough S3's protocol, on both cores, which the emulator shares")
    table("| rows | parts | time | of it scoring | of it writing, beside scoring | PUT | peak memory |", lines)

    # One day of the same table: what is held whatever a shard has.
    folder.clear()
    smallest = Backfills(options.programs.resolve(), deployed, bucket, "2025-02-20")
    smallest = smallest.finish(smallest.start(0, 0, 1))
    file_megabytes = sum(path.stat().st_size for path in (bucket / "features").glob("*")) / 1e6
    # 40 bytes a row beside the file. What a shard's own rows take is what half of them take less.
    of_table = file_megabytes / rows + 40e-6
    whole = median(ones, lambda run: run.megabytes)
    half = statistics.median(run.megabytes for pair in twos for run in pair)
    of_shard = max(0, whole - half) * 2 / rows
    print(
        f"\nmemory: {smallest.megabytes:.0f} MB for one day, of which the table's file {file_megabytes:.0f} MB; {of_shard * 1e6:.0f} bytes for each row of the shard"
    )
    plan(
        Costs(
            models_seconds=smallest.starting,
            rows_a_second=rate,
            publishing_a_row=median(ones, lambda run: run.publishing) / rows,
            fixed_megabytes=whole - (of_table + of_shard) * rows,
            table_megabytes_a_row=of_table,
            shard_megabytes_a_row=of_shard,
            file_megabytes_a_row=file_megabytes / rows,
        )
    )


if __name__ == "__main__":
    main()
