#!/usr/bin/env python3
"""Measures ours and the peers in turn and prints a markdown table. `run.sh` calls this; README.md has the method."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from peers import Bucket

HERE = Path(__file__).resolve().parent
OURS = "ours"
ALL_THREADS = len(os.sched_getaffinity(0))
ROW_COUNTS = [28, 2_000, 20_000]
# It takes ten seconds for 20 000.
GTIL_ROWS = 2_000

THREAD_POOLS = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]
# Thread pools of other workers still spin for some milliseconds after their run.
PAUSE_SECONDS = 0.04


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    row_counts: list[int]
    least_runs: int  # in a burst
    least_ms: int  # of a burst
    loads: int
    api_rounds: int
    api_seconds: int
    python_api_seconds: int


FULL = Effort(5, ROW_COUNTS, 2, 60, 5, 5, 3, 30)
QUICK = Effort(2, [28, 20_000], 1, 20, 2, 2, 1, 15)


@dataclass
class Case:
    """One work, measured round by round with every engine."""

    work: str
    model: str | None = None
    rows: int | None = None
    threads: int | None = None
    unit: str = "ms"
    rounds: dict[str, list[float]] = field(default_factory=dict)
    # Each engine's median peak memory.
    peak_mb: dict[str, float] = field(default_factory=dict)

    def add(self, engine: str, value: float) -> None:
        self.rounds.setdefault(engine, []).append(value)

    def median(self, engine: str) -> float:
        return statistics.median(self.rounds[engine])

    def peers(self) -> list[str]:
        """The other engines, the best one first."""
        others = [engine for engine in self.rounds if engine != OURS]
        return sorted(others, key=self.median, reverse=self.unit == "/s")

    def ratio(self, engine: str) -> float:
        """Ours to that engine's: the median of the rounds' ratios, since a round is one state of the machine."""
        ours, theirs = self.rounds[OURS], self.rounds[engine]
        if len(ours) != len(theirs):
            return self.median(OURS) / self.median(engine)
        return statistics.median(our / their for our, their in zip(ours, theirs))

    def is_out_of_the_race(self, engine: str) -> bool:
        """An engine that takes long and is far behind, so that its time need not be known well."""
        if self.unit != "ms" or engine not in self.rounds:
            return False
        return self.median(engine) > max(1000, 2 * self.median(self.peers()[0]))


def log(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def environment(threads: int) -> dict[str, str]:
    # Each of scikit-learn's transformations warns that the contract's three text columns are dropped.
    return os.environ | dict.fromkeys(THREAD_POOLS, str(threads)) | {"PYTHONWARNINGS": "ignore::UserWarning"}


class Worker:
    """A process that measures bursts, ours or a peer's: both speak the same lines."""

    def __init__(self, command: list[str], threads: int) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(threads)
        )
        self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker ended with {self.process.wait()}")
        return json.loads(line)

    def ask(self, work: str, rows: int, **burst):
        request = {"work": work, "rows": rows} | ({"burst": burst} if burst else {})
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Comparison:
    def __init__(self, bucket: Bucket, ours: Path, effort: Effort) -> None:
        self.bucket = bucket
        self.ours = str(ours)
        self.effort = effort
        self.cases: list[Case] = []
        self.notes: list[str] = []
        self.agreement = Agreement()

    def peer(self, *arguments: str) -> list[str]:
        return [sys.executable, str(HERE / "peers.py"), *arguments]

    # Loading.

    def load(self) -> None:
        name = self.bucket.loaded_model()
        artifact = self.bucket.artifacts()[name]
        decompressors = self.decompressors(artifact)
        engines = {OURS: [self.ours, "load", str(artifact)], "joblib.load": self.peer("load", str(artifact))}
        self.once_each(Case("load xz" if decompressors else "load", name, threads=1), engines | decompressors)
        uncompressed = str(self.bucket.uncompressed(name))
        self.once_each(
            Case("load uncompressed", name, threads=1),
            {OURS: [self.ours, "load", uncompressed], "joblib.load": self.peer("load", uncompressed)},
        )

    def decompressors(self, artifact: Path) -> dict[str, list[str]]:
        """Decompression alone, if it is xz: nothing that reads the artifact can be faster."""
        with artifact.open("rb") as content:
            if content.read(6) != b"\xfd7zXZ\0":
                return {}
        engines = {
            "decompression alone (liblzma)": [self.ours, "decompress", str(artifact)],
            "decompression alone (Python lzma)": self.peer("decompress", str(artifact)),
        }
        if shutil.which("xz"):
            engines["decompression alone (xz -dc)"] = ["xz", "-dc", str(artifact)]
        return engines

    def once_each(self, case: Case, commands: dict[str, list[str]]) -> None:
        peaks: dict[str, list[float]] = {}
        for round_number in range(self.effort.loads + 1):
            for engine, command in commands.items():
                measured = run_once(command)
                # The first round brings the files into the page cache.
                if round_number > 0:
                    case.add(engine, measured["ms"])
                    if "peak_mb" in measured:
                        peaks.setdefault(engine, []).append(measured["peak_mb"])
        case.peak_mb = {engine: statistics.median(values) for engine, values in peaks.items()}
        self.cases.append(case)
        log(f"measured {case.work} {case.model}")

    # Scoring.

    def score(self) -> None:
        names = list(self.bucket.artifacts())
        for threads in sorted({1, ALL_THREADS}):
            for name in names:
                works = [("estimate", name), ("preprocess", name), ("score", name)]
                self.with_workers([name], threads, works)
            self.with_workers(names, threads, [("all models", None)])

    def with_workers(self, names: list[str], threads: int, works: list[tuple[str, str | None]]) -> None:
        workers = self.workers(names, threads)
        try:
            if len(names) == 1:
                self.check_answers(workers[OURS], names[0])
            for work, model in works:
                counts = [28] if work == "all models" else self.effort.row_counts
                for count in counts:
                    case = Case(work, model, count, threads)
                    # Everyone's preprocessing but ours is scikit-learn's.
                    engines = ["scikit-learn", OURS] if work == "preprocess" else list(workers)
                    if count > GTIL_ROWS and "Treelite GTIL" in engines:
                        engines.remove("Treelite GTIL")
                    self.in_turn(case, {engine: workers[engine] for engine in engines})
                    self.cases.append(case)
        finally:
            for worker in workers.values():
                worker.close()
        log(f"measured {', '.join(names)} with {threads} threads")

    def workers(self, names: list[str], threads: int) -> dict[str, Worker]:
        artifacts = self.bucket.artifacts()
        engines = ["scikit-learn"]
        if len(names) == 1:
            engines.append("ONNX Runtime")
            engines += {"regressor_gbr": ["TL2cgen"], "regressor_rf": ["Treelite GTIL"]}.get(names[0], [])
        folders = ["--bucket", str(self.bucket.root), "--work", str(self.bucket.work)]
        workers = {}
        for engine in engines:
            command = self.peer("worker", *folders, "--engine", engine, "--threads", str(threads), *names)
            try:
                workers[engine] = Worker(command, threads)
            except RuntimeError as error:
                if engine == "scikit-learn":
                    raise
                self.notes.append(f"{engine} is not among the peers of {names[0]}: {error}")
        paths = [str(artifacts[name]) for name in names]
        command = [self.ours, "worker", "--rows", str(self.bucket.work), "--threads", str(threads), *paths]
        return workers | {OURS: Worker(command, threads)}

    def in_turn(self, case: Case, workers: dict[str, Worker]) -> None:
        work = "score" if case.work == "all models" else case.work
        for round_number in range(self.effort.rounds):
            for engine, worker in workers.items():
                if round_number > 0 and case.is_out_of_the_race(engine):
                    continue
                # Of a long run, what is warmed up is a small part.
                is_long = round_number > 0 and case.median(engine) > 300
                time.sleep(PAUSE_SECONDS)
                measured = worker.ask(
                    work,
                    case.rows,
                    warm_up=not is_long,
                    least_runs=self.effort.least_runs,
                    least_ms=self.effort.least_ms,
                )
                case.add(engine, measured["median_ms"])

    def check_answers(self, worker: Worker, name: str) -> None:
        for count in self.effort.row_counts:
            expected = json.loads((self.bucket.work / f"expected_{count}.json").read_text())[name]
            self.agreement.check(name, worker.ask("answers", count), expected)

    # Serving.

    def api(self, asset: str) -> None:
        if not shutil.which("wrk"):
            self.notes.append("requests were not measured: there is no wrk")
            return
        path = f"/symbol/{asset}"
        body_path = self.bucket.work / "body.json"
        throughput = Case("requests", threads=ALL_THREADS, unit="/s")
        latency = Case("p99", threads=ALL_THREADS)
        bucket = str(self.bucket.root)

        def measure(engine: str, server: Server, seconds: int) -> None:
            requests, p99 = server.load(path, seconds)
            throughput.add(engine, requests)
            # Without one answer in all that time there is none.
            if requests > 0:
                latency.add(engine, p99)

        with Server([self.ours, "serve", "--bucket", bucket], path) as ours:
            body_path.write_bytes(ours.body)
            constant_route = [self.ours, "constant", "--path", path, "--body", str(body_path)]
            with Server(constant_route, path) as constant:
                servers = {OURS: ours, "axum, constant body": constant}
                for server in servers.values():
                    server.load(path, 1)
                for round_number in range(self.effort.api_rounds):
                    # Who comes first changes, in case the second finds the machine in another state.
                    order = list(servers) if round_number % 2 == 0 else list(reversed(servers))
                    for engine in order:
                        measure(engine, servers[engine], self.effort.api_seconds)
        log("measured ours and the constant route")
        # On its own and once: it is slower by some orders of magnitude, and is busy for a while after the load.
        with Server([sys.executable, str(HERE / "api_peer.py"), "--bucket", bucket], path) as python:
            measure("FastAPI + joblib", python, self.effort.python_api_seconds)
        log("measured FastAPI")
        self.cases += [throughput, latency]


