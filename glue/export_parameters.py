#!/usr/bin/env python3
"""Writes fitted scikit-learn pipelines as parameter files, which `docs/parameters.md` specifies.

    python glue/export_parameters.py FILE.joblib OUT.safetensors      # with the scikit-learn that wrote FILE

From inside the training job, without a file in between:

    from export_parameters import parameters
    bucket.write(f"models/{name}_{version}.safetensors", parameters(pipeline))

Needs numpy, scikit-learn 1.1 to 1.9 and safetensors, and nothing else. What version 1 of the format cannot express is
refused with an `Inexpressible` that names the step; a file is never written without it.
"""

from __future__ import annotations

import argparse
import json
import math
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import sklearn
from safetensors.numpy import save

SCHEMA = 1
WRITTEN_BY = "export_parameters.py 1"

SKLEARN = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
UNDERSTOOD = ((1, 0), (1, 9))

REGRESSION_TREES = {"DecisionTreeRegressor", "ExtraTreeRegressor", "RandomForestRegressor", "ExtraTreesRegressor"}
CLASSIFICATION_TREES = {name.replace("Regressor", "Classifier") for name in REGRESSION_TREES}
LINEAR_REGRESSORS = {"LinearRegression", "Ridge", "Lasso", "ElasticNet"}
SCALERS = {"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler"}

PASSTHROUGH = {"passthrough": {}}


class Inexpressible(ValueError):
    """A pipeline that the format cannot express, and where."""

    def __init__(self, place: list[str], what: str) -> None:
        super().__init__(f"{'.'.join(place) or 'the pipeline'}: {what}")


def parameters(model, written_by: str = WRITTEN_BY) -> bytes:
    """The parameter file of a fitted pipeline or estimator."""
    return Export(written_by).file(model)


# Values.


def class_of(estimator) -> str:
    return type(estimator).__name__


