"""Decision trees, forests and gradient boosting, mostly bare and fitted on arrays."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from .tables import TRAINING_ROWS, amounts, at_thresholds, labels, numbers, test_numbers
from .writer import SKLEARN, CaseWriter

WORDS = np.array(["baixa", "lado", "alta"])

X = numbers(TRAINING_ROWS, seed=1)
X_MISSING = numbers(TRAINING_ROWS, seed=2, missing=0.15)
AMOUNTS = amounts(X, seed=1)
POSITIVE_AMOUNTS = np.exp(AMOUNTS / 8)


def add_cases(writer: CaseWriter) -> None:
    add_regressors(writer)
    add_classifiers(writer)
    add_missing_values(writer)
    add_boosted_regressors(writer)
    add_boosted_classifiers(writer)


def add(writer: CaseWriter, name: str, model, x, y, tags: list[str], exact: bool = True, test=None) -> None:
    model.fit(x, y)
    test = test_numbers(seed=3) if test is None else test
    writer.add(name, model, at_thresholds(model, test, seed=4), tags=["tree", *tags], exact=exact)


def add_regressors(writer: CaseWriter) -> None:
    tree_options = {
        "default": {},
        "absolute_error": {"criterion": "absolute_error", "max_depth": 5},
        "friedman_mse": {"criterion": "friedman_mse"},
        "poisson": {"criterion": "poisson"},
        "stump": {"max_depth": 1},
        "best_first": {"max_leaf_nodes": 20},
        "pruned": {"ccp_alpha": 0.05},
        "random_splitter": {"splitter": "random"},
        "large_leaves": {"min_samples_leaf": 10, "max_features": 2},
    }
    for option, parameters in tree_options.items():
        y = POSITIVE_AMOUNTS if option == "poisson" else AMOUNTS
        add(
            writer, f"tree_regressor_{option}", DecisionTreeRegressor(random_state=0, **parameters), X, y, ["regressor"]
        )
    add(writer, "tree_regressor_single_leaf", DecisionTreeRegressor(), X, np.full(len(X), 1.25), ["regressor"])
    add(writer, "tree_regressor_column_target", DecisionTreeRegressor(max_depth=4), X, AMOUNTS[:, None], ["regressor"])
    add(writer, "extra_tree_regressor", ExtraTreeRegressor(random_state=0), X, AMOUNTS, ["regressor"])

    forest_options = {
        "default": {},
        "no_bootstrap": {"bootstrap": False, "max_features": "sqrt"},
        "absolute_error": {"criterion": "absolute_error", "max_depth": 4, "n_estimators": 5},
        "friedman_mse": {"criterion": "friedman_mse", "max_depth": 6},
        "poisson": {"criterion": "poisson"},
        "out_of_bag": {"bootstrap": True, "oob_score": True, "max_samples": 0.9, "n_estimators": 30, "max_depth": 4},
        "best_first": {"max_leaf_nodes": 15, "min_samples_leaf": 3},
        "stumps": {"max_depth": 1, "n_estimators": 101},
        "one_tree": {"n_estimators": 1},
    }
    if SKLEARN >= (1, 4):
        forest_options["monotonic"] = {"monotonic_cst": [1, 0, 0, -1, 0, 0]}
    for family, forest in {"forest": RandomForestRegressor, "extra_trees": ExtraTreesRegressor}.items():
        for option, parameters in forest_options.items():
            y = POSITIVE_AMOUNTS if option == "poisson" else AMOUNTS
            model = forest(**{"n_estimators": 12, "random_state": 0, **parameters})
            add(writer, f"{family}_regressor_{option}", model, X, y, ["forest", "regressor"])

    names = [f"coluna {i}" for i in range(X.shape[1])]
    named = RandomForestRegressor(n_estimators=8, random_state=0).fit(pd.DataFrame(X, columns=names), AMOUNTS)
    rows = pd.DataFrame(at_thresholds(named, test_numbers(seed=3), seed=4), columns=names)
    writer.add("forest_regressor_named", named, rows, tags=["tree", "forest", "regressor"], exact=True)

    single = X.astype(np.float32)
    model = RandomForestRegressor(n_estimators=8, random_state=0)
    add(writer, "forest_regressor_single_precision", model, single, AMOUNTS.astype(np.float32), ["forest", "regressor"])


def add_classifiers(writer: CaseWriter) -> None:
    targets = {
        "binary": labels(X, seed=5),
        "three": labels(X, seed=5, classes=3),
        "text": WORDS[labels(X, seed=5, classes=3)],
        "text_objects": WORDS[labels(X, seed=5, classes=3)].astype(object),
        "bool": labels(X, seed=5).astype(bool),
        "floats": labels(X, seed=5, classes=3) * 2.0,
        "minus": labels(X, seed=5) * 2 - 1,
        # From eight classes on numpy adds a row in another order.
        "eleven": labels(X, seed=5, classes=11),
    }
    families = {
        "tree": lambda **options: DecisionTreeClassifier(random_state=0, **options),
        "forest": lambda **options: RandomForestClassifier(n_estimators=12, random_state=0, **options),
        "extra_trees": lambda **options: ExtraTreesClassifier(n_estimators=12, random_state=0, **options),
    }
    for family, build in families.items():
        tags = ["classifier"] if family == "tree" else ["forest", "classifier"]
        for target, y in targets.items():
            add(writer, f"{family}_classifier_{target}", build(min_samples_leaf=3), X, y, tags)
        options = {
            "entropy": {"criterion": "entropy", "max_depth": 6},
            "balanced": {"class_weight": "balanced", "min_samples_leaf": 4},
            "weights": {"class_weight": {0: 0.3, 1: 1.7}, "max_depth": 4},
            "best_first": {"max_leaf_nodes": 12},
            "unpruned": {},
        }
        if SKLEARN >= (1, 1):
            options["log_loss"] = {"criterion": "log_loss", "max_depth": 6}
        if SKLEARN >= (1, 4):
            options["monotonic"] = {"monotonic_cst": [1, 0, 0, -1, 0, 0], "min_samples_leaf": 4}
        for option, parameters in options.items():
            add(writer, f"{family}_classifier_{option}", build(**parameters), X, targets["binary"], tags)
        balanced = build(class_weight="balanced", max_depth=5)
        add(writer, f"{family}_classifier_eleven_balanced", balanced, X, targets["eleven"], tags)

    subsample = RandomForestClassifier(n_estimators=12, class_weight="balanced_subsample", max_depth=5, random_state=0)
    add(writer, "forest_classifier_balanced_subsample", subsample, X, targets["three"], ["forest", "classifier"])
    out_of_bag = RandomForestClassifier(n_estimators=40, oob_score=True, max_depth=4, random_state=0)
    add(writer, "forest_classifier_out_of_bag", out_of_bag, X, targets["three"], ["forest", "classifier"])
    add(writer, "extra_tree_classifier", ExtraTreeClassifier(random_state=0), X, targets["three"], ["classifier"])


def add_missing_values(writer: CaseWriter) -> None:
    """Trees that send missing values left or right, also where training had none."""
    test = test_numbers(seed=6, missing=0.3)
    test_elsewhere = test.copy()
    test_elsewhere[::5, 4] = np.nan
    y = amounts(X_MISSING, seed=7)
    binary, three = labels(X_MISSING, seed=7), labels(X_MISSING, seed=7, classes=3)
    if SKLEARN >= (1, 3):
        tags = ["missing"]
        add(writer, "tree_regressor_missing", DecisionTreeRegressor(random_state=0), X_MISSING, y, tags, test=test)
        add(
            writer, "tree_classifier_missing", DecisionTreeClassifier(random_state=0), X_MISSING, three, tags, test=test
        )
        shallow = DecisionTreeRegressor(max_depth=6)
        add(writer, "tree_regressor_missing_elsewhere", shallow, X_MISSING, y, tags, test=test_elsewhere)
    if SKLEARN >= (1, 4):
        tags = ["forest", "missing"]
        regressor = RandomForestRegressor(n_estimators=12, random_state=0)
        add(writer, "forest_regressor_missing", regressor, X_MISSING, y, tags, test=test_elsewhere)
        classifier = RandomForestClassifier(n_estimators=12, random_state=0, class_weight="balanced")
        add(writer, "forest_classifier_missing", classifier, X_MISSING, binary, tags, test=test_elsewhere)
    if SKLEARN >= (1, 6):
        regressor = ExtraTreesRegressor(n_estimators=12, random_state=0)
        add(writer, "extra_trees_regressor_missing", regressor, X_MISSING, y, tags, test=test)
        classifier = ExtraTreesClassifier(n_estimators=12, random_state=0)
        add(writer, "extra_trees_classifier_missing", classifier, X_MISSING, three, tags, test=test)
    if SKLEARN >= (1, 9):
        absolute = DecisionTreeRegressor(criterion="absolute_error", max_depth=5)
        add(writer, "tree_regressor_missing_absolute_error", absolute, X_MISSING, y, ["missing"], test=test)


def add_boosted_regressors(writer: CaseWriter) -> None:
    options = {
        "squared_error": {},
        "absolute_error": {"loss": "absolute_error"},
        "huber": {"loss": "huber", "alpha": 0.8},
        "quantile": {"loss": "quantile", "alpha": 0.75},
        "zero": {"init": "zero"},
        "median": {"init": DummyRegressor(strategy="median")},
        "constant": {"init": DummyRegressor(strategy="constant", constant=3.5)},
        "on_tree": {"init": DecisionTreeRegressor(max_depth=2)},
        "on_forest": {"init": RandomForestRegressor(n_estimators=3, max_depth=3, random_state=0)},
        "subsample": {"subsample": 0.5, "max_features": 3},
        "early": {"n_iter_no_change": 3, "learning_rate": 0.5},
        "best_first": {"max_leaf_nodes": 6, "max_depth": None},
        "deep": {"max_depth": 8, "learning_rate": 1.0},
        "stumps": {"max_depth": 1, "n_estimators": 80},
    }
    for option, parameters in options.items():
        model = GradientBoostingRegressor(**{"n_estimators": 25, "random_state": 0, **parameters})
        add(writer, f"boosting_regressor_{option}", model, X, AMOUNTS, ["boosting", "regressor"])
    # Without a seed every tree carries numpy's own generator.
    model = GradientBoostingRegressor(n_estimators=5, random_state=np.random.RandomState(0))
    add(writer, "boosting_regressor_generator", model, X, AMOUNTS, ["boosting", "regressor"])


def add_boosted_classifiers(writer: CaseWriter) -> None:
    binary, three = labels(X, seed=5), labels(X, seed=5, classes=3)
    options = {
        "binary": ({}, binary),
        "three": ({}, three),
        "eleven": ({"n_estimators": 5}, labels(X, seed=5, classes=11)),
        "text": ({}, WORDS[three]),
        "bool": ({}, binary.astype(bool)),
        "exponential": ({"loss": "exponential"}, binary),
        "zero": ({"init": "zero"}, binary),
        "zero_three": ({"init": "zero"}, three),
        # A certain first guess is clipped, and to what depends on the version.
        "certain": ({"init": DummyClassifier(strategy="most_frequent")}, binary),
        "certain_three": ({"init": DummyClassifier(strategy="most_frequent")}, three),
        "on_tree": ({"init": DecisionTreeClassifier(max_depth=3)}, binary),
        "on_forest": ({"init": RandomForestClassifier(n_estimators=5, max_depth=3, random_state=0)}, three),
        "exponential_on_tree": ({"init": DecisionTreeClassifier(max_depth=2), "loss": "exponential"}, binary),
        "subsample": ({"subsample": 0.6, "learning_rate": 0.5}, three),
        "stumps": ({"max_depth": 1, "n_estimators": 60}, binary),
    }
    for option, (parameters, y) in options.items():
        model = GradientBoostingClassifier(**{"n_estimators": 15, "random_state": 0, **parameters})
        add(writer, f"boosting_classifier_{option}", model, X, y, ["boosting", "classifier"], exact=False)