def run_once(command: list[str]) -> dict[str, float]:
    if command[0] == "xz":
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return {"ms": (time.perf_counter() - started) * 1e3}
    output = subprocess.run(command, env=environment(1), stdout=subprocess.PIPE, check=True).stdout
    return json.loads(output.splitlines()[-1])


class Server:
    """A server on a free port, from when it answers `path` until the end of a `with` block."""

    def __init__(self, command: list[str], path: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.command = [*command, "--port", str(port)]
        self.path = path

    def __enter__(self) -> Server:
        settings = environment(ALL_THREADS) | {"RUST_LOG": "warn"}
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, env=settings)
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(self.address + self.path, timeout=60) as response:
                    self.body = response.read()
                    return self
            except urllib.error.HTTPError as error:
                self.process.terminate()
                raise SystemExit(f"{self.path}: {error}; name an asset of the bucket with --asset") from error
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{self.command[:2]} does not serve") from None
                time.sleep(0.1)

    def load(self, path: str, seconds: int) -> tuple[float, float]:
        """Requests per second and the 99th percentile of the latency in ms, with 64 connections."""
        command = ["wrk", "-t1", "-c64", f"-d{seconds}s", "--timeout", "60s", "--latency", self.address + path]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        if "Non-2xx" in output:
            raise SystemExit(f"{self.command[:2]} answers with errors under load:\n{output}")
        requests = float(re.search(r"Requests/sec:\s+([\d.]+)", output).group(1))
        p99, unit = re.search(r"\s99%\s+([\d.]+)(us|ms|s|m)\b", output).groups()
        return requests, float(p99) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[unit]

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        if "cripto-bench" not in self.command[0]:
            self.process.terminate()
        self.process.wait()