def plain(value):
    """A Python value for numpy's scalars and arrays of one element; anything else as it is."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value.item() if isinstance(value, np.generic) else value


def is_integer(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_nan(value) -> bool:
    return isinstance(value, float) and math.isnan(value)


def as_text(value) -> str | None:
    """A hyper-parameter as Python writes it, or nothing if it has a structure."""
    if isinstance(value, str):
        return f"'{value}'"
    return repr(value) if value is None or isinstance(value, (bool, float)) or is_integer(value) else None


def label_of(category) -> str:
    return category if isinstance(category, str) else str(category)


def doubles(values) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(values, dtype=np.float64))


class Export:
    def __init__(self, written_by: str) -> None:
        self.written_by = written_by
        self.tensors: dict[str, np.ndarray] = {}
        self.steps: list[dict] = []
        # The names of the steps from the outermost inwards.
        self.place: list[str] = []

    def file(self, model) -> bytes:
        if not UNDERSTOOD[0] <= SKLEARN <= UNDERSTOOD[1]:
            raise self.inexpressible(f"fitted by scikit-learn {sklearn.__version__}, which is not understood")
        outer = model
        while class_of(model) == "Pipeline" and not hasattr(model, "feature_names_in_"):
            first = next((step for _, step in model.steps if step not in (None, "passthrough")), None)
            if first is None:
                break
            model = first
        names = getattr(model, "feature_names_in_", None)
        if names is not None:
            names = [str(name) for name in names]
            columns, count = {"names": names}, len(names)
        else:
            count = int(self.attribute(model, "n_features_in_"))
            columns = {"count": count}
        described = self.predictor([], outer, count)
        if class_of(outer) == "Pipeline" and (not self.steps or self.steps[0]["path"]):
            self.steps.insert(0, {"path": [], "class": "Pipeline", "parameters": {}})
        document = {
            "schema": SCHEMA,
            "written_by": self.written_by,
            "sklearn_version": sklearn.__version__,
            "columns": columns,
            "steps": self.steps,
            **described,
        }
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return save(self.tensors, metadata={"parameters": text})

    # Errors and attributes.

    def inexpressible(self, what: str) -> Inexpressible:
        return Inexpressible(self.place, what)

    def attribute(self, estimator, name: str):
        value = vars(estimator).get(name)
        if value is None:
            value = getattr(estimator, name, None)
        if value is None:
            raise self.inexpressible(f"{class_of(estimator)} has no {name}: it is not fitted, or not understood")
        return value

    @contextmanager
    def inside(self, name: str):
        self.place.append(name)
        yield
        self.place.pop()

    def note(self, estimator) -> None:
        """Notes a step's hyper-parameters for the description."""
        noted = {}
        for name, value in sorted(vars(estimator).items()):
            # Attributes of the fit end in an underscore, private ones begin with one.
            if not name.startswith("_") and not name.endswith("_"):
                text = as_text(plain(value))
                if text is not None:
                    noted[name] = text
        self.steps.append({"path": list(self.place), "class": class_of(estimator), "parameters": noted})

    def check_count(self, estimator, name: str, found: int, expected: int) -> None:
        if found != expected:
            raise self.inexpressible(f"{class_of(estimator)} has {found} values in {name} for {expected} columns")

    # Tensors.

    def tensor(self, path: list, name: str, array: np.ndarray) -> None:
        self.tensors[".".join([*map(str, path), name])] = np.ascontiguousarray(array)

    def numbers(self, path: list, name: str, values) -> None:
        self.tensor(path, name, doubles(values))

    def finite(self, path: list, name: str, values) -> None:
        values = doubles(values)
        if not np.isfinite(values).all():
            raise self.inexpressible(f"a number among the {name} that is not finite")
        self.tensor(path, name, values)

    # Pipelines.

    def predictor(self, path: list, model, inputs: int, before: list | None = None) -> dict:
        """An estimator with whatever comes before it, which belongs at `before`."""
        before = [*path, "transformer"] if before is None else before
        if class_of(model) != "Pipeline":
            self.note(model)
            with self.inside(class_of(model)):
                estimator, classes = self.estimator([*path, "estimator"], model, inputs)
            described = {"transformer": PASSTHROUGH, "estimator": estimator}
            return described if classes is None else {**described, "classes": self.classes(path, model, classes)}
        *steps, (name, last) = model.steps
        # A pipeline that ends in a pipeline: the transformers of both, one behind the other.
        nested = class_of(last) == "Pipeline"
        here = [*before, "pipeline", 0] if nested else before
        transformers, outputs, _ = self.chain([*here, "pipeline"], steps, inputs, False)
        transformer = {"pipeline": transformers}
        with self.inside(name):
            described = self.predictor(path, last, outputs, [*before, "pipeline", 1])
        if nested:
            transformer = {"pipeline": [transformer, described["transformer"]]}
        return {**described, "transformer": transformer}

    def chain(self, path: list, steps, inputs: int, sparse: bool) -> tuple[list, int, bool]:
        """Transformers one behind the other, how many columns come out, and whether as a sparse matrix."""
        transformers = []
        for name, step in steps:
            with self.inside(name):
                transformer, inputs, sparse = self.transformer([*path, len(transformers)], step, inputs, sparse)
            if transformer is not PASSTHROUGH:
                transformers.append(transformer)
        return transformers, inputs, sparse

    def transformer(self, path: list, step, inputs: int, sparse: bool) -> tuple[dict, int, bool]:
        """A transformer of so many columns; its output as in `chain`."""
        if step is None or (isinstance(step, str) and step == "passthrough"):
            return PASSTHROUGH, inputs, sparse
        name = class_of(step)
        self.note(step)
        if name == "Pipeline":
            transformers, outputs, sparse = self.chain([*path, "pipeline"], step.steps, inputs, sparse)
            return {"pipeline": transformers}, outputs, sparse
        if name == "ColumnTransformer":
            parts, outputs = self.columns([*path, "columns"], step)
            return {"columns": parts}, outputs, bool(self.attribute(step, "sparse_output_"))
        if name == "FunctionTransformer" and step.func is None:
            return PASSTHROUGH, inputs, sparse
        with self.inside(name):
            if name == "SimpleImputer":
                imputer, outputs = self.imputer([*path, "imputer"], step, inputs)
                return {"imputer": imputer}, outputs, sparse
            if name == "MissingIndicator":
                indicator = self.missing_indicator([*path, "missing_indicator"], step)
                return {"missing_indicator": indicator}, len(indicator["features"]), False
            if name in SCALERS:
                return {"scaler": self.scaler([*path, "scaler"], step, inputs, sparse)}, inputs, sparse
            if name == "OneHotEncoder":
                encoder = self.one_hot([*path, "one_hot"], step, inputs)
                outputs = sum(len(column["labels"]) for column in encoder["columns"])
                # The parameter was called `sparse` until 1.1.
                sparse = getattr(step, "sparse_output", getattr(step, "sparse", True))
                return {"one_hot": encoder}, outputs, bool(sparse)
            if name == "OrdinalEncoder":
                return {"ordinal": self.ordinal([*path, "ordinal"], step, inputs)}, inputs, False
            raise self.inexpressible(f"{name} is not a transformer that the format knows")

    def columns(self, path: list, step) -> tuple[list, int]:
        places = self.attribute(step, "_transformer_to_input_indices")
        weights = step.transformer_weights or {}
        parts, outputs = [], 0
        for name, transformer, _ in self.attribute(step, "transformers_"):
            if isinstance(transformer, str) and transformer == "drop":
                continue
            columns = [int(place) for place in places.get(name, [])]
            # A transformer without columns was never fitted.
            if not columns:
                continue
            here = [*path, len(parts)]
            weight = weights.get(name)
            if weight is not None:
                self.finite(here, "weight", [weight])
            with self.inside(name):
                described, width, _ = self.transformer([*here, "transformer"], transformer, len(columns), False)
            parts.append({"columns": columns, "weighted": weight is not None, "transformer": described})
            outputs += width
        return parts, outputs

    # Transformers.

    def missing(self, path: list, estimator):
        value = plain(estimator.missing_values)
        if value is None or is_nan(value):
            return "nan"
        if isinstance(value, str):
            return {"text": value}
        if not isinstance(value, (int, float)):
            raise self.inexpressible(f"the missing value {value!r}")
        self.numbers(path, "missing_value", [value])
        return "number"

    def imputer(self, path: list, step, inputs: int) -> tuple[dict, int]:
        statistics = [plain(value) for value in self.attribute(step, "statistics_")]
        self.check_count(step, "statistics_", len(statistics), inputs)
        # Until 1.7 a constant filled columns in which everything was missing.
        constant = step.strategy == "constant" and SKLEARN < (1, 8)
        keeps_empty = bool(getattr(step, "keep_empty_features", False)) or constant
        fill, numbers = [], []
        for value in statistics:
            numbers.append(math.nan)
            if isinstance(value, str):
                fill.append({"text": value})
            elif is_nan(value) and not keeps_empty:
                fill.append("drop")
            elif isinstance(value, (bool, int, float)):
                fill.append("number")
                numbers[-1] = float(value)
            else:
                raise self.inexpressible(f"the statistic {value!r}")
        self.numbers(path, "fill", numbers)
        imputer = {"missing": self.missing(path, step), "fill": fill}
        outputs = sum(kind != "drop" for kind in fill)
        indicator = getattr(step, "indicator_", None)
        if step.add_indicator and indicator is not None:
            imputer["indicator"] = self.missing_indicator([*path, "indicator"], indicator)
            outputs += len(imputer["indicator"]["features"])
        return imputer, outputs

    def missing_indicator(self, path: list, step) -> dict:
        features = [int(place) for place in self.attribute(step, "features_")]
        return {"missing": self.missing(path, step), "features": features}

    def scaler(self, path: list, step, inputs: int, sparse: bool) -> dict:
        name = class_of(step)
        operations: dict[str, np.ndarray | None] = {}
        if name == "StandardScaler":
            operations["subtract"] = step.mean_ if step.with_mean else None
            operations["divide"] = step.scale_ if step.with_std else None
        elif name == "RobustScaler":
            operations["subtract"], operations["divide"] = step.center_, step.scale_
        elif name == "MaxAbsScaler":
            operations["divide"] = self.attribute(step, "scale_")
        else:
            operations["multiply"] = self.attribute(step, "scale_")
            operations["add"] = self.attribute(step, "min_")
        # A sparse matrix is multiplied by the reciprocal instead (`inplace_column_scale`).
        if sparse and operations.get("divide") is not None:
            operations["multiply"] = 1.0 / doubles(operations.pop("divide"))
        written = []
        for operation, values in operations.items():
            if values is not None:
                self.check_count(step, "scale_", len(values), inputs)
                self.numbers(path, operation, values)
                written.append(operation)
        if getattr(step, "clip", False):
            self.numbers(path, "clip", [-1.0, 1.0] if name == "MaxAbsScaler" else step.feature_range)
            written.append("clip")
        return {"operations": written}

    def categories(self, path: list, values: list):
        """The categories of a column: texts in the JSON, numbers in a tensor."""
        missing = [value is None or is_nan(value) for value in values]
        if any(isinstance(value, str) for value in values):
            texts = [None if absent else value for value, absent in zip(values, missing)]
            if not all(value is None or isinstance(value, str) for value in texts):
                raise self.inexpressible("categories of several types")
            if len({text for text in texts if text is not None}) != len(texts) - sum(missing):
                raise self.inexpressible("categories that occur twice")
            return {"text": texts}
        known = values[: len(values) - sum(missing)]
        if any(missing[: len(known)]) or not all(isinstance(value, (bool, int, float)) for value in known):
            raise self.inexpressible("categories that are neither text nor numbers in their order")
        # Adding zero makes one of the two zeros, as they are one category.
        numbers = [float(value) + 0.0 for value in known]
        if any(first >= second for first, second in zip(numbers, numbers[1:])):
            raise self.inexpressible("categories that do not ascend")
        self.numbers(path, "categories", numbers + [math.nan] * sum(missing))
        return "number"

    def all_categories(self, step, inputs: int) -> list[list]:
        categories = self.attribute(step, "categories_")
        self.check_count(step, "categories_", len(categories), inputs)
        return [[plain(value) for value in column] for column in categories]

    def infrequent_mappings(self, step, inputs: int) -> list:
        """Where each category goes once infrequent ones are one category, by column; None where there are none."""
        if not getattr(step, "_infrequent_enabled", False):
            return [None] * inputs
        mappings = self.attribute(step, "_default_to_infrequent_mappings")
        self.check_count(step, "_default_to_infrequent_mappings", len(mappings), inputs)
        return [None if mapping is None else [int(place) for place in mapping] for mapping in mappings]

    def one_hot(self, path: list, step, inputs: int) -> dict:
        # 1.6 and 1.7 forgot "warn" in `_map_infrequent_categories`.
        infrequent_if_unknown = step.handle_unknown == "infrequent_if_exist" or (
            step.handle_unknown == "warn" and SKLEARN >= (1, 8)
        )
        if step.handle_unknown not in ("error", "ignore", "infrequent_if_exist", "warn"):
            raise self.inexpressible(f"handle_unknown={step.handle_unknown!r}")
        # 1.1 knew the dropped category by its place after grouping already.
        dropped = getattr(step, "_drop_idx_after_grouping", None)
        if dropped is None:
            dropped = getattr(step, "drop_idx_", None)
        dropped = [None] * inputs if dropped is None else [plain(place) for place in dropped]
        self.check_count(step, "drop_idx_", len(dropped), inputs)
        mappings = self.infrequent_mappings(step, inputs)
        columns = []
        for at, values in enumerate(self.all_categories(step, inputs)):
            mapping, drop = mappings[at], dropped[at]
            groups = list(range(len(values))) if mapping is None else mapping
            # Where there are infrequent categories, they are the last group.
            infrequent = None if mapping is None else max(mapping)
            drop = None if drop is None else int(drop)

            def after_drop(group: int) -> int | None:
                if drop is None or group < drop:
                    return group
                return None if group == drop else group - 1

            count = max(groups, default=-1) + 1
            labels = [""] * (count - (drop is not None and drop < count))
            for value, group in zip(values, groups):
                output = after_drop(group)
                if output is not None:
                    labels[output] = "infrequent_sklearn" if group == infrequent else label_of(value)
            unknown = infrequent if infrequent_if_unknown else None
            columns.append(
                {
                    "categories": self.categories([*path, "columns", at], values),
                    "outputs": [after_drop(group) for group in groups],
                    "unknown": None if unknown is None else after_drop(unknown),
                    "labels": labels,
                }
            )
        return {"refuse_unknown": step.handle_unknown == "error", "columns": columns}

    def ordinal(self, path: list, step, inputs: int) -> dict:
        if step.handle_unknown not in ("error", "use_encoded_value"):
            raise self.inexpressible(f"handle_unknown={step.handle_unknown!r}")
        refuses = step.handle_unknown == "error"
        if not refuses:
            self.numbers(path, "unknown_value", [step.unknown_value])
        encoded_missing = float(getattr(step, "encoded_missing_value", math.nan))
        mappings = self.infrequent_mappings(step, inputs)
        columns = []
        for at, values in enumerate(self.all_categories(step, inputs)):
            here = [*path, "columns", at]
            missing = next((place for place, value in enumerate(values) if value is None or is_nan(value)), None)
            codes = [
                encoded_missing if place == missing else place if mappings[at] is None else mappings[at][place]
                for place in range(len(values))
            ]
            self.numbers(here, "codes", codes)
            columns.append({"categories": self.categories(here, values)})
        return {"refuse_unknown": refuses, "columns": columns}

    # Estimators.

    def class_labels(self, model) -> list:
        return [plain(label) for label in self.attribute(model, "classes_")]

    def classes(self, path: list, model, labels: list):
        if all(isinstance(label, bool) for label in labels):
            return {"boolean": labels}
        if all(is_integer(label) for label in labels):
            return {"integer": labels}
        if all(isinstance(label, str) for label in labels):
            return {"text": labels}
        if all(isinstance(label, float) for label in labels):
            self.finite(path, "classes", labels)
            return {"real": len(labels)}
        raise self.inexpressible(f"{class_of(model)} with classes of several types")

    def estimator(self, path: list, model, inputs: int) -> tuple[dict, list | None]:
        """The description of an estimator, and its classes if it is a classifier."""
        name = class_of(model)
        if name in LINEAR_REGRESSORS:
            self.linear([*path, "linear"], model, inputs, 1)
            return {"linear": {}}, None
        if name == "LogisticRegression":
            return self.logistic([*path, "logistic"], model, inputs)
        if name in REGRESSION_TREES or name in CLASSIFICATION_TREES:
            return self.forest([*path, "forest"], model, inputs)
        if name in ("GradientBoostingRegressor", "GradientBoostingClassifier"):
            return self.boosting([*path, "boosting"], model, inputs)
        if name == "DummyRegressor":
            constant = np.ravel(self.attribute(model, "constant_"))
            if len(constant) != 1:
                raise self.inexpressible("DummyRegressor with several outputs")
            self.finite([*path, "constant"], "value", constant)
            return {"constant": {}}, None
        raise self.inexpressible(f"{name} is not an estimator that the format knows")

    def linear(self, path: list, model, inputs: int, outputs: int) -> None:
        coefficients = self.attribute(model, "coef_")
        if not isinstance(coefficients, np.ndarray):
            raise self.inexpressible("sparse coefficients")
        coefficients = np.atleast_2d(doubles(coefficients))
        if coefficients.shape[0] != outputs:
            raise self.inexpressible(f"{class_of(model)} with {coefficients.shape[0]} outputs")
        self.check_count(model, "coef_", coefficients.shape[1], inputs)
        intercepts = np.ravel(doubles(self.attribute(model, "intercept_")))
        # Without an intercept, some versions keep one zero for all outputs.
        if len(intercepts) == 1:
            intercepts = np.repeat(intercepts, outputs)
        self.finite(path, "coefficients", coefficients)
        self.finite(path, "intercepts", intercepts)

    def logistic(self, path: list, model, inputs: int) -> tuple[dict, list]:
        classes = self.class_labels(model)
        binary = len(classes) == 2
        self.linear(path, model, inputs, 1 if binary else len(classes))
        # `predict_proba` in `sklearn/linear_model/_logistic.py`, which changed in 1.2, 1.6 and 1.8.
        if SKLEARN >= (1, 8):
            one_against_rest = binary
        else:
            multi_class = getattr(model, "multi_class", "auto")
            newton_cholesky = model.solver == "newton-cholesky" and (1, 2) <= SKLEARN < (1, 6)
            one_against_rest = multi_class in ("ovr", "warn") or (
                multi_class in ("auto", "deprecated") and (binary or model.solver == "liblinear" or newton_cholesky)
            )
        if one_against_rest:
            link = "sigmoid" if binary else "one_versus_rest"
        else:
            link = "symmetric_softmax" if binary else "softmax"
        return {"logistic": {"link": link}}, classes

    def forest(self, path: list, model, inputs: int) -> tuple[dict, list | None]:
        if model.n_outputs_ != 1:
            raise self.inexpressible(f"{class_of(model)} with {model.n_outputs_} outputs")
        classifies = class_of(model) in CLASSIFICATION_TREES
        classes = self.class_labels(model) if classifies else None
        members = [model] if hasattr(model, "tree_") else self.attribute(model, "estimators_")
        # Until 1.3 leaves hold weighted counts, of which fractions are made at prediction.
        trees = Trees(inputs, len(classes) if classifies else 1, counts=classifies and SKLEARN < (1, 4))
        for member in members:
            self.tree(trees, self.attribute(member, "tree_"))
        missing_left = self.write_trees(path, trees)
        return {"forest": {"accepts_missing": accepts_missing(model), "missing_left": missing_left}}, classes

    def tree(self, trees: Trees, tree, scale: float | None = None) -> None:
        try:
            trees.add(tree, scale)
        except ValueError as error:
            raise self.inexpressible(str(error)) from None

    def write_trees(self, path: list, trees: Trees) -> bool:
        arrays = trees.arrays()
        self.finite(path, "leaf_values", arrays.pop("leaf_values"))
        for name, array in arrays.items():
            self.tensor(path, name, array)
        return "missing_left" in arrays

    def boosting(self, path: list, model, inputs: int) -> tuple[dict, list | None]:
        classes = self.class_labels(model) if class_of(model) == "GradientBoostingClassifier" else None
        stages = self.attribute(model, "estimators_")
        if classes is None and model.loss in (
            "squared_error", "ls", "absolute_error", "lad", "huber", "quantile",
        ):  # fmt: skip
            loss = "regression"
        elif classes is not None and model.loss in ("log_loss", "deviance"):
            # Until 1.3 the larger probability decided, and 0.5 was class 0; later the sign of the raw value.
            binary = "binary_by_sign" if SKLEARN >= (1, 4) else "binary_by_probability"
            loss = binary if len(classes) == 2 else "multiclass"
        elif classes is not None and model.loss == "exponential" and len(classes) == 2:
            loss = "exponential"
        else:
            raise self.inexpressible(f"{class_of(model)} with the loss {model.loss!r}")
        outputs = len(classes) if loss == "multiclass" else 1
        self.check_count(model, "estimators_", stages.shape[1], outputs)
        trees = Trees(inputs, 1)
        for output in range(outputs):
            for member in stages[:, output]:
                self.tree(trees, self.attribute(member, "tree_"), model.learning_rate)
        missing_left = self.write_trees(path, trees)
        initial = self.initial([*path, "initial"], model, inputs, loss, outputs)
        described = {"loss": loss, "outputs": outputs, "missing_left": missing_left, "initial": initial}
        return {"boosting": described}, classes

    def initial(self, path: list, model, inputs: int, loss: str, outputs: int) -> dict:
        init = self.attribute(model, "init_")
        constant = None
        # `_init_raw_predictions` (`sklearn/ensemble/_gb.py`): 1.8 clips with the epsilon of 64 bits.
        epsilon = float(np.finfo(np.float32 if SKLEARN < (1, 8) else np.float64).eps)
        centred = SKLEARN >= (1, 4)
        if isinstance(init, str) and init == "zero":
            constant = np.zeros(outputs)
        elif class_of(init) == "DummyRegressor":
            with self.inside("init_"):
                self.note(init)
            constant = np.ravel(doubles(init.constant_))
        elif class_of(init) == "DummyClassifier":
            if init.strategy not in ("prior", "most_frequent"):
                raise self.inexpressible(f"DummyClassifier of the strategy {init.strategy!r}")
            prior = doubles(init.class_prior_)
            if init.strategy == "most_frequent":
                prior = (np.arange(len(prior)) == prior.argmax()).astype(np.float64)
            constant = raw_from_probabilities(prior, loss, epsilon, centred)
        if constant is not None:
            self.check_count(model, "init_", len(constant), outputs)
            self.finite([*path, "constant"], "values", constant)
            return {"constant": {}}
        path = [*path, "estimator"]
        with self.inside("init_"):
            predictor = self.predictor([*path, "predictor"], init, inputs)
            if (loss == "regression") == ("classes" in predictor):
                raise self.inexpressible("boosting on an estimator of the other kind")
            if predictor["transformer"] != PASSTHROUGH or {"linear", "logistic"} & set(predictor["estimator"]):
                # scikit-learn computes it in 32 bits, in the order of additions of its BLAS.
                raise self.inexpressible("boosting on a scaler or a linear model")
        self.finite(path, "epsilon", [epsilon])
        return {"estimator": {"centred": centred, "predictor": predictor}}


