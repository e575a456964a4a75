"""Pipelines, column transformers, imputers, scalers and encoders, with a small tree or linear model at the end."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeRegressor

from .tables import TEST_ROWS, TRAINING_ROWS, amounts, labels, mixed_table, numbers, test_numbers
from .writer import SKLEARN, CaseWriter

TEXT = ["ativo", "setor", "aberto"]
NUMBERS = ["preco", "volume", "retorno", "dia", "vazio"]
# The empty column is no use to transformers that cannot drop it.
FILLED_NUMBERS = NUMBERS[:-1]

TABLE = mixed_table(TRAINING_ROWS, seed=41)
TEST = mixed_table(TEST_ROWS, seed=42, unseen=True)
TEST_SEEN = mixed_table(TEST_ROWS, seed=43)
AMOUNTS = amounts(numbers(TRAINING_ROWS, seed=41), seed=41) + 3 * (TABLE["ativo"] == "BTC").to_numpy()
LABELS = labels(numbers(TRAINING_ROWS, seed=41), seed=41)


def one_hot(sparse: bool = False, **options) -> OneHotEncoder:
    name = "sparse_output" if SKLEARN >= (1, 2) else "sparse"
    return OneHotEncoder(**{name: sparse, **options})


def filled(transformer) -> Pipeline:
    """The transformer on columns that an imputer has filled."""
    return make_pipeline(SimpleImputer(strategy="median"), transformer)


def add_cases(writer: CaseWriter) -> None:
    add_imputers(writer)
    add_scalers(writer)
    add_one_hot_encoders(writer)
    add_ordinal_encoders(writer)
    add_column_transformers(writer)
    add_pipelines(writer)


def add(writer: CaseWriter, name: str, preparation, tags: list[str], test=TEST, table=TABLE, model=None) -> None:
    model = DecisionTreeRegressor(max_depth=6, random_state=0) if model is None else model
    pipeline = Pipeline([("prep", preparation), ("model", model)]).fit(table, AMOUNTS)
    exact = not isinstance(model, LinearRegression)
    writer.add(name, pipeline, test, tags=["preprocessing", *tags], exact=exact)


def columns(transformer, names: list[str], **options) -> ColumnTransformer:
    return ColumnTransformer([("t", transformer, names)], **options)


def add_imputers(writer: CaseWriter) -> None:
    for name, imputer in {
        "mean": SimpleImputer(),
        "median": SimpleImputer(strategy="median"),
        "most_frequent": SimpleImputer(strategy="most_frequent"),
        "constant": SimpleImputer(strategy="constant"),
        "constant_value": SimpleImputer(strategy="constant", fill_value=-7.5),
        "mean_indicator": SimpleImputer(add_indicator=True),
        "median_indicator": SimpleImputer(strategy="median", add_indicator=True),
        "constant_indicator": SimpleImputer(strategy="constant", fill_value=-1.0, add_indicator=True),
    }.items():
        # With the empty column, which is dropped or kept by strategy and version.
        add(writer, f"imputer_{name}", columns(imputer, NUMBERS), ["imputer"])
    if SKLEARN >= (1, 2):
        for strategy in ("mean", "median", "most_frequent", "constant"):
            keeping = SimpleImputer(strategy=strategy, keep_empty_features=True, add_indicator=strategy == "mean")
            add(writer, f"imputer_{strategy}_keep_empty", columns(keeping, NUMBERS), ["imputer"])

    table, test = TABLE.copy(), TEST.copy()
    for seed, frame in enumerate((table, test)):
        rng = np.random.default_rng(seed)
        frame.loc[rng.random(len(frame)) < 0.2, "setor"] = np.nan
        frame["sentido"] = np.full(len(frame), np.nan, dtype=object)
    for name, imputer in {
        "text_most_frequent": SimpleImputer(strategy="most_frequent"),
        "text_constant": SimpleImputer(strategy="constant"),
        "text_constant_value": SimpleImputer(strategy="constant", fill_value="?"),
        "text_indicator": SimpleImputer(strategy="most_frequent", add_indicator=True),
    }.items():
        encoder = one_hot(handle_unknown="ignore")
        if name == "text_indicator":
            encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        add(writer, f"imputer_{name}", columns(make_pipeline(imputer, encoder), TEXT), ["imputer"], test, table)
    if SKLEARN >= (1, 2):
        dropping = make_pipeline(SimpleImputer(strategy="most_frequent"), one_hot(handle_unknown="ignore"))
        add(writer, "imputer_text_empty", columns(dropping, ["sentido", "setor"]), ["imputer"], test, table)

    none_table, none_test = (frame.where(frame.notna(), None) for frame in (table[["setor"]], test[["setor"]]))
    none_imputer = SimpleImputer(missing_values=None, strategy="constant", fill_value="?")
    add(writer, "imputer_text_none", make_pipeline(none_imputer, one_hot()), ["imputer"], none_test, none_table)
    word_imputer = SimpleImputer(missing_values="rede", strategy="most_frequent")
    preparation = columns(make_pipeline(word_imputer, one_hot()), ["setor"])
    add(writer, "imputer_text_value", preparation, ["imputer"], TEST_SEEN)

    integers = pd.DataFrame(np.random.default_rng(44).integers(-1, 5, (TRAINING_ROWS, 3)), columns=list("abc"))
    test_integers = pd.DataFrame(np.random.default_rng(45).integers(-1, 5, (TEST_ROWS, 3)), columns=list("abc"))
    for missing in (-1, 0):
        for strategy in ("mean", "most_frequent"):
            imputer = SimpleImputer(missing_values=missing, strategy=strategy, add_indicator=True)
            name = f"imputer_{strategy}_missing_{'zero' if missing == 0 else 'minus_one'}"
            add(writer, name, imputer, ["imputer"], test_integers, integers)
    halves = SimpleImputer(missing_values=-0.5, strategy="median")
    add(writer, "imputer_missing_half", halves, ["imputer"], test_integers / 2, integers / 2)


def add_scalers(writer: CaseWriter) -> None:
    scalers = {
        "standard": StandardScaler(),
        "standard_no_mean": StandardScaler(with_mean=False),
        "standard_no_std": StandardScaler(with_std=False),
        "standard_nothing": StandardScaler(with_mean=False, with_std=False),
        "min_max": MinMaxScaler(),
        "min_max_range": MinMaxScaler(feature_range=(-1, 3)),
        "min_max_clip": MinMaxScaler(clip=True),
        "max_abs": MaxAbsScaler(),
        "robust": RobustScaler(),
        "robust_unit_variance": RobustScaler(unit_variance=True, quantile_range=(10.0, 90.0)),
        "robust_no_centering": RobustScaler(with_centering=False),
        "robust_no_scaling": RobustScaler(with_scaling=False),
        "robust_nothing": RobustScaler(with_centering=False, with_scaling=False),
    }
    if SKLEARN >= (1, 9):
        scalers["max_abs_clip"] = MaxAbsScaler(clip=True)
    x, test = numbers(TRAINING_ROWS, seed=46), test_numbers(seed=47)
    x[:, 3], test[:, 3] = 4.0, 4.0  # a column without spread
    # Zeros of both signs, also on the bound of a range.
    x[:, 1] = x[:, 1] - x[:, 1].min()
    test[::4, :2], test[1::4, :2] = -0.0, 0.0
    for name, scaler in scalers.items():
        add(writer, f"scaler_{name}", scaler, ["scaler"], test, x)
        add(writer, f"scaler_{name}_linear", scaler, ["scaler"], test, x, LinearRegression())
        # Missing values pass through a scaler.
        after = make_pipeline(scaler, SimpleImputer())
        add(writer, f"scaler_{name}_missing", columns(after, FILLED_NUMBERS), ["scaler"])
    # On a sparse matrix scalers multiply by the reciprocal.
    for name, scaler in {
        "standard": StandardScaler(with_mean=False),
        "max_abs": MaxAbsScaler(),
        "robust": RobustScaler(with_centering=False),
    }.items():
        sparse = make_pipeline(one_hot(sparse=True, handle_unknown="ignore"), scaler)
        add(writer, f"scaler_{name}_sparse", columns(sparse, TEXT), ["scaler", "sparse"])
    single = x.astype(np.float32)
    add(writer, "scaler_standard_single_precision", StandardScaler(), ["scaler"], test, single, LinearRegression())


def add_one_hot_encoders(writer: CaseWriter) -> None:
    tags = ["one_hot"]
    strict = {
        "dense": one_hot(),
        "sparse": one_hot(sparse=True),
        "drop_first": one_hot(drop="first"),
        "drop_first_sparse": one_hot(sparse=True, drop="first"),
        "drop_if_binary": one_hot(drop="if_binary"),
        "drop_chosen": one_hot(drop=["ETH", "rede", "sim"]),
        "single_precision": one_hot(dtype=np.float32),
    }
    for name, encoder in strict.items():
        add(writer, f"one_hot_{name}", columns(encoder, TEXT), tags, TEST_SEEN)
    lenient = {
        "ignore": one_hot(handle_unknown="ignore"),
        "ignore_drop_first": one_hot(handle_unknown="ignore", drop="first"),
        "ignore_drop_if_binary": one_hot(handle_unknown="ignore", drop="if_binary"),
        "categories": one_hot(
            handle_unknown="ignore", categories=[["XRP", "BTC", "LTC"], ["rede", "moeda"], ["sim", "não"]]
        ),
    }
    if SKLEARN >= (1, 1):
        rare = {"handle_unknown": "infrequent_if_exist"}
        lenient |= {
            "infrequent": one_hot(min_frequency=40, **rare),
            "infrequent_share": one_hot(min_frequency=0.1, **rare),
            "infrequent_most": one_hot(max_categories=2, **rare),
            "infrequent_all": one_hot(max_categories=1, **rare),
            "infrequent_both": one_hot(min_frequency=10, max_categories=3, **rare),
            "infrequent_none": one_hot(min_frequency=1, **rare),
            "infrequent_sparse": one_hot(sparse=True, min_frequency=40, **rare),
            "infrequent_drop_first": one_hot(min_frequency=40, drop="first", **rare),
            "infrequent_drop_if_binary": one_hot(min_frequency=40, drop="if_binary", **rare),
            "infrequent_drop_chosen": one_hot(min_frequency=40, drop=["ETH", "rede", "não"], **rare),
            "infrequent_ignore": one_hot(min_frequency=40, handle_unknown="ignore"),
            "infrequent_drop_ignore": one_hot(min_frequency=40, drop="first", handle_unknown="ignore"),
        }
    if SKLEARN >= (1, 6):
        lenient["warn"] = one_hot(min_frequency=40, handle_unknown="warn")
    for name, encoder in lenient.items():
        add(writer, f"one_hot_{name}", columns(encoder, TEXT), tags)

    integers = columns(one_hot(handle_unknown="ignore"), ["dia"])
    add(writer, "one_hot_integers", integers, tags, TEST_SEEN.assign(dia=(TEST_SEEN["dia"] * 3 + 1) % 11))
    grids = [
        pd.DataFrame({"a": numbers(rows, seed)[:, 2], "b": 1.0})
        for rows, seed in ((TRAINING_ROWS, 48), (TEST_ROWS, 49))
    ]
    for seed, grid in enumerate(grids):
        grid.loc[np.random.default_rng(seed).random(len(grid)) < 0.1, "a"] = np.nan
    add(writer, "one_hot_floats_missing", one_hot(handle_unknown="ignore"), tags, grids[1] + 0.0, grids[0])
    add(writer, "one_hot_floats_unseen", one_hot(handle_unknown="ignore", drop="first"), tags, grids[1] * 1.5, grids[0])

    missing_table, missing_test = TABLE[TEXT].copy(), TEST[TEXT].copy()
    for seed, frame in enumerate((missing_table, missing_test)):
        frame.loc[np.random.default_rng(seed).random(len(frame)) < 0.2, "setor"] = np.nan
    add(writer, "one_hot_text_missing", one_hot(handle_unknown="ignore"), tags, missing_test, missing_table)
    none_table, none_test = (frame.where(frame.notna(), None) for frame in (missing_table, missing_test))
    add(writer, "one_hot_text_none", one_hot(handle_unknown="ignore"), tags, none_test, none_table)
    add(writer, "one_hot_text_missing_unseen", one_hot(handle_unknown="ignore"), tags, missing_test, TABLE[TEXT])

    flags, test_flags = ({"a": frame["aberto"] == "sim", "b": frame["dia"] > 2} for frame in (TABLE, TEST))
    add(writer, "one_hot_bool", one_hot(), tags, pd.DataFrame(test_flags), pd.DataFrame(flags))
    # Names of numbers are what Python writes.
    rng = np.random.default_rng(50)
    anything = rng.integers(0, 2**64, 300, dtype=np.uint64).view(np.float64)
    usual = rng.normal(size=200) * 10.0 ** rng.integers(-9, 21, 200)
    values = np.concatenate([anything[np.isfinite(anything)], usual, 10.0 ** np.arange(-9, 21)])
    values = np.unique(values[np.abs(values) < 1e30])[:, None]
    model = Pipeline([("prep", one_hot()), ("model", DecisionTreeRegressor(max_depth=3))])
    model.fit(values, np.arange(len(values)))
    names = [str(name) for name in model[0].get_feature_names_out()]
    writer.add("one_hot_names_of_numbers", model, values[::5], tags=tags, exact=True, feature_names=names)
    # Fitted on an array of fixed-width strings, the categories are one too.
    words, test_words = TABLE[["ativo", "setor"]].to_numpy(dtype=str), TEST[["ativo", "setor"]].to_numpy(dtype=str)
    add(writer, "one_hot_fixed_width_text", one_hot(handle_unknown="ignore"), tags, test_words, words)


def add_ordinal_encoders(writer: CaseWriter) -> None:
    tags = ["ordinal"]
    unknown = {"handle_unknown": "use_encoded_value", "unknown_value": -1}
    encoders = {
        "unknown": OrdinalEncoder(**unknown),
        "unknown_missing": make_pipeline(
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan), SimpleImputer()
        ),
        "categories": OrdinalEncoder(
            categories=[["XRP", "ADA", "BTC"], ["rede", "moeda", "finanças"], ["sim", "não"]], **unknown
        ),
        "integers": OrdinalEncoder(dtype=np.int64, **unknown),
        "single_precision": OrdinalEncoder(dtype=np.float32, **unknown),
    }
    if SKLEARN >= (1, 3):
        encoders["infrequent"] = OrdinalEncoder(min_frequency=40, **unknown)
        encoders["infrequent_most"] = OrdinalEncoder(max_categories=2, **unknown)
    for name, encoder in encoders.items():
        add(writer, f"ordinal_{name}", columns(encoder, TEXT), tags)
    add(writer, "ordinal_strict", columns(OrdinalEncoder(), TEXT), tags, TEST_SEEN)
    numbers_encoder = OrdinalEncoder(**unknown)
    add(writer, "ordinal_numbers", columns(numbers_encoder, ["dia"]), tags, TEST_SEEN.assign(dia=TEST_SEEN["dia"] + 2))

    table, test = TABLE[TEXT + ["retorno"]].copy(), TEST[TEXT + ["retorno"]].copy()
    for seed, frame in enumerate((table, test)):
        frame["retorno"] = (frame["retorno"] * 50).round()
        frame.loc[np.random.default_rng(seed).random(len(frame)) < 0.2, "setor"] = np.nan
    missing = {"missing": make_pipeline(OrdinalEncoder(**unknown), SimpleImputer(strategy="median"))}
    if SKLEARN >= (1, 1):
        missing["missing_value"] = OrdinalEncoder(encoded_missing_value=-2, **unknown)
    if SKLEARN >= (1, 3):
        missing["missing_infrequent"] = OrdinalEncoder(encoded_missing_value=-2, min_frequency=40, **unknown)
    for name, encoder in missing.items():
        add(writer, f"ordinal_{name}", encoder, tags, test, table)


def add_column_transformers(writer: CaseWriter) -> None:
    tags = ["columns"]
    encoder = one_hot(handle_unknown="ignore")
    numbers_mask = [name in NUMBERS for name in TABLE.columns]
    selections = {
        "names": (TEXT, NUMBERS),
        "positions": ([0, 1, 2], [3, 4, 5, 6, 7]),
        "negative_positions": ([-8, -7, -6], [-5, -4, -3, -2, -1]),
        "mask": (np.logical_not(numbers_mask), numbers_mask),
        "slices": (slice(0, 3), slice(3, None)),
        "name_slices": (slice("ativo", "aberto"), slice("preco", "vazio")),
        "selectors": (make_column_selector(dtype_include=object), make_column_selector(dtype_exclude=object)),
        "patterns": (make_column_selector(pattern="^a"), make_column_selector(pattern="^[pvrd]")),
        "index": (pd.Index(TEXT), pd.Index(NUMBERS)),
        "other_order": (TEXT[::-1], ["vazio", "preco", "dia"]),
    }
    for name, (text, number) in selections.items():
        preparation = ColumnTransformer([("text", encoder, text), ("numbers", filled(StandardScaler()), number)])
        add(writer, f"columns_{name}", preparation, tags)

    passing = TEST.fillna({"preco": 1.0})[TABLE.columns]
    numeric = filled(MinMaxScaler())
    variants = {
        "passthrough": ColumnTransformer([("a", numeric, NUMBERS), ("p", "passthrough", ["dia", "preco"])]),
        "drop": ColumnTransformer([("a", numeric, NUMBERS), ("d", "drop", TEXT), ("e", "drop", "dia")]),
        "weights": ColumnTransformer(
            [("a", numeric, NUMBERS), ("p", "passthrough", ["dia"])], transformer_weights={"a": 0.3, "p": 7.0}
        ),
        "empty_selection": ColumnTransformer([("a", StandardScaler(), []), ("b", numeric, NUMBERS)]),
        "all_dropped_but_remainder": ColumnTransformer([("a", "drop", TEXT)], remainder=numeric),
        "remainder_estimator": ColumnTransformer([("a", encoder, TEXT)], remainder=numeric),
        "remainder_estimator_by_position": ColumnTransformer([("a", encoder, [0, 1, 2])], remainder=numeric),
        "remainder_estimator_by_mask": ColumnTransformer(
            [("a", encoder, np.logical_not(numbers_mask))], remainder=numeric
        ),
        "remainder_between": ColumnTransformer(
            [("a", encoder, ["ativo"]), ("d", "drop", ["setor", "aberto"])], remainder=numeric
        ),
        "sparse_threshold_zero": columns(one_hot(sparse=True, handle_unknown="ignore"), TEXT, sparse_threshold=0),
        "sparse_threshold_one": ColumnTransformer(
            [("a", one_hot(sparse=True, handle_unknown="ignore"), TEXT), ("b", numeric, NUMBERS)], sparse_threshold=1
        ),
        "sparse_passthrough": ColumnTransformer(
            [("a", one_hot(sparse=True, handle_unknown="ignore"), TEXT), ("p", "passthrough", ["dia", "preco"])],
            sparse_threshold=1,
        ),
        "short_names": ColumnTransformer(
            [("a", encoder, TEXT), ("b", numeric, NUMBERS)], verbose_feature_names_out=False
        ),
        "made": make_column_transformer((encoder, TEXT), (numeric, NUMBERS), ("passthrough", ["dia"])),
        "twice": ColumnTransformer([("a", numeric, NUMBERS), ("b", filled(StandardScaler()), NUMBERS)]),
    }
    for name, preparation in variants.items():
        add(writer, f"columns_{name}", preparation, tags, passing)
        if name in ("remainder_estimator", "sparse_threshold_one"):
            add(writer, f"columns_{name}_linear", preparation, tags, passing, model=LinearRegression())

    complete, complete_test = (frame[["dia", "preco", *TEXT]] for frame in (TABLE, TEST_SEEN))
    for selection, chosen in {"names": ["setor"], "positions": [3], "mask": [False, False, False, True, False]}.items():
        keeping = ColumnTransformer(
            [("a", encoder, chosen), ("d", "drop", ["ativo", "aberto"])], remainder="passthrough"
        )
        add(writer, f"columns_remainder_passthrough_{selection}", keeping, tags, complete_test, complete)
        dropping = ColumnTransformer([("a", encoder, chosen)], remainder="drop")
        add(writer, f"columns_remainder_drop_{selection}", dropping, tags, complete_test, complete)
    if (1, 5) <= SKLEARN < (1, 7):
        for force in (True, False):
            keeping = ColumnTransformer([("a", encoder, TEXT)], remainder="passthrough", force_int_remainder_cols=force)
            name = "positions" if force else "names"
            add(writer, f"columns_remainder_forced_{name}", keeping, tags, complete_test, complete)

    shuffled = TEST[list(reversed(TABLE.columns))].assign(sobra="texto")
    preparation = ColumnTransformer([("a", encoder, TEXT), ("b", numeric, [3, 4])], remainder="drop")
    add(writer, "columns_shuffled", preparation, tags, shuffled)
    x, test = numbers(TRAINING_ROWS, seed=50, missing=0.1), test_numbers(seed=51, missing=0.2)
    on_array = ColumnTransformer(
        [("a", filled(StandardScaler()), [0, 2]), ("b", numeric, slice(1, 2))], remainder="passthrough"
    )
    add(writer, "columns_array", on_array, tags, test, x)


def add_pipelines(writer: CaseWriter) -> None:
    tags = ["pipeline"]
    text = make_pipeline(SimpleImputer(strategy="most_frequent"), one_hot(sparse=True, handle_unknown="ignore"))
    numeric = Pipeline(
        [("fill", SimpleImputer(strategy="median")), ("nothing", "passthrough"), ("scale", RobustScaler())]
    )
    columns_inside = ColumnTransformer(
        [
            ("text", text, TEXT),
            (
                "inner",
                ColumnTransformer([("a", numeric, ["volume", "vazio"]), ("b", filled(MinMaxScaler()), ["preco"])]),
                NUMBERS,
            ),
        ],
        remainder="drop",
    )
    variants = {
        "nested": make_pipeline(columns_inside, make_pipeline(StandardScaler(with_mean=False), MaxAbsScaler())),
        "nested_columns": columns_inside,
        "identity": make_pipeline(columns(numeric, NUMBERS), FunctionTransformer()),
    }
    for name, preparation in variants.items():
        add(writer, f"pipeline_{name}", preparation, tags)
        add(writer, f"pipeline_{name}_linear", preparation, tags, model=LinearRegression())

    # What pandas itself makes of text: objects before pandas 3, its own string type from then on.
    for dtype in ("str", "category"):
        table, test_table = (frame.astype({name: dtype for name in TEXT}) for frame in (TABLE, TEST))
        add(writer, f"pipeline_{dtype}_columns", columns_inside, tags, test_table, table)

    x, test = numbers(TRAINING_ROWS, seed=52), test_numbers(seed=53)
    y = amounts(x, seed=52)

    def add_steps(name: str, steps: list, table, target, rows, exact: bool = True) -> None:
        pipeline = Pipeline(steps).fit(table, target)
        writer.add(f"pipeline_{name}", pipeline, rows, tags=["preprocessing", *tags], exact=exact)

    tree = DecisionTreeRegressor(max_depth=5, random_state=0)
    add_steps("only_passthrough", [("a", "passthrough"), ("b", None), ("model", tree)], x, y, test)
    add_steps("only_model", [("model", tree)], x, y, test)
    add_steps(
        "model_in_pipeline", [("scale", StandardScaler()), ("model", make_pipeline(MinMaxScaler(), tree))], x, y, test
    )
    prep = ColumnTransformer([("text", text, TEXT), ("numbers", numeric, NUMBERS)])
    forest = RandomForestClassifier(n_estimators=8, random_state=0)
    add_steps("forest_classifier", [("prep", prep), ("model", forest)], TABLE, LABELS, TEST)
    words = np.array(["cai", "sobe"])[LABELS]
    add_steps(
        "logistic", [("prep", prep), ("model", LogisticRegression(max_iter=500))], TABLE, words, TEST, exact=False
    )
    boosting = GradientBoostingRegressor(n_estimators=10, random_state=0)
    add_steps("boosting", [("prep", prep), ("model", boosting)], TABLE, AMOUNTS, TEST)

    if SKLEARN >= (1, 2):
        dense = ColumnTransformer(
            [("text", one_hot(handle_unknown="ignore"), TEXT), ("numbers", filled(StandardScaler()), FILLED_NUMBERS)]
        )
        add(writer, "pipeline_pandas_output", make_pipeline(dense, MinMaxScaler()).set_output(transform="pandas"), tags)