class Agreement:
    """How ours agree with scikit-learn's numbers. Where they do not, the program ends."""

    def __init__(self) -> None:
        self.equal: set[str] = set()
        # Of the models that are not equal to the bit: the largest relative difference, and values with cancellation.
        self.worst: dict[str, float] = {}
        self.cancelled: dict[str, int] = {}

    def check(self, name: str, ours: dict, expected: dict) -> None:
        sums = expected["largest_sums"]
        self.check_values(name, ours["predict"], expected["predict"], None if name.startswith("classifier") else sums)
        if expected["predict_proba"] is not None:
            width = len(expected["predict_proba"][0])
            self.check_values(
                name,
                flat(ours["predict_proba"]),
                flat(expected["predict_proba"]),
                sums and [total for total in sums for _ in range(width)],
            )
        if name not in self.worst:
            self.equal.add(name)

    def check_values(self, name: str, found: list, right: list, sums: list[float] | None) -> None:
        """To the bit, or for sums of terms (`sums` of their absolute values) to 1e-9 relative.

        Where large terms cancel, the rounding errors of some 50 of them are left, each half of the last place of the
        largest sum: no order of adding them up is the right one.
        """
        if found == right:
            return
        if sums is None or len(found) != len(right):
            raise SystemExit(f"{name} does not predict what scikit-learn does")
        self.equal.discard(name)
        self.worst.setdefault(name, 0.0)
        for ours, theirs, largest_sum in zip(found, right, sums):
            error, relative = abs(ours - theirs), abs(ours - theirs) / max(abs(theirs), sys.float_info.min)
            if relative <= 1e-9:
                self.worst[name] = max(self.worst[name], relative)
            elif error <= 1e-14 * largest_sum:
                self.cancelled[name] = self.cancelled.get(name, 0) + 1
            else:
                raise SystemExit(f"{name} predicts {ours} where scikit-learn predicts {theirs}")

    def notes(self) -> list[str]:
        texts = []
        if self.equal:
            texts.append(f"{', '.join(sorted(self.equal))}: every prediction of all measured rows is scikit-learn's to the bit")
        for name, worst in self.worst.items():
            text = f"{name}: every prediction of all measured rows is scikit-learn's, to {worst:.0e} relative"
            if count := self.cancelled.get(name):
                text += f" or, for {count} sums of terms that cancel, to 1e-14 of the terms"
            texts.append(text)
        return texts


