#!/usr/bin/env python3
"""Fits small pipelines with scikit-learn 1.9, for `models/tests/fit.rs` to fit and compare.

    python models/tests/python/make_fits.py OUT_DIR

Every case is a `NAME.json`:

    {"columns": [{"name", "kind": "text" | "number", "values": [...]}],   # rows to fit, and the same for "test"
     "target": [...], "weights": [...] | null,
     "specification": {...} | null,       # null: taken from the artifact
     "artifact": "NAME.joblib" | null,
     "fitted": [...], "tested": [...],    # predicted values, or probabilities of all classes row by row
     "relative": 0.0,                     # how far numbers may be apart, relative to the largest; 0.0 is to the bit
     "compare_tested": true,              # false where splits that are equal but for rounding decide about new rows
     "coefficients": [...] | null}        # with the constant term last

`refused/` holds artifacts that cannot be fitted again, each with `{"mentions": [...]}`.
"""

from __future__ import annotations

import datetime
import io
import json
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from cases.writer import json_columns
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "glue"))
import features
import synthetic_prices
import train_models

COLUMNS = 9


class FitWriter:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(
        self,
        name: str,
        model,
        rows: pd.DataFrame,
        target,
        test: pd.DataFrame,
        *,
        specification: dict | None = None,
        weights=None,
        relative: float = 0.0,
        compare_tested: bool = True,
    ) -> None:
        target = np.asarray(target)
        if specification is None:
            artifact = f"{name}.joblib"
            joblib.dump(model, self.folder / artifact)
        else:
            artifact = None
        estimator = model[-1] if isinstance(model, Pipeline) else model
        if getattr(estimator, "n_jobs", None) is not None:
            estimator.set_params(n_jobs=1)
        predict = model.predict_proba if is_classifier(model) else model.predict
        coefficients = None
        if hasattr(estimator, "coef_"):
            coefficients = [*np.ravel(estimator.coef_).tolist(), *np.ravel(estimator.intercept_).tolist()]
        case = {
            "columns": json_columns(rows),
            "test": json_columns(test),
            "target": target.tolist(),
            "weights": None if weights is None else np.asarray(weights).tolist(),
            "specification": specification,
            "artifact": artifact,
            "fitted": np.ravel(predict(rows)).tolist(),
            "tested": np.ravel(predict(test)).tolist(),
            "relative": relative,
            "compare_tested": compare_tested,
            "coefficients": coefficients,
        }
        (self.folder / f"{name}.json").write_text(json.dumps(case, allow_nan=False), encoding="utf-8")


def contract_table(assets: list[str], seed: int) -> pd.DataFrame:
    raw = synthetic_prices.raw_csv(assets, days=90, last_day=datetime.date(2025, 2, 20), seed=seed)
    return features.compute_features(features.read_raw(io.StringIO(raw)))


def add_contract(writer: FitWriter) -> None:
    """The five pipelines of the data contract, hyper-parameters taken from the artifact."""
    rows = train_models.training_rows(contract_table(["BTC", "ETH", "SOL", "XRP"], seed=41))
    inputs = train_models.model_input(rows)
    test = train_models.model_input(contract_table(["BTC", "SOL", "ADA"], seed=42)).iloc[::5].reset_index(drop=True)
    numeric = [column for column in inputs.columns if column != "ativo"]

    def add(name: str, label: str, target, relative: float, compare_tested: bool = True, **parameters) -> None:
        pipeline = train_models.build_pipeline(name, numeric, n_estimators=8)
        pipeline[-1].set_params(**parameters)
        pipeline.fit(inputs, target)
        writer.add(
            label, pipeline, inputs, target, test, relative=relative, compare_tested=compare_tested
        )

    closing, direction = rows["fechamento_next"].to_numpy(), rows["direction_next"].to_numpy()
    # Sums of whole numbers are exact, so that nothing is left to rounding.
    whole = np.round(1000 * (rows["fechamento_next"] / rows["fechamento"] - 1)).to_numpy()
    add("regressor_lin", "contract_regressor_lin", closing, 1e-6)
    # The same objective as lbfgs has, which stops at some 1e-6 from its minimum however small `tol` is.
    add("classifier_log", "contract_classifier_log", direction, 1e-6, solver="newton-cholesky", tol=1e-12)
    add("classifier_rf", "contract_classifier_rf", direction, 0.0)
    add("regressor_rf", "contract_regressor_rf", whole, 0.0)
    # Prices of several scales: many splits divide the same rows, and rounding picks one of them.
    add("regressor_gbr", "contract_regressor_gbr", closing, 1e-6, compare_tested=False)


