"""Reads the parts of two backfills with pandas, compares them, and the published metrics with scikit-learn's.

    python check_backfill.py FOLDER    # with one/predictions, ten/predictions and told.json
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import metrics

folder = Path(sys.argv[1])
told = json.loads((folder / "told.json").read_text())


def read(backfill, model):
    parts = sorted((folder / backfill / "predictions" / model).glob("*/dt=*/part-*.parquet"))
    frames = []
    for part in parts:
        frame = pd.read_parquet(part, partitioning=None)
        day = part.parent.name.removeprefix("dt=")
        assert (frame["data"] == pd.Timestamp(day)).all(), part
        frames.append(frame)
    assert frames, model
    return pd.concat(frames).sort_values(["data", "ativo"]).reset_index(drop=True)


def close(found, expected, what):
    if expected is None or np.isnan(expected):
        assert found is None, (what, found, expected)
    else:
        assert abs(found - expected) <= 1e-12 * max(1, abs(expected)), (what, found, expected)


def check(found, frame, is_regressor, what):
    assert found["previsoes"] == len(frame), what
    rises = frame["direction_next"].astype(int)
    if is_regressor:
        pair = frame["fechamento_next"], frame["predicao"]
        close(found["mae"], metrics.mean_absolute_error(*pair), what)
        close(found["rmse"], metrics.root_mean_squared_error(*pair), what)
        close(found["mape"], metrics.mean_absolute_percentage_error(*pair), what)
        close(found["acerto_direcional"], metrics.accuracy_score(rises, (frame["predicao"] > frame["fechamento"]).astype(int)), what)
    else:
        close(found["acuracia"], metrics.accuracy_score(rises, frame["predicao"].astype(int)), what)
        both = rises.nunique() == 2
        close(found.get("auc"), metrics.roc_auc_score(rises, frame["probabilidade"]) if both else None, what)


for model, answer in told["models"].items():
    one, ten = read("one", model), read("ten", model)
    pd.testing.assert_frame_equal(one, ten, check_exact=True)
    assert not one.duplicated(["ativo", "data"]).any()
    assert one["falha"].isna().all() and one["predicao"].notna().all()
    # What came is what the table says of the next row.
    of_next = one.groupby("ativo")["fechamento"].shift(-1)
    known = of_next.notna()
    assert (one.loc[known, "fechamento_next"] == of_next[known]).all()
    assert (one.loc[~known, "data"] == one["data"].max()).all() and one.loc[~known, "fechamento_next"].isna().all()
    assert (one.loc[known, "direction_next"] == (of_next > one["fechamento"])[known].astype(int)).all()

    record, is_regressor = answer["avaliacao"], answer["tipo"] == "regressor"
    known = one.dropna(subset=["direction_next"])
    check(record["geral"], known, is_regressor, model)
    assert len(record["por_dia"]) == known["data"].nunique() and len(record["por_ativo"]) == known["ativo"].nunique()
    for day, frame in known.groupby("data"):
        check(record["por_dia"][f"{day:%Y-%m-%d}"], frame, is_regressor, (model, day))
    for asset, frame in known.groupby("ativo"):
        check(record["por_ativo"][asset], frame, is_regressor, (model, asset))