def flat(rows: list[list]) -> list:
    return [value for row in rows for value in row]


# The tables.

WORK_NAMES = {
    "load": "load {model}, as it is in the bucket",
    "load xz": "load {model} (xz)",
    "load uncompressed": "load {model}, uncompressed",
    "estimate": "estimator alone, {model}, {rows} rows",
    "preprocess": "preprocessing, {model}, {rows} rows",
    "score": "whole pipeline, {model}, {rows} rows",
    "all models": "all models, {rows} rows, whole pipelines",
    "requests": "/symbol, 64 connections: requests",
    "p99": "/symbol, 64 connections: p99",
}


def target(case: Case) -> tuple[float, str] | None:
    """The largest ratio to the best peer that was aimed at, and how it is written."""
    if case.work == "preprocess" and case.rows in (28, 20_000):
        return {28: (1 / 50, "≤ 1/50"), 20_000: (1 / 10, "≤ 1/10")}[case.rows]
    a_fifth = [("regressor_rf", 28, 1), *(("regressor_rf", 20_000, n) for n in (1, ALL_THREADS))]
    a_fifth += [("regressor_gbr", 20_000, n) for n in (1, ALL_THREADS)]
    if case.work == "estimate" and (case.model, case.rows, case.threads) in a_fifth:
        return 1 / 5, "≤ 1/5"
    return None


def spaced(count: int) -> str:
    return f"{count:,}".replace(",", " ")


def amount(value: float, unit: str) -> str:
    if unit == "/s":
        return f"{spaced(round(value))}/s"
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.3g} ms" if value >= 1 else f"{value * 1000:.3g} µs"


def ratio_text(ratio: float) -> str:
    if ratio >= 0.7:
        return f"{ratio:.2f}"
    return f"1/{1 / ratio:.3g}" if ratio > 0.01 else f"1/{spaced(round(1 / ratio))}"


def line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


HEAD = [line("work", "threads", "ours", "peers, the best first", "ours / best", "to reach"), "|---|---|---|---|---|---|"]


def mark(is_reached: bool, text: str) -> str:
    return f"{text} {'✓' if is_reached else '✗'}"


def with_peak(case: Case, engine: str) -> str:
    peak = f", {case.peak_mb[engine]:.0f} MB" if engine in case.peak_mb else ""
    return amount(case.median(engine), case.unit) + peak


def peers_text(case: Case) -> str:
    return ", ".join(f"{engine} {with_peak(case, engine)}" for engine in case.peers())


def row(case: Case, ratio: str, reached: str) -> str:
    work = WORK_NAMES[case.work].format(model=case.model, rows=spaced(case.rows or 0))
    threads = "2, peers 1" if case.work in ("load", "load xz") else str(case.threads)
    return line(work, threads, with_peak(case, OURS), peers_text(case), ratio, reached)


def load_rows(case: Case) -> list[str]:
    to_joblib = case.ratio("joblib.load")
    if case.work != "load xz":
        reached = mark(to_joblib <= 0.25, "≤ 0.25") if case.work == "load uncompressed" else ""
        return [row(case, ratio_text(to_joblib), reached)]
    alone = [engine for engine in case.peers() if engine.startswith("decompression")]
    to_alone, peak = case.ratio(alone[0]), case.peak_mb[OURS]
    ratios = f"{to_alone:.2f} of decompression alone, {ratio_text(to_joblib)} of joblib.load"
    return [row(case, ratios, mark(to_alone <= 1.05, "≤ 1.05") + ", " + mark(peak <= 150, "≤ 150 MB"))]


def api_row(case: Case) -> str:
    ratio = case.ratio("axum, constant body")
    is_latency = case.work == "p99"
    reached = mark(ratio <= 1.0, "≤ 1") if is_latency else mark(ratio >= 0.95, "≥ 0.95")
    return row(case, f"{ratio:.2f} of the constant", reached)


def full_row(case: Case) -> list[str]:
    if case.work.startswith("load"):
        return load_rows(case)
    if case.unit == "/s" or case.work == "p99":
        return [api_row(case)]
    ratio = case.ratio(case.peers()[0])
    reached = ""
    if case.work == "all models":
        reached = mark(case.median(OURS) < 5, "< 5 ms")
    elif aim := target(case):
        reached = mark(ratio <= aim[0], aim[1])
    return [row(case, ratio_text(ratio), reached)]


