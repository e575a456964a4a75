"""Writes one case: the artifact, the rows, and scikit-learn's answers."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "glue"))
import export_parameters

SKLEARN = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
JOBLIB = tuple(int(part) for part in joblib.__version__.split(".")[:2])


def json_value(value):
    """A cell or a label as JSON has it; a missing one is null."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value


def json_rows(matrix) -> list[list]:
    if hasattr(matrix, "toarray"):
        matrix = matrix.toarray()
    return [[json_value(cell) for cell in row] for row in np.asarray(matrix)]


def json_columns(table: pd.DataFrame) -> list[dict]:
    columns = []
    for name in table.columns:
        values = [json_value(value) for value in table[name]]
        is_text = any(isinstance(value, str) for value in values)
        if not is_text:
            values = [int(value) if isinstance(value, bool) else value for value in values]
        columns.append({"name": name, "kind": "text" if is_text else "number", "values": values})
    return columns


def one_thread(model):
    """The model, told to sum in tree order as with `n_jobs=1`."""
    estimator = model[-1] if isinstance(model, Pipeline) else model
    if getattr(estimator, "n_jobs", None) is not None:
        estimator.set_params(n_jobs=1)
    return model


def largest_sums(model, rows) -> list[float] | None:
    """For each row the largest sum of absolute terms that a linear model adds up, or None for other models.

    Where terms cancel (columns that depend on each other have huge coefficients), scikit-learn's own sum depends on
    the order in which the BLAS at hand adds; no reader can agree with it to better than this sum's rounding.
    """
    estimator = model[-1] if isinstance(model, Pipeline) else model
    if not hasattr(estimator, "coef_"):
        return None
    features = model[:-1].transform(rows) if isinstance(model, Pipeline) and len(model.steps) > 1 else rows
    if hasattr(features, "toarray"):
        features = features.toarray()
    coefficients = np.atleast_2d(estimator.coef_)
    terms = np.abs(np.asarray(features, dtype=float)) @ np.abs(coefficients.T) + np.abs(estimator.intercept_)
    return [float(value) for value in terms.max(axis=1)]


def predict(model, rows) -> list:
    return [json_value(value) for value in np.ravel(model.predict(rows))]


def predict_rows(model, rows: pd.DataFrame) -> list:
    """Each row's prediction, or null for a row that scikit-learn raises for."""
    predictions = []
    for place in range(len(rows)):
        try:
            predictions += predict(model, rows.iloc[[place]])
        except ValueError:
            predictions.append(None)
    return predictions


class CaseWriter:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        folder.mkdir(parents=True, exist_ok=True)

    def add(
        self,
        name: str,
        model,
        rows,
        *,
        tags: list[str],
        exact: bool,
        dump=joblib.dump,
        extension="joblib",
        row_by_row: bool = False,
        feature_names: list[str] | None = None,
    ) -> None:
        """Adds the fitted `model` and its answers for `rows`, a table or (for models fitted on one) an array.

        With `row_by_row` each row is predicted alone, so that one that scikit-learn raises for costs only itself.
        """
        artifact = self.folder / f"{name}.{extension}"
        assert not artifact.exists(), f"two cases are called {name}"
        dump(model, artifact)
        # What the training job would export beside it; the reader's own conversion has to give the same bytes.
        (self.folder / f"{name}.safetensors").write_bytes(export_parameters.parameters(model))

        one_thread(model)
        positional = isinstance(rows, np.ndarray)
        table = pd.DataFrame(rows, columns=[f"x{i}" for i in range(rows.shape[1])]) if positional else rows
        has_steps = isinstance(model, Pipeline) and len(model.steps) > 1 and not isinstance(model[-1], Pipeline)
        has_probabilities = is_classifier(model)
        case = {
            "artifact": artifact.name,
            "sklearn": sklearn.__version__,
            "numpy": np.__version__,
            "joblib": joblib.__version__,
            "tags": tags,
            "positional": positional,
            "columns": json_columns(table),
            "predict": predict_rows(model, rows) if row_by_row else predict(model, rows),
            "row_by_row": row_by_row,
            "predict_proba": json_rows(model.predict_proba(rows)) if has_probabilities else None,
            "classes": [json_value(label) for label in model.classes_] if has_probabilities else None,
            "transformed": json_rows(model[:-1].transform(rows)) if has_steps and not row_by_row else None,
            "feature_names": feature_names,
            "exact": exact,
            "largest_sums": None if exact or row_by_row else largest_sums(model, rows),
        }
        (self.folder / f"{name}.json").write_text(json.dumps(case, allow_nan=False), encoding="utf-8")
        self.count += 1