def accepts_missing(model) -> bool:
    """Whether the scikit-learn that runs predicts rows with missing values by this tree or forest."""
    if getattr(model, "criterion", None) == "absolute_error" and SKLEARN < (1, 9):
        return False
    if getattr(model, "monotonic_cst", None) is not None:
        return False
    if getattr(model, "splitter", None) == "random":
        return SKLEARN >= (1, 6)
    since = {"DecisionTree": (1, 3), "RandomForest": (1, 4)}
    family = class_of(model).replace("Regressor", "").replace("Classifier", "")
    return SKLEARN >= since.get(family, (1, 6))


def raw_from_probabilities(probabilities: np.ndarray, loss: str, epsilon: float, centred: bool) -> np.ndarray:
    """The raw values that boosting starts from. `math.log` is the logarithm that other languages have, too."""
    clipped = [min(max(float(probability), epsilon), 1.0 - epsilon) for probability in probabilities]
    if loss != "multiclass":
        log_odds = math.log(clipped[-1] / (1.0 - clipped[-1]))
        return np.array([0.5 * log_odds if loss == "exponential" else log_odds])
    logarithms = [math.log(probability) for probability in clipped]
    total = 0.0
    for logarithm in logarithms:
        total += logarithm
    centre = total / len(logarithms) if centred else 0.0
    return np.array([logarithm - centre for logarithm in logarithms])


