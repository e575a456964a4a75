#!/usr/bin/env python3
"""Writes the sample bucket that the repository carries, and what scikit-learn predicts from it.

    python glue/make_sample.py [--out DIR]

The prices are synthetic, and the forests have few trees so that the bucket stays small. `expected.json` holds each
model's prediction for each asset's newest row.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
from pathlib import Path

import features
import pandas as pd
import sklearn
import synthetic_prices
import train_models

ASSETS = ["BTC", "ETH", "SOL", "ADA", "XRP", "DOGE", "DOT", "LTC"]
DAYS = 210
LAST_DAY = datetime.date(2025, 7, 29)
MODEL_VERSION = "20250729-2130"
TREES_PER_FOREST = 25


def write_bucket(bucket: Path) -> dict:
    """Fills `bucket` and returns its fitted pipelines."""
    raw_path = bucket / "raw.csv"
    table_path = bucket / f"features/cripto_features_{LAST_DAY:%Y%m%d}.parquet"
    table_path.parent.mkdir(parents=True)
    raw_path.write_text(synthetic_prices.raw_csv(ASSETS, DAYS, LAST_DAY, seed=2025), encoding="utf-8")
    features.write_table(features.compute_features(features.read_raw(raw_path)), table_path)

    rows = train_models.training_rows(pd.read_parquet(table_path))
    pipelines = {name: train_models.train(name, rows, TREES_PER_FOREST) for name in train_models.MODEL_NAMES}
    destination = train_models.FolderBucket(str(bucket))
    for name, pipeline in pipelines.items():
        destination.write(f"models/{name}_{MODEL_VERSION}.joblib", train_models.serialised(pipeline))
    return pipelines


def predictions(pipelines: dict, table: pd.DataFrame) -> dict:
    """What each pipeline says about each asset's newest row; sums are in tree order, as with `n_jobs=1`."""
    newest = table.sort_values("data", kind="stable").groupby("ativo").tail(1).sort_values("ativo")
    inputs = train_models.model_input(newest)
    by_asset: dict[str, dict] = {asset: {} for asset in newest["ativo"]}
    for name, pipeline in pipelines.items():
        if name.endswith("_rf"):
            pipeline[-1].set_params(n_jobs=1)
        predicted = pipeline.predict(inputs).tolist()
        if name.startswith("classifier"):
            answers = [
                {"predicao": label, "probabilidade": probability}
                for label, probability in zip(predicted, pipeline.predict_proba(inputs)[:, 1].tolist())
            ]
        else:
            answers = [{"predicao": value} for value in predicted]
        for asset, answer in zip(newest["ativo"], answers):
            by_asset[asset][name] = answer
    return by_asset


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the sample bucket and scikit-learn's predictions for it.")
    default = Path(__file__).resolve().parent.parent / "sample"
    parser.add_argument("--out", type=Path, default=default, metavar="DIR", help="default: sample/ of the repository")
    arguments = parser.parse_args()

    bucket: Path = arguments.out / "bucket"
    shutil.rmtree(bucket, ignore_errors=True)
    pipelines = write_bucket(bucket)
    expected = {
        "sklearn": sklearn.__version__,
        "versao": MODEL_VERSION,
        "data": LAST_DAY.isoformat(),
        "predictions": predictions(pipelines, pd.read_parquet(next((bucket / "features").iterdir()))),
    }
    (arguments.out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
