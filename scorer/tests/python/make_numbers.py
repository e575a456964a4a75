#!/usr/bin/env python3
"""Writes models and tables whose numbers are easily wrong, and what scikit-learn says of them.

    python make_numbers.py SAMPLE_TABLE OUT_DIR

* `classes_NAME.joblib`: a classifier of some classes; `classes.json` has, by NAME, each asset's class and, where 1 is
  among the classes, its probability.
* `array.joblib` was fitted on an array, `encoded.joblib` on numbers in the place of assets.
* `text.joblib` reads `fechamento` and `volumefrom`; `text.parquet` has text in `volumefrom`, which `text.json` lists by
  asset, and `only_text.parquet` has one and the same text everywhere; `text_predictions.json` has what scikit-learn says of each asset's number, or null where it raises.
* `twice.parquet` has two rows of an asset and a day; `once.parquet` has the last of them only.
"""

import json
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

COLUMNS = ["fechamento", "volumefrom"]
TEXTS = {
    "ADA": "1,234.50", "BTC": "abc", "DOGE": "", "DOT": " 1234.5 ", "ETH": "NaN", "LTC": None, "SOL": "1e3", "XRP": "null",
}  # fmt: skip


def write_classes(table: pd.DataFrame, newest: pd.DataFrame, out: Path) -> None:
    random = np.random.default_rng(0)
    two, three = random.integers(0, 2, len(table)), random.integers(0, 3, len(table))
    sets = {
        "0_1": two,
        "bool": two.astype(bool),
        "minus_1_1": two * 2 - 1,
        "minus_1_0_1": three - 1,
        "float_0_1": two.astype(float),
        "float_minus_1_1": two * 2.0 - 1,
        "float_minus_1_0_1": three - 1.0,
        "0_1_2": three,
        "1_2": two + 1,
        "text": np.array(["down", "up"])[two],
        "float_1_2": two + 1.0,
        "only_0": two * 0,
        "only_1": two * 0 + 1,
    }
    said = {}
    for name, target in sets.items():
        model = RandomForestClassifier(n_estimators=5, max_depth=4, random_state=0).fit(table[COLUMNS], target)
        joblib.dump(model, out / f"classes_{name}.joblib")
        classes = model.classes_.tolist()
        if all(isinstance(value, str) for value in classes):
            continue
        probabilities = model.predict_proba(newest[COLUMNS])
        said[name] = {
            asset: {
                "class": float(predicted),
                "probability": float(row[classes.index(1)]) if 1 in classes else None,
            }
            for asset, predicted, row in zip(newest["ativo"], model.predict(newest[COLUMNS]), probabilities)
        }
    (out / "classes.json").write_text(json.dumps(said))


def write_texts(table: pd.DataFrame, newest: pd.DataFrame, out: Path) -> None:
    model = make_pipeline(SimpleImputer(), RandomForestRegressor(n_estimators=5, random_state=0))
    model.fit(table[COLUMNS], table["fechamento"])
    joblib.dump(model, out / "text.joblib")
    with_text = newest.assign(volumefrom=newest["ativo"].map(TEXTS).astype(object))
    with_text.to_parquet(out / "text.parquet")
    with_text.assign(volumefrom="1,234.50", data=with_text["data"] + pd.Timedelta(days=1)).to_parquet(
        out / "only_text.parquet"
    )
    (out / "text.json").write_text(json.dumps(TEXTS))
    said = {}
    for place, asset in enumerate(newest["ativo"]):
        rows = with_text.iloc[[place]][COLUMNS]
        if TEXTS[asset] in ("", "null"):
            rows = rows.assign(volumefrom=np.nan)
        try:
            said[asset] = float(model.predict(rows)[0])
        except ValueError:
            said[asset] = None
    (out / "text_predictions.json").write_text(json.dumps(said))


def main() -> None:
    source, out = map(Path, sys.argv[1:])
    table = pd.read_parquet(source)
    newest = table.sort_values("data", kind="stable").groupby("ativo").tail(1).sort_values("ativo").reset_index(drop=True)
    assert set(newest["ativo"]) == set(TEXTS), sorted(newest["ativo"])
    write_classes(table, newest, out)
    write_texts(table, newest, out)
    forest = RandomForestRegressor(n_estimators=3, random_state=0)
    joblib.dump(forest.fit(table[COLUMNS].to_numpy(), table["fechamento"]), out / "array.joblib")
    encoded = table[["ativo", "fechamento"]].assign(ativo=table["ativo"].astype("category").cat.codes.astype(float))
    joblib.dump(forest.fit(encoded, table["fechamento"]), out / "encoded.joblib")
    days = table[table["ativo"].isin(["BTC", "ETH"])].sort_values(["data", "ativo"], kind="stable")
    corrected = days.assign(fechamento=days["fechamento"] * 1.5)
    corrected.to_parquet(out / "once.parquet")
    pd.concat([days, corrected]).sort_values(["data", "ativo"], kind="stable").to_parquet(out / "twice.parquet")


main()
