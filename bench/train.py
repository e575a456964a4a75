#!/usr/bin/env python3
"""Fits the contract's models here and with scikit-learn, in turn, and prints a table.

    python bench/train.py --bucket DIR --ours cripto-bench [--rounds N] [--threads N] [--evaluate] [--models NAME...]

The bucket is one that `bench/make_corpus.py` has made: its newest feature table and its artifacts, whose
hyper-parameters both sides use. A round is one fit of each side on the same rows; what is printed is the median of
the rounds, and of the rounds' ratios. `--evaluate` compares quality instead: five splits in time, five seeds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

SEEDS = [42, 1, 2, 3, 4]
SPLITS = 5
TARGETS = {"regressor_rf": 8, "classifier_rf": 8, "regressor_gbr": 10, "regressor_lin": 2, "classifier_log": 2}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compares training with scikit-learn.")
    parser.add_argument("--bucket", type=Path, required=True, metavar="DIR")
    parser.add_argument("--ours", type=Path, required=True, metavar="FILE", help="the cripto-bench program")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default 5")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N", help="default: all")
    parser.add_argument("--evaluate", action="store_true", help="compare quality instead of time")
    parser.add_argument("--models", nargs="+", choices=list(TARGETS), default=list(TARGETS), metavar="NAME")
    return parser.parse_args()


class Ours:
    """The Rust side: a process that fits when it is asked."""

    def __init__(self, program: Path, rows: Path, threads: int) -> None:
        command = [program, "train", "--rows", rows, "--threads", str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read()

    def read(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"cripto-bench ended with {self.process.wait()}")
        return json.loads(line)

    def ask(self, **request) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.read()


def main() -> None:
    arguments = parse_arguments()
    # Before numpy is imported, which starts the BLAS pool.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(arguments.threads)

    import pandas as pd
    from sklearn import metrics
    from sklearn.model_selection import TimeSeriesSplit

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "glue"))
    import train_models

    warnings.simplefilter("ignore")
    bucket = train_models.FolderBucket(str(arguments.bucket))
    table = pd.read_parquet(io.BytesIO(bucket.read(train_models.newest_table_key(bucket.keys("features")))))
    rows = train_models.training_rows(table)
    inputs = train_models.model_input(rows)
    numeric = [column for column in inputs.columns if column not in train_models.CATEGORICAL_COLUMNS]

    def pipeline(name: str, seed: int):
        pipeline = train_models.build_pipeline(name, numeric)
        if name not in train_models.LINEAR_MODELS:
            pipeline[-1].set_params(random_state=seed)
        if hasattr(pipeline[-1], "n_jobs") and name.endswith("_rf"):
            pipeline[-1].set_params(n_jobs=arguments.threads)
        return pipeline

    def scores(name: str, fitted, test, expected) -> dict[str, float]:
        predicted = fitted.predict(test)
        if name.startswith("classifier"):
            return {
                "accuracy": metrics.accuracy_score(expected, predicted),
                "f1": metrics.f1_score(expected, predicted),
                "auc": metrics.roc_auc_score(expected, fitted.predict_proba(test)[:, 1]),
            }
        return {
            "mae": metrics.mean_absolute_error(expected, predicted),
            "rmse": metrics.root_mean_squared_error(expected, predicted),
            "mape": metrics.mean_absolute_percentage_error(expected, predicted),
        }

    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder) / "rows.parquet"
        targets = rows[[train_models.REGRESSION_TARGET, train_models.CLASSIFICATION_TARGET]].astype("float64")
        # The targets are the last columns; hyper-parameters come with the columns that the artifact was fitted on.
        pd.concat([inputs, targets], axis=1).to_parquet(shared, index=False)
        ours = Ours(arguments.ours, shared, arguments.threads)
        print(f"{len(rows)} rows, {inputs.shape[1]} columns, {arguments.threads} threads\n")
        if arguments.evaluate:
            print("| model | metric | scikit-learn | its seeds | ours | our seeds |\n|---|---|---|---|---|---|")
        else:
            print("| model | scikit-learn | ours | times as fast | target |\n|---|---|---|---|---|")
        for name in arguments.models:
            target = train_models.target_column(name)
            artifact = next(iter(sorted((arguments.bucket / "models").glob(f"{name}_*.joblib"), reverse=True)))
            request = {"artifact": str(artifact), "target": target}
            expected = rows[target].to_numpy()
            if not arguments.evaluate:
                theirs_times, ours_times = [], []
                for _ in range(arguments.rounds):
                    ours_times.append(ours.ask(**request)["seconds"])
                    unfitted = pipeline(name, 42)
                    started = time.monotonic()
                    unfitted.fit(inputs, expected)
                    theirs_times.append(time.monotonic() - started)
                ratio = statistics.median(theirs / ours for theirs, ours in zip(theirs_times, ours_times))
                print(
                    f"| `{name}` | {statistics.median(theirs_times):.3f} s | {statistics.median(ours_times):.3f} s "
                    f"| {ratio:.1f} | {TARGETS[name]} |",
                    flush=True,
                )
                continue
            seeds = SEEDS[:1] if name in train_models.LINEAR_MODELS else SEEDS
            theirs_scores, ours_scores = [], []
            for seed in seeds:
                folds = []
                for past, future in TimeSeriesSplit(SPLITS).split(inputs):
                    fitted = pipeline(name, seed).fit(inputs.iloc[past], expected[past])
                    folds.append(scores(name, fitted, inputs.iloc[future], expected[future]))
                theirs_scores.append(pd.DataFrame(folds).mean())
                answer = ours.ask(**request, random_state=seed, splits=SPLITS)
                ours_scores.append(pd.DataFrame(answer["folds"]).mean())
            for metric in theirs_scores[0].index:
                theirs_values = [score[metric] for score in theirs_scores]
                ours_values = [score[metric] for score in ours_scores]
                cells = [
                    text
                    for values in (theirs_values, ours_values)
                    for text in (f"{statistics.mean(values):.6g}", f"{min(values):.6g} to {max(values):.6g}")
                ]
                print(f"| `{name}` | {metric} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
