#!/usr/bin/env python3
"""The Glue training job: the newest feature table in, five scikit-learn pipelines out.

    python glue/train_models.py --bucket DIR                # a local folder in the shape of the bucket
    python glue/train_models.py --bucket s3://criptos-data

In Glue the bucket comes as the job argument `--BUCKET_NAME`. Reads `features/cripto_features_{YYYYMMDD}.parquet`
(the newest one, or a `latest` copy) and writes `models/{tipo}_{algoritmo}_{versao}.joblib` together with
`models/latest/{tipo}_{algoritmo}.joblib`. With `--parameters` it also writes parameter files
(`models/{tipo}_{algoritmo}_{versao}.safetensors`, see `docs/parameters.md`), which load many times faster. Runs on
scikit-learn 1.1 to 1.9.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import time
import warnings
from datetime import datetime, timezone
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, mean_absolute_error, mean_squared_error, r2_score, roc_auc_score
from sklearn.model_selection import TimeSeriesSplit
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

MODEL_NAMES = ["regressor_rf", "regressor_gbr", "regressor_lin", "classifier_rf", "classifier_log"]
LINEAR_MODELS = {"regressor_lin", "classifier_log"}

CATEGORICAL_COLUMNS = ["ativo"]
REGRESSION_TARGET = "fechamento_next"
CLASSIFICATION_TARGET = "direction_next"
NOT_FEATURES = {"data", "max_acum", REGRESSION_TARGET, CLASSIFICATION_TARGET}

DATED_TABLE = re.compile(r"features/cripto_features_\d{8}\.parquet")
LATEST_TABLES = ["features/cripto_features_latest.parquet", "features/latest.parquet"]


class FolderBucket:
    """A local folder that has the bucket's keys as paths."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    def keys(self, folder: str) -> list[str]:
        return [f"{folder}/{path.name}" for path in (self.root / folder).glob("*") if path.is_file()]

    def read(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def write(self, key: str, content: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written under another name first, so that nobody who watches the folder reads half a model.
        unfinished = path.with_name(f".{path.name}.tmp")
        unfinished.write_bytes(content)
        unfinished.replace(path)


class S3Bucket:
    def __init__(self, name: str) -> None:
        import boto3

        self.name = name
        self.client = boto3.client("s3")

    def keys(self, folder: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=f"{folder}/")
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def read(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def write(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)


def open_bucket(location: str) -> FolderBucket | S3Bucket:
    scheme = "s3://"
    return S3Bucket(location[len(scheme) :].rstrip("/")) if location.startswith(scheme) else FolderBucket(location)


def newest_table_key(keys: list[str]) -> str:
    dated = sorted(key for key in keys if DATED_TABLE.fullmatch(key))
    candidates = dated[-1:] + [key for key in LATEST_TABLES if key in keys]
    if not candidates:
        raise SystemExit("no feature table under features/")
    return candidates[0]


def training_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The feature table in date order with both targets; rows whose asset has no next day are dropped."""
    table = table.sort_values(["data", "ativo"], kind="stable").reset_index(drop=True)
    table[REGRESSION_TARGET] = table.groupby("ativo")["fechamento"].shift(-1)
    table = table[table[REGRESSION_TARGET].notna()].reset_index(drop=True)
    table[CLASSIFICATION_TARGET] = (table[REGRESSION_TARGET] > table["fechamento"]).astype("int64")
    return table


def model_input(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that the models see: the asset, and every other column as a number (or missing)."""
    columns = {}
    for column in table.columns:
        if column in CATEGORICAL_COLUMNS:
            columns[column] = table[column].astype(object)
        elif column not in NOT_FEATURES:
            columns[column] = pd.to_numeric(table[column], errors="coerce").astype("float64")
    return pd.DataFrame(columns, index=table.index)


def dense_one_hot_encoder() -> OneHotEncoder:
    try:
        return OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    except TypeError:  # scikit-learn before 1.2
        return OneHotEncoder(handle_unknown="ignore", sparse=False)


def build_estimator(name: str, n_estimators: int):
    if name == "regressor_rf":
        return RandomForestRegressor(n_estimators=n_estimators, random_state=42, n_jobs=-1)
    if name == "regressor_gbr":
        return GradientBoostingRegressor(random_state=42)
    if name == "regressor_lin":
        return LinearRegression()
    if name == "classifier_rf":
        return RandomForestClassifier(n_estimators=n_estimators, class_weight="balanced", random_state=42, n_jobs=-1)
    if name == "classifier_log":
        return LogisticRegression(max_iter=1000)
    raise ValueError(f"unknown model {name!r}")


def build_pipeline(name: str, numeric_columns: list[str], n_estimators: int = 400) -> Pipeline:
    categorical = Pipeline([("imputer", SimpleImputer(strategy="most_frequent")), ("onehot", dense_one_hot_encoder())])
    numeric = Pipeline([("imputer", SimpleImputer(strategy="median"))])
    if name in LINEAR_MODELS:
        numeric.steps.append(("scaler", StandardScaler()))
    preparation = ColumnTransformer(
        [("cat", categorical, CATEGORICAL_COLUMNS), ("num", numeric, numeric_columns)],
    )
    return Pipeline([("prep", preparation), ("model", build_estimator(name, n_estimators))])


def target_column(name: str) -> str:
    return REGRESSION_TARGET if name.startswith("regressor") else CLASSIFICATION_TARGET


def train(name: str, rows: pd.DataFrame, n_estimators: int = 400) -> Pipeline:
    """Fits one model on rows that `training_rows` has made."""
    features = model_input(rows)
    numeric_columns = [column for column in features.columns if column not in CATEGORICAL_COLUMNS]
    return build_pipeline(name, numeric_columns, n_estimators).fit(features, rows[target_column(name)].to_numpy())


def evaluate(pipeline: Pipeline, rows: pd.DataFrame, target: str) -> dict[str, float]:
    """Means of the metrics over five splits that always predict later days from earlier ones."""
    features, expected = model_input(rows), rows[target].to_numpy()
    scores = []
    for train_rows, test_rows in TimeSeriesSplit(n_splits=5).split(features):
        fold = clone(pipeline).fit(features.iloc[train_rows], expected[train_rows])
        predicted = fold.predict(features.iloc[test_rows])
        if is_classifier(fold):
            probability = fold.predict_proba(features.iloc[test_rows])[:, 1]
            scores.append(
                {
                    "accuracy": accuracy_score(expected[test_rows], predicted),
                    "roc_auc": roc_auc_score(expected[test_rows], probability),
                }
            )
        else:
            scores.append(
                {
                    "mae": mean_absolute_error(expected[test_rows], predicted),
                    "rmse": np.sqrt(mean_squared_error(expected[test_rows], predicted)),
                    "r2": r2_score(expected[test_rows], predicted),
                }
            )
    return pd.DataFrame(scores).mean().to_dict()


def serialised(pipeline: Pipeline) -> bytes:
    content = io.BytesIO()
    joblib.dump(pipeline, content, compress=("xz", 3))
    return content.getvalue()


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains the five models on the bucket's newest feature table.")
    bucket = parser.add_mutually_exclusive_group()
    bucket.add_argument("--bucket", metavar="DIR|s3://NAME", help="where to read the features and write the models")
    bucket.add_argument("--BUCKET_NAME", metavar="NAME", help="the S3 bucket's name, as a Glue job argument")
    parser.add_argument("--JOB_NAME", help=argparse.SUPPRESS)
    parser.add_argument("--n-estimators", type=int, default=400, metavar="N", help="trees per forest (default 400)")
    parser.add_argument("--version", help="the models' version (default: now in UTC, as YYYYMMDD-HHMM)")
    parser.add_argument("--models", nargs="+", choices=MODEL_NAMES, default=MODEL_NAMES, metavar="NAME")
    parser.add_argument("--parameters", action="store_true", help="also write parameter files (.safetensors)")
    parser.add_argument("--evaluate", action="store_true", help="also print time-series cross-validation metrics")

    arguments, unknown = parser.parse_known_args(argv)
    # Glue adds arguments of its own to those of the job; on any other command line they are mistakes.
    if unknown and arguments.JOB_NAME is None:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if arguments.bucket is None:
        name = arguments.BUCKET_NAME or os.environ.get("BUCKET_NAME", "criptos-data")
        arguments.bucket = f"s3://{name}"
    if arguments.version is None:
        arguments.version = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M")
    return arguments


def main(argv: list[str] | None = None) -> None:
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    # The three text columns are missing as numbers, and the imputer drops them: that is intended.
    warnings.filterwarnings("ignore", message="Skipping features without any observed values")
    bucket = open_bucket(arguments.bucket)
    table_key = newest_table_key(bucket.keys("features"))
    rows = training_rows(pd.read_parquet(io.BytesIO(bucket.read(table_key))))
    print(f"{table_key}: {len(rows)} rows of {rows['ativo'].nunique()} assets", flush=True)

    for name in arguments.models:
        started = time.monotonic()
        pipeline = train(name, rows, arguments.n_estimators)
        content = serialised(pipeline)
        key = f"models/{name}_{arguments.version}.joblib"
        bucket.write(key, content)
        bucket.write(f"models/latest/{name}.joblib", content)
        print(f"{key}: {len(content)} bytes, {time.monotonic() - started:.1f} s", flush=True)
        if arguments.parameters:
            # Only where it is asked for does the job need the safetensors package.
            from export_parameters import parameters

            bucket.write(f"models/{name}_{arguments.version}.safetensors", parameters(pipeline))
        if arguments.evaluate:
            metrics = evaluate(pipeline, rows, target_column(name))
            print("  " + "  ".join(f"{metric} {value:.6g}" for metric, value in metrics.items()), flush=True)


if __name__ == "__main__":
    main()
