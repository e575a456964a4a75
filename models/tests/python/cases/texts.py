"""Text in columns of numbers: what scikit-learn reads as a number, and what it raises for."""

from __future__ import annotations

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from .tables import TRAINING_ROWS, amounts, numbers
from .writer import CaseWriter

TEXTS = [
    "1234.5", " 7 ", "\t-2e3\n", "1_000", "1_0e1_0", ".5", "5.", "+3", "-0", "1e400", "inf", "-Infinity", "nan", "NaN",
    "-nan", None, "1,234.50", "abc", "1.2.3", "1__0", "_1", "1_", "1_.5", "0x10", "1e", "--1", "12 USD", "true", "BTC",
    "1" * 200 + "x",
]  # fmt: skip


def add_cases(writer: CaseWriter) -> None:
    x = numbers(TRAINING_ROWS, seed=71)
    table = pd.DataFrame({"preco": x[:, 0] * 1000, "volume": x[:, 1], "grupo": x[:, 3]})
    y = amounts(x, seed=71)
    test = pd.DataFrame(
        {
            "preco": pd.Series(TEXTS, dtype=object),
            "volume": [2.5] * len(TEXTS),
            "grupo": [3.0] * len(TEXTS),
            # A column that plays no part.
            "nota": pd.Series(["nada"] * len(TEXTS), dtype=object),
        }
    )
    models = {
        "tree": DecisionTreeRegressor(max_depth=6, random_state=0),
        "forest": RandomForestRegressor(n_estimators=5, max_depth=6, random_state=0),
        "imputer": make_pipeline(SimpleImputer(strategy="median"), DecisionTreeRegressor(max_depth=6, random_state=0)),
        "indicator": make_pipeline(SimpleImputer(add_indicator=True), DecisionTreeRegressor(max_depth=6)),
        "scaler": make_pipeline(StandardScaler(), LinearRegression()),
        "columns": make_pipeline(
            ColumnTransformer(
                [("one", "passthrough", ["volume"]), ("two", SimpleImputer(), ["preco"])],
                transformer_weights={"two": 2.0},
            ),
            DecisionTreeRegressor(max_depth=6, random_state=0),
        ),
    }
    for name, model in models.items():
        model.fit(table, y)
        rows = test if name == "columns" else test[list(table.columns)]
        exact = name != "scaler"
        writer.add(f"text_{name}", model, rows, tags=["text"], exact=exact, row_by_row=True)
    # Numbers that are categories. scikit-learn compares text with them as text, so that only missing values are alike.
    for name, encoder in {"one_hot": OneHotEncoder(), "ordinal": OrdinalEncoder()}.items():
        model = make_pipeline(ColumnTransformer([("group", encoder, ["grupo"])]), DecisionTreeRegressor(max_depth=3))
        model.fit(table, y)
        rows = table[["grupo"]].head(8).assign(grupo=[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.5])
        writer.add(f"text_{name}_unknown", model, rows, tags=["text"], exact=True, row_by_row=True)
