#!/usr/bin/env python3
"""Measures the deployed system on one machine: real `scorer worker` and `api` processes, a Redis, and an emulator of S3
and SQS (ministack). `deployed.sh` calls this; README.md has the method.

    upload   from the end of an upload until the API answers with it, and where the time goes
    swap     requests for /symbol from Redis before, during and after generations change, beside a constant route
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.parse
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUCKET = "criptos-data"
SMALL = "regressor_gbr"
LARGE = "regressor_rf"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Http:
    """One kept connection."""

    def __init__(self, port: int):
        self.port = port
        self.connection = None

    def send(self, method: str, path: str, body: bytes = b"", headers: dict | None = None) -> tuple[int, bytes]:
        for attempt in range(2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                self.connection.request(method, path, body, headers or {})
                answer = self.connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                self.connection = None
                if attempt:
                    raise
        raise AssertionError

    def json(self, path: str) -> dict | None:
        try:
            status, body = self.send("GET", path)
        except (OSError, http.client.HTTPException):
            return None
        return json.loads(body) if status == 200 else None


class Deployed:
    """Everything that runs, with its logs."""

    def __init__(self, programs: Path, ministack: Path, worker_env: dict | None = None):
        self.folder = Path(tempfile.mkdtemp(prefix="cripto-bench-"))
        self.processes: list[subprocess.Popen] = []
        self.programs = programs
        aws, redis, self.api_port = free_port(), free_port(), free_port()
        self.start("ministack", [ministack], BIND_HOST="127.0.0.1", GATEWAY_PORT=str(aws), SERVICES="s3,sqs")
        self.start(
            "redis",
            ["redis-server", "--port", str(redis), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)],
        )
        self.aws = Http(aws)
        self.wait_for("ministack", lambda: self.aws.json("/_ministack/health") is not None)
        queue = f"http://127.0.0.1:{aws}/000000000000/eventos"
        self.sqs("CreateQueue", QueueName="eventos")
        self.s3("PUT", "")
        arn = self.sqs("GetQueueAttributes", QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        notify = (
            "<NotificationConfiguration><QueueConfiguration>"
            f"<Queue>{arn}</Queue><Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*</Event>"
            "</QueueConfiguration></NotificationConfiguration>"
        )
        self.s3("PUT", "?notification", notify.encode())
        self.env = {
            "BUCKET_NAME": BUCKET,
            "QUEUE_URL": queue,
            "REDIS_URL": f"redis://127.0.0.1:{redis}",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "LOG_FORMAT": "json",
            "METRICS_PORT": "0",
            "HOST": "127.0.0.1",
            "PORT": str(self.api_port),
            **(worker_env or {}),
        }
        self.api = Http(self.api_port)

    def start(self, name: str, command: list, **env: str) -> None:
        log = open(self.folder / f"{name}.log", "wb")
        process = subprocess.Popen(
            command, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        self.processes.append(process)

    def start_programs(self) -> None:
        self.start("worker", [self.programs / "scorer", "worker"], **self.env)
        self.start("api", [self.programs / "api"], **self.env)
        self.wait_for("the first answer", lambda: self.api.json("/health") is not None)

    def wait_for(self, what: str, holds) -> None:
        begun = time.monotonic()
        while not holds():
            if time.monotonic() - begun > 120:
                raise SystemExit(f"{what}: not within two minutes; see {self.folder}")
            time.sleep(0.02)

    def s3(self, method: str, key: str, body: bytes = b"") -> None:
        path = f"/{BUCKET}{key}" if key.startswith("?") or not key else f"/{BUCKET}/{urllib.parse.quote(key)}"
        status, answer = self.aws.send(method, path, body)
        if status >= 300:
            raise SystemExit(f"{method} {path}: {status} {answer[:300]!r}")

    def sqs(self, action: str, **arguments) -> dict:
        headers = {"X-Amz-Target": f"AmazonSQS.{action}", "Content-Type": "application/x-amz-json-1.0"}
        status, answer = self.aws.send("POST", "/", json.dumps(arguments).encode(), headers)
        if status >= 300:
            raise SystemExit(f"{action}: {status} {answer[:300]!r}")
        return json.loads(answer or b"{}")

    def versions(self) -> dict:
        return (self.api.json("/models") or {}).get("versions", {})

    def lines(self, name: str) -> list[dict]:
        text = (self.folder / f"{name}.log").read_text(errors="replace")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def close(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.folder)


def instant(line: dict) -> float:
    return datetime.fromisoformat(line["timestamp"].replace("Z", "+00:00")).timestamp()


def fill(deployed: Deployed, corpus: Path, models: list[str]) -> None:
    for table in sorted(corpus.glob("features/*.parquet"))[-1:]:
        deployed.s3("PUT", f"features/{table.name}", table.read_bytes())
    for model in models:
        for artifact in sorted(corpus.glob(f"models/{model}_*.joblib"))[-1:]:
            deployed.s3("PUT", f"models/{artifact.name}", artifact.read_bytes())


def upload(args: argparse.Namespace) -> None:
    """Uploads versions of one model, one after the other, and waits for each."""
    for model, count in [(SMALL, args.uploads), (LARGE, args.large_uploads)]:
        deployed = Deployed(args.programs, args.ministack)
        try:
            fill(deployed, args.corpus, [model])
            deployed.start_programs()
            content = next(iter(sorted(args.corpus.glob(f"models/{model}_*.joblib")))).read_bytes()
            decompression = []
            rounds = []
            for number in range(count + 1):
                version = f"20990101-{number // 60:02}{number % 60:02}"
                if model == LARGE:
                    ours = [args.programs / "cripto-bench", "decompress"]
                    artifact = sorted(args.corpus.glob(f"models/{model}_*.joblib"))[0]
                    measured = subprocess.run([*ours, artifact], capture_output=True, check=True)
                    decompression.append(json.loads(measured.stdout)["ms"])
                begun = time.time()
                deployed.s3("PUT", f"models/{model}_{version}.joblib", content)
                put = time.time()
                while deployed.versions().get(model) != version:
                    time.sleep(0.001)
                visible = time.time()
                time.sleep(0.3)
                rounds.append((version, begun, put, visible))
            report_uploads(deployed, model, len(content), rounds[1:], decompression[1:])
        finally:
            deployed.close()


def report_uploads(deployed: Deployed, model: str, size: int, rounds: list, decompression: list) -> None:
    worker, api = deployed.lines("worker"), deployed.lines("api")
    stages: dict[str, list[float]] = {}
    total = []
    for version, _, put, visible in rounds:
        loaded = next(line for line in worker if line["message"] == "model loaded" and version in line["key"])
        trace = loaded["span"]["trace_id"]
        of_work = [line for line in worker if line.get("span", {}).get("trace_id") == trace]
        at = {line["message"]: instant(line) for line in of_work}
        served = next(line for line in api if line.get("trace_id") == trace)
        marks = [
            ("event and queue", at["events received"]),
            ("listing", at["model loaded"] - loaded["seconds"]),
            ("download and load", at["model loaded"]),
            ("scoring and publication", at["published"]),
            ("the API", instant(served)),
            ("until a client sees it", visible),
        ]
        # The emulator tells the queue before it answers the upload.
        last = put
        for name, mark in marks:
            stages.setdefault(name, []).append((mark - last) * 1e3)
            last = mark
        total.append((visible - put) * 1e3)
    total.sort()
    p99 = total[min(len(total) - 1, round(0.99 * (len(total) - 1)))]
    print(f"\n{model}, {size / 1e6:.2f} MB, {len(total)} uploads, from the end of the upload until a client sees it")
    print(f"  median {statistics.median(total):8.1f} ms   p99 {p99:8.1f} ms   max {total[-1]:8.1f} ms")
    for name, times in stages.items():
        print(f"  {name:24} {statistics.median(times):8.1f} ms in the median")
    if decompression:
        alone = statistics.median(decompression)
        print(f"  decompression alone      {alone:8.1f} ms; over it {statistics.median(total) - alone:8.1f} ms")


def wrk(port: int, path: str, seconds: int) -> tuple[float, float]:
    command = ["wrk", "-t1", "-c64", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{port}{path}"]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    if "Non-2xx" in text:
        raise SystemExit(text)
    rate = float(re.search(r"Requests/sec:\s*([\d.]+)", text)[1])
    value, unit = re.search(r"99%\s*([\d.]+)(us|ms|s)", text).groups()
    return rate, float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def swap(args: argparse.Namespace) -> None:
    """Requests in turn: the constant route, ours at rest, ours while generations change, ours at rest again."""
    deployed = Deployed(args.programs, args.ministack)
    try:
        fill(deployed, args.corpus, ["regressor_gbr", "regressor_lin", "classifier_log"])
        deployed.start_programs()
        path = "/symbol/BTC"
        body = deployed.folder / "body"
        body.write_bytes(deployed.api.send("GET", path)[1])
        constant = free_port()
        command = [args.programs / "cripto-bench", "constant", "--path", path, "--body", body, "--port", str(constant)]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        deployed.wait_for("the constant route", lambda: Http(constant).json(path) is not None)
        content = sorted(args.corpus.glob("models/regressor_lin_*.joblib"))[0].read_bytes()
        results: dict[str, list[tuple[float, float]]] = {"constant": [], "before": [], "during": [], "after": []}
        number = 0
        for _ in range(args.rounds):
            results["constant"].append(wrk(constant, path, args.seconds))
            results["before"].append(wrk(deployed.api_port, path, args.seconds))
            measured = subprocess.Popen(
                ["wrk", "-t1", "-c64", f"-d{args.seconds}s", "--latency", f"http://127.0.0.1:{deployed.api_port}{path}"],
                stdout=subprocess.PIPE, text=True,
            )
            before = deployed.api.json("/health")["geracao"]
            while measured.poll() is None:
                deployed.s3("PUT", f"models/regressor_lin_209901{number // 60 + 1:02}-{number % 60:02}00.joblib", content)
                number += 1
                time.sleep(0.5)
            text = measured.stdout.read()
            if "Non-2xx" in text or deployed.api.json("/health")["geracao"] == before:
                raise SystemExit(text)
            rate = float(re.search(r"Requests/sec:\s*([\d.]+)", text)[1])
            value, unit = re.search(r"99%\s*([\d.]+)(us|ms|s)", text).groups()
            results["during"].append((rate, float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]))
            results["after"].append(wrk(deployed.api_port, path, args.seconds))
        server.stdin.close()
        server.wait(timeout=10)
        print("\n/symbol from Redis, 64 connections")
        for name, measured in results.items():
            rate = statistics.median(rate for rate, _ in measured)
            p99 = statistics.median(p99 for _, p99 in measured)
            ratio = statistics.median(mine / other for (mine, _), (other, _) in zip(measured, results["constant"]))
            print(f"  {name:9} {rate:9.0f}/s   p99 {p99:6.2f} ms   {ratio:5.2f} of the constant route")
    finally:
        deployed.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["upload", "swap"], nargs="*", default=["upload", "swap"])
    parser.add_argument("--programs", type=Path, required=True, help="the folder with scorer, api and cripto-bench")
    parser.add_argument("--ministack", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True, help="a bucket as make_corpus.py writes it")
    parser.add_argument("--uploads", type=int, default=100)
    parser.add_argument("--large-uploads", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    args = parser.parse_args()
    for what in args.what or ["upload", "swap"]:
        {"upload": upload, "swap": swap}[what](args)


if __name__ == "__main__":
    main()
