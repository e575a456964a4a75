"""What the exporter refuses. That what it accepts is right is held against the reader in `models/tests/scikit_learn.rs`."""

from __future__ import annotations

import json
import unittest

import numpy as np
from export_parameters import Inexpressible, parameters
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import AdaBoostRegressor, GradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler

X = np.random.default_rng(0).normal(size=(40, 3))
Y = X[:, 0] * 2 + X[:, 1]
CLASSES = (Y > 0).astype(int)


def with_infinite_coefficient() -> LinearRegression:
    model = LinearRegression().fit(X, Y)
    model.coef_[1] = np.inf
    return model


class Refused(unittest.TestCase):
    def test_what_the_format_cannot_express_is_refused_with_its_place(self) -> None:
        columns = ColumnTransformer([("polynomial", PolynomialFeatures(), [0, 1])])
        cases = {
            "AdaBoostRegressor": AdaBoostRegressor().fit(X, Y),
            "SGDClassifier": SGDClassifier().fit(X, CLASSES),
            "columntransformer.polynomial.PolynomialFeatures": make_pipeline(columns, LinearRegression()).fit(X, Y),
            "functiontransformer.FunctionTransformer": make_pipeline(
                StandardScaler(), FunctionTransformer(np.exp), LinearRegression()
            ).fit(X, Y),
            "init_.KNeighborsRegressor": GradientBoostingRegressor(init=KNeighborsRegressor()).fit(X, Y),
            "with 2 outputs": RandomForestRegressor(n_estimators=2).fit(X, np.stack([Y, Y], axis=1)),
            "sparse coefficients": LogisticRegression().fit(X, CLASSES).sparsify(),
            "coefficients that is not finite": with_infinite_coefficient(),
            "StandardScaler has no n_features_in_": make_pipeline(StandardScaler(), LinearRegression()),
        }
        for mention, model in cases.items():
            with self.subTest(mention), self.assertRaises(Inexpressible) as raised:
                parameters(model)
            self.assertIn(mention, str(raised.exception))

    def test_the_description_says_who_wrote_the_file(self) -> None:
        content = parameters(LinearRegression().fit(X, Y), written_by="a job")
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        self.assertEqual(json.loads(header["__metadata__"]["parameters"])["written_by"], "a job")


if __name__ == "__main__":
    unittest.main()