def numbers(rows: int, seed: int) -> pd.DataFrame:
    """Columns without equal values, but for two of few values."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(rows, COLUMNS)), columns=[f"c{place}" for place in range(COLUMNS)])
    table["c7"] = rng.integers(0, 6, rows).astype(float)
    table["c8"] = rng.integers(0, 2, rows) * 0.25
    return table


def response(table: pd.DataFrame, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(scale=0.4, size=len(table))
    return (2 * table["c0"] + np.sin(3 * table["c1"]) + table["c2"] * table["c7"] + 3 * table["c8"] + noise).to_numpy()


def add_numbers(writer: FitWriter) -> None:
    """Estimators on plain columns, with hyper-parameters that a file would have."""
    rows, test = numbers(260, 51), numbers(90, 52)
    real = response(rows, 53)
    whole = np.round(4 * real)
    classes = (real > np.median(real)).astype(int)
    three = np.digitize(real, np.quantile(real, [0.2, 0.7]))
    weights = np.random.default_rng(54).integers(0, 4, len(rows)).astype(float)

    def add(
        name: str, model, target, *, relative=0.0, weights=None, scale=False, compare_tested=True, **written
    ) -> None:
        preparation = [("imputer", SimpleImputer(strategy="median"))] + [("scaler", StandardScaler())] * scale
        columns = ColumnTransformer([("num", Pipeline(preparation), list(rows.columns))])
        pipeline = Pipeline([("prep", columns), ("model", model)])
        pipeline.fit(rows, target, **({} if weights is None else {"model__sample_weight": weights}))
        specification = {"scale": scale, "estimator": {"class": type(model).__name__, **written}}
        writer.add(
            name, pipeline, rows, target, test,
            specification=specification, weights=weights, relative=relative, compare_tested=compare_tested,
        )  # fmt: skip

    def add_same(
        name: str, kind, target, *, relative=0.0, weights=None, scale=False, compare_tested=True, **parameters
    ) -> None:
        how = {"relative": relative, "weights": weights, "scale": scale, "compare_tested": compare_tested}
        add(name, kind(**parameters), target, **how, **parameters)

    forest = {"n_estimators": 6, "random_state": 7}
    for label, parameters in {
        "defaults": {},
        "whole_trees": {"bootstrap": False},
        "few_features": {"max_features": 3},
        "share_of_features": {"max_features": 0.5},
        "rule_of_features": {"max_features": "log2"},
        "depth": {"max_depth": 4},
        "leaf_count": {"min_samples_leaf": 5},
        "leaf_share": {"min_samples_leaf": 0.04, "max_features": 4},
        "split_count": {"min_samples_split": 20},
        "weight_share": {"min_weight_fraction_leaf": 0.05},
        "decrease": {"min_impurity_decrease": 0.5},
        "best_first": {"max_leaf_nodes": 12},
        "best_first_few_features": {"max_leaf_nodes": 12, "max_features": 3},
        "drawn_count": {"max_samples": 60},
        "drawn_share": {"max_samples": 0.5},
    }.items():
        add_same(f"forest_{label}", RandomForestRegressor, whole, **forest, **parameters)
    add_same("forest_weights", RandomForestRegressor, whole, weights=weights, **forest)
    add_same("forest_weights_whole_trees", RandomForestRegressor, whole, weights=weights, bootstrap=False, **forest)
    # Where nodes are too large for two features to divide them alike, rounding decides nothing.
    add_same(
        "tree_of_real_numbers", RandomForestRegressor, real, relative=1e-12,
        n_estimators=3, bootstrap=False, max_depth=5, min_samples_leaf=5, random_state=3,
    )  # fmt: skip
    for label, target, parameters in [
        ("defaults", classes, {}),
        ("balanced", classes, {"class_weight": "balanced"}),
        ("three_classes", three, {}),
        ("three_balanced", three, {"class_weight": "balanced", "max_depth": 6}),
        ("all_features", classes, {"max_features": 1.0, "min_samples_leaf": 3}),
        ("whole_trees", three, {"bootstrap": False, "max_leaf_nodes": 15}),
    ]:
        add_same(f"forest_classifier_{label}", RandomForestClassifier, target, **forest, **parameters)

    boosting = {"n_estimators": 25, "random_state": 11, "relative": 1e-9}
    for label, parameters in {
        "defaults": {},
        "learning_rate": {"learning_rate": 0.3, "max_depth": 2},
        "subsample": {"subsample": 0.6},
        "features": {"max_features": 4, "min_samples_leaf": 6},
        "best_first": {"max_leaf_nodes": 5, "max_depth": None},
    }.items():
        defaults = {"max_depth": 3, **parameters}
        model = GradientBoostingRegressor(n_estimators=25, random_state=11, **defaults)
        written = {key: value for key, value in defaults.items() if value is not None}
        if defaults["max_depth"] is None:
            # TOML and JSON have no way to say none where there is a default; 32 levels are as good.
            written["max_depth"] = 32
        add(f"boosting_{label}", model, real, relative=1e-9, n_estimators=25, random_state=11, **written)
    add_same("boosting_weights", GradientBoostingRegressor, real, weights=weights, min_samples_leaf=8, **boosting)
    # The first gradients have two values, so that many splits are equal and rounding picks one.
    add_same("boosting_classifier", GradientBoostingClassifier, classes, compare_tested=False, **boosting)

    add_same("linear", LinearRegression, real, relative=1e-9, scale=True)
    add_same("linear_weights", LinearRegression, real, relative=1e-9, weights=weights)
    add_same("linear_without_intercept", LinearRegression, real, relative=1e-9, fit_intercept=False)
    exact = {"tol": 1e-12, "max_iter": 100_000}
    for label, parameters in {
        "defaults": {},
        "strong_penalty": {"C": 0.01},
        "balanced": {"class_weight": "balanced"},
        "without_intercept": {"fit_intercept": False},
    }.items():
        model = LogisticRegression(**parameters, **exact)
        add(f"logistic_{label}", model, classes, relative=1e-6, scale=True, **parameters)
    model = LogisticRegression(**exact)
    add("logistic_weights", model, classes, relative=1e-6, scale=True, weights=weights)


def add_refused(folder: Path) -> None:
    folder.mkdir()
    rows = numbers(80, 61)
    target = (response(rows, 62) > 0).astype(int)

    def add(name: str, model, mentions: list[str], imputer=None) -> None:
        prepared = ColumnTransformer([("num", imputer or SimpleImputer(strategy="median"), list(rows.columns))])
        joblib.dump(Pipeline([("prep", prepared), ("model", model)]).fit(rows, target), folder / f"{name}.joblib")
        (folder / f"{name}.json").write_text(json.dumps({"mentions": mentions}), encoding="utf-8")

    small = {"n_estimators": 2}
    add("weights_by_class", RandomForestClassifier(class_weight={0: 1, 1: 2}, **small), ["class_weight"])
    add("subsample_weights", RandomForestClassifier(class_weight="balanced_subsample", **small), ["balanced_subsample"])
    add("entropy", RandomForestClassifier(criterion="entropy", **small), ["entropy"])
    add("absolute_error", RandomForestRegressor(criterion="absolute_error", **small), ["absolute_error"])
    add("huber", GradientBoostingRegressor(loss="huber", **small), ["loss", "huber"])
    add("early_stop", GradientBoostingRegressor(n_iter_no_change=2, **small), ["n_iter_no_change"])
    add("pruned", RandomForestRegressor(ccp_alpha=0.1, **small), ["ccp_alpha"])
    add("liblinear", LogisticRegression(solver="liblinear"), ["solver", "liblinear"])
    add("mean", LinearRegression(), ["mean"], imputer=SimpleImputer(strategy="mean"))
    add("scaler_first", LinearRegression(), ["imputers"], imputer=StandardScaler())


def main() -> None:
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    writer = FitWriter(folder)
    add_contract(writer)
    add_numbers(writer)
    add_refused(folder / "refused")


if __name__ == "__main__":
    main()