def preprocessing_row(cases: list[Case]) -> str:
    """One line for all models, with the ratio that is the worst of theirs."""

    def range_of(engine: str) -> str:
        values = [case.median(engine) for case in cases]
        low, high = amount(min(values), "ms"), amount(max(values), "ms")
        return low if low == high else f"{low} – {high}"

    first = cases[0]
    limit, text = target(first)
    ratio = max(case.ratio("scikit-learn") for case in cases)
    work = WORK_NAMES["preprocess"].format(model="each model", rows=spaced(first.rows))
    peers = f"scikit-learn {range_of('scikit-learn')}"
    worst = f"{ratio_text(ratio)} (the worst)"
    return line(work, str(first.threads), range_of(OURS), peers, worst, mark(ratio <= limit, text))


def headline(cases: list[Case]) -> list[str]:
    """The works for which there is something to reach."""
    lines: list[str] = []
    preprocessing: dict[tuple, list[Case]] = {}
    for case in cases:
        if case.work == "preprocess" and target(case):
            preprocessing.setdefault((case.rows, case.threads), []).append(case)
    for work in WORK_NAMES:
        if work == "preprocess":
            lines += [preprocessing_row(group) for _, group in sorted(preprocessing.items())]
            continue
        chosen = [case for case in cases if case.work == work and (target(case) or work not in ("estimate", "score"))]
        for case in sorted(chosen, key=lambda case: (case.model or "", case.rows or 0)):
            lines += full_row(case)
    return HEAD + lines


def machine() -> str:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    rustc = subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE, text=True, check=False).stdout.split()[1:2]
    packages = ["scikit-learn", "numpy", "joblib", "onnxruntime", "tl2cgen", "treelite"]
    return ", ".join(
        [
            f"{cpu.group(1) if cpu else platform.machine()}, {ALL_THREADS} cores",
            f"Linux {platform.release().split('-')[0]}",
            f"rustc {' '.join(rustc)}",
            f"Python {platform.python_version()}",
            *(f"{name} {version(name)}" for name in packages),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures ours and the peers in turn and prints a table.")
    parser.add_argument("--bucket", type=Path, required=True, metavar="DIR")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where what is derived is kept")
    parser.add_argument("--ours", type=Path, required=True, metavar="FILE", help="the program cripto-bench")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: to see that it works")
    parser.add_argument("--only", action="append", choices=["load", "score", "api"], help="only this part")
    parser.add_argument("--asset", default="BTC", help="the asset that is asked for over HTTP (default BTC)")
    arguments = parser.parse_args()
    effort = QUICK if arguments.quick else FULL
    parts = arguments.only or ["load", "score", "api"]

    busy = os.getloadavg()[0]
    if busy > 0.5:
        log(f"the machine is busy (load average {busy:.1f}): the times will not be worth much")
    started = time.monotonic()
    bucket = Bucket(arguments.bucket.resolve(), arguments.work)
    prepare = ["prepare", "--bucket", str(bucket.root), "--work", str(bucket.work), "--rows", *map(str, ROW_COUNTS)]
    comparison = Comparison(bucket, arguments.ours, effort)
    subprocess.run(comparison.peer(*prepare), env=environment(ALL_THREADS), check=True)
    if "load" in parts:
        comparison.load()
    if "score" in parts:
        comparison.score()
    if "api" in parts:
        comparison.api(arguments.asset)

    cases = comparison.cases
    notes = [f"{datetime.now(timezone.utc):%Y-%m-%d}. {machine()}. Load average at the start {busy:.1f}."]
    if arguments.quick:
        notes.append("A quick run: for trying out only.")
    notes += [*comparison.agreement.notes(), *comparison.notes]
    notes.append(f"It took {time.monotonic() - started:.0f} s.")
    text = "\n".join([*headline(cases), "", *(f"* {note}" for note in notes), ""])
    everything = "\n".join([text, "## Everything that was measured", "", *HEAD, *(r for c in cases for r in full_row(c)), ""])
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    stem = f"{datetime.now():%Y%m%d-%H%M%S}{'-quick' if arguments.quick else ''}"
    (results / f"{stem}.md").write_text(everything)
    (results / f"{stem}.json").write_text(json.dumps([vars(case) for case in cases], indent=1) + "\n")
    print(text)
    log(f"everything that was measured: bench/results/{stem}.md")


if __name__ == "__main__":
    main()
