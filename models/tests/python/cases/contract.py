"""The five pipelines of the data contract, as `glue/train_models.py` builds them."""

from __future__ import annotations

import datetime
import io
import sys
from pathlib import Path

import numpy as np

from .writer import CaseWriter

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "glue"))
import features
import synthetic_prices
import train_models


def feature_table(assets: list[str], seed: int):
    raw = synthetic_prices.raw_csv(assets, days=100, last_day=datetime.date(2025, 2, 20), seed=seed)
    return features.compute_features(features.read_raw(io.StringIO(raw)))


def add_cases(writer: CaseWriter) -> None:
    rows = train_models.training_rows(feature_table(["BTC", "ETH", "SOL"], seed=31))
    # ADA is an asset that the models have not seen; a listing day has missing values.
    test = train_models.model_input(feature_table(["BTC", "SOL", "ADA"], seed=32)).iloc[::4].reset_index(drop=True)
    shuffled = test[np.random.default_rng(33).permutation(test.columns)].assign(sobra=1.0)
    for name in train_models.MODEL_NAMES:
        exact = name not in train_models.LINEAR_MODELS

        def dump(model, path) -> None:
            path.write_bytes(train_models.serialised(model))

        pipeline = train_models.train(name, rows, n_estimators=12)
        writer.add(f"contract_{name}", pipeline, test, tags=["contract"], exact=exact, dump=dump)
        tags = ["contract", "columns"]
        writer.add(f"contract_{name}_other_columns", pipeline, shuffled, tags=tags, exact=exact, dump=dump)
