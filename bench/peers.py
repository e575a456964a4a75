#!/usr/bin/env python3
"""What people use today, to be measured by `compare.py` on the same artifacts and rows as our own.

Each subcommand is one kind of process of a benchmark, as those of `cripto-bench` are:

* `prepare` writes what all engines are given, and what scikit-learn predicts from it.
* `load FILE` and `decompress FILE` measure once and end, so that their peak memory is their own.
* `worker` measures bursts of runs: a line `{"work", "rows", "burst": {"warm_up", "least_runs", "least_ms"}}` on
  standard input is answered with a line `{"median_ms", "runs"}`. The works are
  `preprocess` (a table through all steps before the estimator), `estimate` (the matrix that this gave through the
  estimator alone) and `score` (a table through everything). Regressors predict, classifiers predict probabilities.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import re
import statistics
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "glue"))
import features
import train_models

MODEL_FILE = re.compile(r"((?:regressor|classifier)_[a-z0-9]+)_(\d{8}-\d{4,6})\.joblib")
MOST_RUNS = 2_000


def is_outdated(derived: Path, *sources: Path) -> bool:
    return not derived.exists() or any(derived.stat().st_mtime < source.stat().st_mtime for source in sources)


class Bucket:
    """A folder in the bucket's shape, and the folder for what the benchmarks derive from it."""

    def __init__(self, root: Path, work: Path | None = None) -> None:
        self.root = root
        self.work = work or root / "bench"

    def artifacts(self) -> dict[str, Path]:
        """The newest version of each model."""
        newest: dict[str, tuple[str, Path]] = {}
        for path in (self.root / "models").glob("*.joblib"):
            if found := MODEL_FILE.fullmatch(path.name):
                name, version = found.groups()
                newest[name] = max(newest.get(name, ("", path)), (version, path))
        return {name: path for name, (_, path) in sorted(newest.items())}

    def loaded_model(self) -> str:
        """The model whose loading is measured: the largest."""
        return max(self.artifacts(), key=lambda name: self.artifacts()[name].stat().st_size)

    def uncompressed(self, name: str) -> Path:
        return self.work / f"{name}.joblib"

    def load(self, name: str, threads: int):
        artifact, uncompressed = self.artifacts()[name], self.uncompressed(name)
        pipeline = joblib.load(artifact if is_outdated(uncompressed, artifact) else uncompressed)
        if name.endswith("_rf"):
            pipeline[-1].set_params(n_jobs=threads)
        return pipeline

    def table(self) -> Path:
        """What the rows are drawn from: `raw.csv`, or without one the newest feature table."""
        raw_path = self.root / "raw.csv"
        if raw_path.exists():
            return raw_path
        keys = train_models.FolderBucket(str(self.root)).keys("features")
        return self.root / train_models.newest_table_key(keys)

    def all_rows(self) -> pd.DataFrame:
        path = self.table()
        return features.compute_features(features.read_raw(path)) if path.suffix == ".csv" else pd.read_parquet(path)

    def rows(self, count: int) -> pd.DataFrame:
        """The rows as the pipelines take them."""
        return train_models.model_input(pd.read_parquet(self.work / f"rows_{count}.parquet"))


def prepare(bucket: Bucket, row_counts: list[int]) -> None:
    """Writes into the work folder, unless it is there and no older than its sources:

    * `rows_{n}.parquet`: rows drawn with pandas' `sample(n, random_state=n)` from the features of all days, with
      repetition if there are fewer;
    * `expected_{n}.json`: what scikit-learn predicts for them with `n_jobs=1`, as `{model: {"predict": [...],
      "predict_proba": [[...]] | null, "largest_sums": [...] | null}}`, where `largest_sums` of a linear model are the
      sums of its terms' absolute values, which is what its rounding errors are to be compared with;
    * the largest model without compression.
    """
    artifacts = bucket.artifacts()
    if not artifacts:
        raise SystemExit(f"no models/*.joblib with a version in {bucket.root}")
    bucket.work.mkdir(parents=True, exist_ok=True)
    loaded = bucket.loaded_model()
    if is_outdated(bucket.uncompressed(loaded), artifacts[loaded]):
        joblib.dump(joblib.load(artifacts[loaded]), bucket.uncompressed(loaded))

    sources = [Path(__file__), bucket.table(), *artifacts.values()]
    if not any(is_outdated(bucket.work / f"expected_{count}.json", *sources) for count in row_counts):
        return
    table = bucket.all_rows()
    for count in row_counts:
        rows = table.sample(count, random_state=count, replace=count > len(table)).reset_index(drop=True)
        features.write_table(rows, bucket.work / f"rows_{count}.parquet")
    expected: dict[int, dict] = {count: {} for count in row_counts}
    for name in artifacts:
        pipeline = bucket.load(name, threads=1)
        for count in row_counts:
            rows = bucket.rows(count)
            is_classifier = name.startswith("classifier")
            expected[count][name] = {
                "predict": pipeline.predict(rows).tolist(),
                "predict_proba": pipeline.predict_proba(rows).tolist() if is_classifier else None,
                "largest_sums": largest_sums(pipeline, rows),
            }
    for count, answers in expected.items():
        (bucket.work / f"expected_{count}.json").write_text(json.dumps(answers))


