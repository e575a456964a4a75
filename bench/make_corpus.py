#!/usr/bin/env python3
"""Builds the bucket that the benchmarks run on: the contract's five models with their full hyper-parameters.

    python bench/make_corpus.py --out DIR [--raw RAW_CSV] [--days N]

Features of the newest N days of each asset, the five models as `glue/train_models.py` writes them, and
`bench/regressor_rf.joblib`, which is `regressor_rf` without compression. What is already there is kept; training
all takes some minutes. Without `--raw` the prices are synthetic (28 assets).
"""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path

import joblib

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "glue"))
import features
import synthetic_prices
import train_models

VERSION = "20250220-2130"
LAST_DAY = datetime.date(2025, 2, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds the benchmarks' bucket.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--raw", type=Path, metavar="RAW_CSV", help="real candles (default: synthetic ones)")
    # 308 days of the 28 assets in a real raw.csv, one of which is younger, give more than 8 400 training rows.
    parser.add_argument("--days", type=int, default=308, metavar="N", help="newest days of each asset (default 308)")
    arguments = parser.parse_args()
    bucket: Path = arguments.out

    table_path = bucket / f"features/cripto_features_{LAST_DAY:%Y%m%d}.parquet"
    if not table_path.exists():
        raw_path = bucket / "raw.csv"
        bucket.mkdir(parents=True, exist_ok=True)
        if arguments.raw:
            raw_path.write_bytes(arguments.raw.read_bytes())
        else:
            assets = list(synthetic_prices.ASSETS)
            raw_path.write_text(synthetic_prices.raw_csv(assets, arguments.days + 60, LAST_DAY, seed=1))
        table = features.newest_days(features.compute_features(features.read_raw(raw_path)), arguments.days)
        table_path.parent.mkdir(exist_ok=True)
        features.write_table(table, table_path)

    for name in train_models.MODEL_NAMES:
        if not (bucket / f"models/{name}_{VERSION}.joblib").exists():
            train_models.main(["--bucket", str(bucket), "--version", VERSION, "--models", name])

    uncompressed_path = bucket / "bench/regressor_rf.joblib"
    if not uncompressed_path.exists():
        uncompressed_path.parent.mkdir(exist_ok=True)
        joblib.dump(joblib.load(bucket / f"models/regressor_rf_{VERSION}.joblib"), uncompressed_path)


if __name__ == "__main__":
    main()
