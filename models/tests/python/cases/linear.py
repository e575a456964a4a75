"""Linear models, bare and fitted on arrays."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge

from .tables import TRAINING_ROWS, amounts, labels, numbers, test_numbers
from .writer import SKLEARN, CaseWriter

# Columns of one scale, so that all solvers converge.
SCALE = np.array([1.0, 20.0, 1.0, 3.0, 2e6, 1e-7])
X = numbers(TRAINING_ROWS, seed=11) / SCALE
AMOUNTS = amounts(X * SCALE, seed=11)


def add_cases(writer: CaseWriter) -> None:
    test = test_numbers(seed=12) / SCALE

    def add(name: str, model, y, tags: list[str], x=X) -> None:
        writer.add(name, model.fit(x, y), test, tags=["linear", *tags], exact=False)

    for name, model in {
        "linear": LinearRegression(),
        "linear_through_origin": LinearRegression(fit_intercept=False),
        "linear_positive": LinearRegression(positive=True),
        "ridge": Ridge(alpha=0.5),
        "ridge_through_origin": Ridge(fit_intercept=False),
        "ridge_svd": Ridge(solver="svd"),
        "ridge_saga": Ridge(solver="saga", random_state=0),
        "lasso": Lasso(alpha=0.5),
        "lasso_all_zero": Lasso(alpha=1e6),
        "elastic_net": ElasticNet(alpha=0.1, l1_ratio=0.7),
        "elastic_net_through_origin": ElasticNet(fit_intercept=False, positive=True),
    }.items():
        add(name, model, AMOUNTS, ["regressor"])
    for name, model in {"linear": LinearRegression(), "ridge": Ridge(), "lasso": Lasso(alpha=0.1)}.items():
        add(f"{name}_column_target", model, AMOUNTS[:, None], ["regressor"])
    add("linear_single_precision", LinearRegression(), AMOUNTS.astype(np.float32), ["regressor"], X.astype(np.float32))

    binary, three = labels(X * SCALE, seed=13), labels(X * SCALE, seed=13, classes=3)
    words = np.array(["baixa", "lado", "alta"])
    classifiers = {
        "binary": (LogisticRegression(), binary),
        "bool": (LogisticRegression(), binary.astype(bool)),
        "minus": (LogisticRegression(), binary * 2 - 1),
        "text": (LogisticRegression(), words[binary]),
        "through_origin": (LogisticRegression(fit_intercept=False), binary),
        "balanced": (LogisticRegression(class_weight="balanced"), binary),
        # Large coefficients: probabilities of 0 and 1 to the last digit.
        "saturated": (LogisticRegression(C=1e8, max_iter=2000), X[:, 0] > 0),
        "liblinear": (LogisticRegression(solver="liblinear"), binary),
        "liblinear_sparse_coefficients": (LogisticRegression(solver="liblinear", penalty="l1", C=0.05), binary),
        "saga": (LogisticRegression(solver="saga", max_iter=500, random_state=0), binary),
        "three": (LogisticRegression(), three),
        "three_text": (LogisticRegression(), words[three].astype(object)),
        "three_saga": (LogisticRegression(solver="saga", max_iter=500, random_state=0), three),
        "three_newton": (LogisticRegression(solver="newton-cg"), three),
        "eleven": (LogisticRegression(), labels(X * SCALE, seed=13, classes=11)),
    }
    if SKLEARN >= (1, 2):
        classifiers["newton_cholesky"] = (LogisticRegression(solver="newton-cholesky"), binary)
        # One against the rest before 1.6, multinomial from then on.
        classifiers["three_newton_cholesky"] = (LogisticRegression(solver="newton-cholesky"), three)
    if SKLEARN < (1, 8):
        classifiers["three_liblinear"] = (LogisticRegression(solver="liblinear"), three)
        classifiers["three_one_against_rest"] = (LogisticRegression(multi_class="ovr"), three)
        classifiers["binary_one_against_rest"] = (LogisticRegression(multi_class="ovr"), binary)
        classifiers["binary_multinomial"] = (LogisticRegression(multi_class="multinomial"), binary)
        classifiers["three_multinomial"] = (LogisticRegression(multi_class="multinomial"), three)
    for name, (model, y) in classifiers.items():
        add(f"logistic_{name}", model, y, ["classifier"])