def largest_sums(pipeline, rows: pd.DataFrame) -> list[float] | None:
    estimator = pipeline[-1]
    if not hasattr(estimator, "coef_"):
        return None
    terms = np.abs(pipeline[:-1].transform(rows)) @ np.abs(np.atleast_2d(estimator.coef_)).T
    return (terms + np.abs(estimator.intercept_)).max(axis=1).tolist()


# What runs once in a process of its own.


def peak_mb() -> float:
    """This process's peak resident memory.

    `ru_maxrss` would not do: a process inherits it from the one that starts it.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024


def report_once(run) -> None:
    started = time.perf_counter()
    kept = run()
    elapsed = time.perf_counter() - started
    print(json.dumps({"ms": elapsed * 1e3, "peak_mb": peak_mb()}))
    del kept


def load(path: Path) -> None:
    import sklearn.compose  # noqa: F401 - what unpickling imports is not part of loading
    import sklearn.ensemble
    import sklearn.impute
    import sklearn.pipeline  # noqa: F401

    report_once(lambda: joblib.load(path))


def decompress(path: Path) -> None:
    def run() -> None:
        with lzma.open(path) as content:
            while content.read(1 << 20):
                pass

    report_once(run)


# The workers' engines. Each gives a function that makes, of a work and a number of rows, what is to be run.


def method_of(name: str, model):
    return model.predict_proba if name.startswith("classifier") else model.predict


def scikit_learn(bucket: Bucket, names: list[str], threads: int):
    pipelines = {name: bucket.load(name, threads) for name in names}

    def runnable(work: str, count: int):
        rows = bucket.rows(count)
        if work == "preprocess":
            calls = [(pipeline[:-1].transform, rows) for pipeline in pipelines.values()]
        elif work == "estimate":
            calls = [(method_of(name, p[-1]), p[:-1].transform(rows)) for name, p in pipelines.items()]
        else:
            calls = [(method_of(name, pipeline), rows) for name, pipeline in pipelines.items()]

        def run() -> None:
            for method, argument in calls:
                method(argument)

        return run

    return runnable


def replaced_estimator(engine: str, bucket: Bucket, name: str, pipeline, to_input, estimate):
    """`runnable` for scikit-learn's preprocessing in front of another engine's estimator."""
    before = pipeline[:-1]
    expected_of = method_of(name, pipeline[-1])
    checked: set[int] = set()

    def runnable(work: str, count: int):
        rows = bucket.rows(count)
        matrix = before.transform(rows)
        if count not in checked:
            check_agreement(engine, name, np.asarray(estimate(to_input(matrix))), expected_of(matrix))
            checked.add(count)
        if work == "estimate":
            prepared = to_input(matrix)
            return lambda: estimate(prepared)
        return lambda: estimate(to_input(before.transform(rows)))

    return runnable


def check_agreement(engine: str, name: str, predicted: np.ndarray, expected: np.ndarray) -> None:
    """Other engines calculate in single precision, so their results need only be near on the whole."""
    differences = np.abs(predicted.reshape(expected.shape) - expected) / np.maximum(np.abs(expected), 1e-3)
    if not np.median(differences) < 1e-3:
        raise SystemExit(f"{engine} does not predict what scikit-learn does: {name}, median {np.median(differences)}")


def onnx_runtime(bucket: Bucket, names: list[str], threads: int):
    import onnxruntime

    (name,) = names
    pipeline = bucket.load(name, 1)
    onnx_path = bucket.work / f"{name}.onnx"
    if is_outdated(onnx_path, bucket.artifacts()[name]):
        write_onnx(pipeline[-1], onnx_path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_path, options, providers=["CPUExecutionProvider"])
    inputs, output = session.get_inputs()[0].name, session.get_outputs()[-1].name
    return replaced_estimator(
        "ONNX Runtime",
        bucket,
        name,
        pipeline,
        to_input=lambda matrix: {inputs: matrix.astype(np.float32)},
        estimate=lambda prepared: session.run([output], prepared)[0],
    )


def write_onnx(estimator, path: Path) -> None:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.base import is_classifier

    converted = to_onnx(
        estimator,
        initial_types=[("matrix", FloatTensorType([None, estimator.n_features_in_]))],
        options={"zipmap": False} if is_classifier(estimator) else None,
    )
    path.write_bytes(converted.SerializeToString())


def tl2cgen(bucket: Bucket, names: list[str], threads: int):
    import tl2cgen as compiler
    import treelite

    (name,) = names
    pipeline = bucket.load(name, 1)
    library = bucket.work / f"{name}.so"
    if is_outdated(library, bucket.artifacts()[name]):
        model = treelite.sklearn.import_model(pipeline[-1])
        compiler.export_lib(model, toolchain="gcc", libpath=library, options=["-O3"])
    predictor = compiler.Predictor(library, nthread=threads)
    return replaced_estimator(
        "TL2cgen", bucket, name, pipeline, to_input=compiler.DMatrix, estimate=predictor.predict
    )


def treelite_gtil(bucket: Bucket, names: list[str], threads: int):
    import treelite

    (name,) = names
    pipeline = bucket.load(name, 1)
    model = treelite.sklearn.import_model(pipeline[-1])
    return replaced_estimator(
        "Treelite GTIL",
        bucket,
        name,
        pipeline,
        to_input=np.ascontiguousarray,
        estimate=lambda matrix: treelite.gtil.predict(model, matrix, nthread=threads),
    )


ENGINES = {
    "scikit-learn": scikit_learn,
    "ONNX Runtime": onnx_runtime,
    "TL2cgen": tl2cgen,
    "Treelite GTIL": treelite_gtil,
}


def burst(run, warm_up: bool, least_runs: int, least_ms: float) -> dict:
    """The median of at least so many runs, and of more if they are short."""
    if warm_up:
        run()
    times: list[float] = []
    total = 0.0
    while len(times) < MOST_RUNS and (len(times) < least_runs or total < least_ms / 1e3):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
        total += times[-1]
    return {"median_ms": statistics.median(times) * 1e3, "runs": len(times)}


def worker(bucket: Bucket, engine: str, names: list[str], threads: int) -> None:
    # What libraries print is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    make = ENGINES[engine](bucket, names, threads)
    runnables: dict[tuple[str, int], object] = {}
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        case = request["work"], request["rows"]
        if case not in runnables:
            runnables[case] = make(*case)
        print(json.dumps(burst(runnables[case], **request["burst"])), file=answers, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures scikit-learn, ONNX Runtime, TL2cgen and Treelite.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("load", "decompress"):
        commands.add_parser(name).add_argument("file", type=Path)
    for name in ("prepare", "worker"):
        command = commands.add_parser(name)
        command.add_argument("--bucket", type=Path, required=True, metavar="DIR")
        command.add_argument("--work", type=Path, metavar="DIR", help="default: bench/ in the bucket")
        if name == "prepare":
            command.add_argument("--rows", type=int, nargs="+", required=True, metavar="N")
        else:
            command.add_argument("--engine", choices=ENGINES, required=True)
            command.add_argument("--threads", type=int, required=True)
            command.add_argument("models", nargs="+")
    arguments = parser.parse_args()

    if arguments.command == "load":
        load(arguments.file)
    elif arguments.command == "decompress":
        decompress(arguments.file)
    elif arguments.command == "prepare":
        prepare(Bucket(arguments.bucket, arguments.work), arguments.rows)
    else:
        worker(Bucket(arguments.bucket, arguments.work), arguments.engine, arguments.models, arguments.threads)


if __name__ == "__main__":
    main()