class Trees:
    """Trees in the order of the format: the children of a split side by side, and behind it.

    Pairs of children come in the order in which a walk meets their parents that always goes first to the child that
    more training samples went to; so do the leaves' values. Each step works on a whole level of a tree at a time.
    """

    def __init__(self, features: int, width: int, counts: bool = False) -> None:
        self.features, self.width, self.counts = features, width, counts
        self.parts: dict[str, list[np.ndarray]] = {
            name: [] for name in ("feature", "threshold", "link", "missing_left", "leaf_values")
        }
        self.tree_offsets, self.leaf_offsets = [0], [0]

    def add(self, tree, scale: float | None) -> None:
        values = tree.value
        if values.shape[1] != 1:
            raise ValueError(f"a tree with {values.shape[1]} outputs")
        if values.shape[2] != self.width or tree.n_features != self.features:
            raise ValueError("a tree that does not fit its estimator")
        left, right = tree.children_left, tree.children_right
        levels = levels_of(left, right)
        # The number of splits below and including each node.
        splits = np.zeros(len(left), dtype=np.int64)
        for level in reversed(levels):
            inner = level[left[level] != -1]
            splits[inner] = 1 + splits[left[inner]] + splits[right[inner]]
        samples = tree.n_node_samples
        # How many splits and leaves the walk meets before each node, and where the node comes to be.
        splits_before = np.zeros(len(left), dtype=np.int64)
        leaves_before = np.zeros(len(left), dtype=np.int64)
        place = np.zeros(len(left), dtype=np.int64)
        for level in levels:
            inner = level[left[level] != -1]
            left_first = samples[left[inner]] >= samples[right[inner]]
            first = np.where(left_first, left[inner], right[inner])
            second = np.where(left_first, right[inner], left[inner])
            splits_before[first] = splits_before[inner] + 1
            splits_before[second] = splits_before[inner] + 1 + splits[first]
            leaves_before[first] = leaves_before[inner]
            leaves_before[second] = leaves_before[inner] + splits[first] + 1
            place[left[inner]] = 2 * splits_before[inner] + 1
            place[right[inner]] = 2 * splits_before[inner] + 2
        nodes = np.concatenate(levels)
        count = len(nodes)
        node_at = np.empty(count, dtype=np.int64)
        node_at[place[nodes]] = nodes
        is_leaf = left[node_at] == -1
        feature = np.where(is_leaf, -1, tree.feature[node_at])
        if feature.max(initial=-1) >= self.features:
            raise ValueError("a tree that compares a feature that does not exist")
        threshold = np.where(is_leaf, 0.0, tree.threshold[node_at])
        if np.isnan(threshold).any():
            raise ValueError("a threshold that is not a number")

        leaves = nodes[left[nodes] == -1]
        leaves = leaves[np.argsort(leaves_before[leaves])]
        rows = np.ascontiguousarray(values[leaves, 0, :], dtype=np.float64)
        row_of = np.arange(len(leaves))
        if self.width > 1:
            # Most leaves of a fully grown forest are pure, so distinct rows are few.
            rows, row_of = distinct_rows(rows)
        if self.counts:
            sums = rows.sum(axis=1, keepdims=True)
            rows = rows / np.where(sums == 0.0, 1.0, sums)
        if scale is not None:
            rows = rows * scale
        link = np.where(is_leaf, 0, place[left[node_at]])
        link[is_leaf] = row_of[leaves_before[node_at[is_leaf]]]

        self.parts["feature"].append(feature.astype(np.int32))
        self.parts["threshold"].append(rounded_down(threshold))
        self.parts["link"].append(link.astype(np.uint32))
        missing_left = np.zeros(count, dtype=np.uint8)
        if hasattr(tree, "missing_go_to_left"):
            missing_left[~is_leaf] = tree.missing_go_to_left[node_at[~is_leaf]] != 0
        self.parts["missing_left"].append(missing_left)
        self.parts["leaf_values"].append(rows)
        self.tree_offsets.append(self.tree_offsets[-1] + count)
        self.leaf_offsets.append(self.leaf_offsets[-1] + len(rows))

    def arrays(self) -> dict[str, np.ndarray]:
        arrays = {name: np.concatenate(parts) for name, parts in self.parts.items()}
        if not arrays["missing_left"].any():
            del arrays["missing_left"]
        arrays["tree_offsets"] = np.array(self.tree_offsets, dtype=np.uint64)
        arrays["leaf_offsets"] = np.array(self.leaf_offsets, dtype=np.uint64)
        return arrays


