"""Artifacts that no reader may accept, and words that its error must contain."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import types
from pathlib import Path

import joblib
import numpy as np
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingRegressor,
)
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeRegressor

from .tables import amounts, labels, numbers
from .writer import SKLEARN

X = numbers(60, seed=61) / np.array([1.0, 20.0, 1.0, 3.0, 2e6, 1e-7])
Y = amounts(X, seed=61)
LABELS = labels(X, seed=61)


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def model_of_main():
    """A regressor whose class is known to `__main__` only, as one defined in a notebook is."""

    def predict(self, rows):
        return np.zeros(len(rows))

    notebook_class = types.new_class(
        "NotebookModel", (LinearRegression,), {}, lambda body: body.update(predict=predict)
    )
    notebook_class.__module__ = "__main__"
    sys.modules["__main__"].NotebookModel = notebook_class
    return notebook_class().fit(X, Y)


def hidden_in_array() -> LinearRegression:
    """A call inside the second pickle stream that an array of objects is."""
    model = LinearRegression().fit(X, Y)
    model.feature_names_in_ = np.array([Calls(os.system, "true")], dtype=object)
    return model


def add_cases(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)

    def add(name: str, content, mentions: list[str]) -> None:
        artifact = folder / f"{name}.joblib"
        if isinstance(content, bytes):
            artifact.write_bytes(content)
        else:
            joblib.dump(content, artifact)
        expectation = {"artifact": artifact.name, "mentions": mentions}
        (folder / f"{name}.json").write_text(json.dumps(expectation), encoding="utf-8")

    add_hostile(add)
    add_unknown(add)
    add_unusable(add)
    add_broken(add)


def add_hostile(add) -> None:
    system = [os.system.__module__, "system"]
    add("call_system", Calls(os.system, "true"), system)
    add("call_system_hidden_in_array", hidden_in_array(), system)
    scaler = StandardScaler().fit(X)
    scaler.copy = Calls(os.system, "true")
    add("call_system_in_step", Pipeline([("scale", scaler), ("model", LinearRegression())]), system)
    for protocol in (2, 3, 4, 5):
        add(f"call_system_pickle_{protocol}", pickle.dumps(Calls(os.system, "true"), protocol), system)
    # Opcodes of protocols 0 and 1: INST, OBJ.
    add("call_system_inst", b"(S'true'\nios\nsystem\n.", ["protocol"])
    add("call_system_obj", b"(cos\nsystem\nS'true'\no.", ["protocol"])
    add("call_eval", Calls(eval, "1"), ["eval"])
    add("call_getattr", Calls(getattr, np.ndarray, "tofile"), ["getattr"])
    add("call_import", b"\x80\x02cimportlib\nimport_module\nX\x02\x00\x00\x00os\x85R.", ["importlib", "import_module"])
    add("dotted_name", b"\x80\x04\x8c\x07sklearn\x8c\x0cbase.os.exit\x93)R.", ["sklearn", "base.os.exit"])
    add("persistent_id", b"\x80\x02X\x01\x00\x00\x00aQ.", [])
    add("extension_code", b"\x80\x02\x82\x01.", [])


def add_unknown(add) -> None:
    """Models and steps of classes and functions that are not on the list."""
    models = {
        "SVC": (SVC(), LABELS),
        "SVR": (SVR(), Y),
        "HistGradientBoostingRegressor": (HistGradientBoostingRegressor(max_iter=3), Y),
        "KNeighborsRegressor": (KNeighborsRegressor(), Y),
        "AdaBoostRegressor": (AdaBoostRegressor(n_estimators=3), Y),
        "BaggingRegressor": (BaggingRegressor(n_estimators=3), Y),
        "IsolationForest": (IsolationForest(n_estimators=3), Y),
        "VotingRegressor": (VotingRegressor([("a", LinearRegression())]), Y),
        "SGDClassifier": (SGDClassifier(), LABELS),
        "GaussianNB": (GaussianNB(), LABELS),
        "MultiOutputRegressor": (MultiOutputRegressor(LinearRegression()), np.column_stack([Y, Y])),
    }
    for name, (model, target) in models.items():
        add(f"model_{name}", model.fit(X, target), [name])
    steps = {
        "PolynomialFeatures": PolynomialFeatures(2),
        "KBinsDiscretizer": KBinsDiscretizer(3, encode="ordinal"),
        "KNNImputer": KNNImputer(),
        "FeatureUnion": FeatureUnion([("a", StandardScaler())]),
        "log1p": FunctionTransformer(np.log1p, validate=False),
    }
    if SKLEARN >= (1, 5):
        steps["nanmean"] = SimpleImputer(strategy=np.nanmean)
    for name, step in steps.items():
        add(f"step_{name}", make_pipeline(step, LinearRegression()).fit(np.abs(X), Y), [name])
    add("class_of_main", model_of_main(), ["__main__", "NotebookModel"])
    sparse = LogisticRegression().fit(X, LABELS).sparsify()
    add("sparse_coefficients", sparse, ["scipy"])


def add_unusable(add) -> None:
    """Known classes, but no fitted model with one output."""
    two = np.column_stack([Y, -Y])
    outputs = ["2 outputs"]
    add("two_outputs_linear", LinearRegression().fit(X, two), ["LinearRegression", *outputs])
    add("two_outputs_tree", DecisionTreeRegressor(max_depth=2).fit(X, two), ["DecisionTreeRegressor", *outputs])
    forest = RandomForestRegressor(n_estimators=2, max_depth=2)
    add("two_outputs_forest", forest.fit(X, two), ["RandomForestRegressor", *outputs])
    forest = RandomForestClassifier(n_estimators=2, max_depth=2)
    add("two_outputs_classifier", forest.fit(X, np.column_stack([LABELS, LABELS])), ["RandomForestClassifier", *outputs])
    boosted = {
        "linear": GradientBoostingRegressor(n_estimators=2, init=LinearRegression()).fit(X, Y),
        "ridge": GradientBoostingRegressor(n_estimators=2, init=Ridge()).fit(X, Y),
        "logistic": GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()).fit(X, LABELS),
        "scaled_tree": GradientBoostingRegressor(
            n_estimators=2, init=make_pipeline(StandardScaler(), DecisionTreeRegressor(max_depth=2))
        ).fit(X, Y),
    }
    for name, model in boosted.items():
        add(f"boosting_on_{name}", model, [type(model).__name__, "32 bits", "init"])
    add("not_fitted_forest", RandomForestRegressor(), ["RandomForestRegressor"])
    add("not_fitted_linear", LinearRegression(), ["LinearRegression"])
    add("not_fitted_pipeline", Pipeline([("scale", StandardScaler()), ("model", LinearRegression())]), [])
    alone = ["stored alone"]
    transformer = ["StandardScaler", "is a transformer", "Pipeline"]
    add("no_model", StandardScaler().fit(X), transformer)
    add("no_model_in_pipeline", make_pipeline(StandardScaler()).fit(X), transformer)
    linear, scaler = LinearRegression().fit(X, Y), StandardScaler().fit(X)
    add("dictionary", {"model": linear, "scaler": scaler, 3: 4}, ["a dict", '"model"', '"scaler"', *alone])
    add("dictionary_of_many", {f"{number} {'x' * 500}": 0 for number in range(1000)}, ["a dict", "1000", *alone])
    add("tuple", (scaler, linear), ["a tuple", "StandardScaler", "LinearRegression", *alone])
    add("list", [linear], ["a list", "LinearRegression", *alone])
    add("array", np.arange(5.0), ["an array", *alone])
    add("number", 3, ["a number", *alone])
    add("nothing", None, ["None", *alone])
    add("string", "models/regressor_rf.joblib", ["a string", *alone])


def add_broken(add) -> None:
    model = make_pipeline(StandardScaler(), DecisionTreeRegressor(max_depth=4)).fit(X, Y)
    whole = pickle.dumps(model)
    add("empty", b"", [])
    add("text", b"ativo,data,fechamento\nBTC,2025-01-01,1.0\n", [])
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a" * 16 + b"\nsize 48000000\n"
    add("git_lfs_pointer", pointer, ["Git LFS", "git lfs pull"])
    add("zeros", bytes(4096), [])
    add("old_joblib", b"ZF0x64                " + bytes(100), [])
    add("truncated_pickle", whole[: len(whole) * 2 // 3], [])
    add("no_stop", whole[:-1], [])
    for compressor in ("zlib", "gzip", "bz2", "lzma", "xz", "lz4"):
        add(f"truncated_{compressor}", _truncated(model, compressor), [])
    add("truncated_array", _truncated(model, None), [])


def _truncated(model, compressor: str | None) -> bytes:
    content = io.BytesIO()
    joblib.dump(model, content, compress=(compressor, 3) if compressor else 0)
    return content.getvalue()[: content.tell() * 2 // 3]