def levels_of(left: np.ndarray, right: np.ndarray) -> list[np.ndarray]:
    """A tree's nodes, level by level."""
    levels = [np.zeros(1, dtype=np.int64)]
    while True:
        inner = levels[-1][left[levels[-1]] != -1]
        if not len(inner):
            return levels
        levels.append(np.concatenate([left[inner], right[inner]]))


def distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows, to the bit and in the order in which they first occur, and the place of each row."""
    bits = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, inverse = np.unique(bits, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rows[first[order]], rank[np.ravel(inverse)]


def rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """The largest 32-bit numbers that are not above the thresholds; zero has no sign."""
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest.astype(np.float64) > thresholds, below, nearest) + np.float32(0.0)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Converts a fitted pipeline that joblib wrote to a parameter file.")
    parser.add_argument("artifact", type=Path, metavar="FILE.joblib")
    parser.add_argument("out", type=Path, metavar="OUT.safetensors")
    arguments = parser.parse_args(argv)

    import joblib

    content = parameters(joblib.load(arguments.artifact))
    unfinished = arguments.out.with_name(f".{arguments.out.name}.tmp")
    unfinished.write_bytes(content)
    unfinished.replace(arguments.out)
    print(f"{arguments.out}: {len(content)} bytes")


if __name__ == "__main__":
    main()
