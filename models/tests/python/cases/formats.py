"""One forest, one pipeline and one multinomial model in every container that joblib and pickle write."""

from __future__ import annotations

import functools
import io
import pickle

import joblib
import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from .tables import TEST_ROWS, TRAINING_ROWS, amounts, labels, mixed_table, numbers, test_numbers
from .writer import JOBLIB, CaseWriter


class Unseekable(io.RawIOBase):
    """A file without positions: joblib does not align arrays in it."""

    def __init__(self, path) -> None:
        self.file = open(path, "wb")

    def write(self, content) -> int:
        return self.file.write(content)

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        raise io.UnsupportedOperation("tell")

    def close(self) -> None:
        self.file.close()
        super().close()


def dump_pickle(model, path, protocol: int) -> None:
    path.write_bytes(pickle.dumps(model, protocol))


def dump_unseekable(model, path) -> None:
    with Unseekable(path) as file:
        joblib.dump(model, file)


def containers() -> dict:
    """For each container its extension and how to write it."""
    found = {"plain": ("joblib", joblib.dump)}
    for compressor, extension in {
        "zlib": "z", "gzip": "gz", "bz2": "bz2", "lzma": "lzma", "xz": "xz", "lz4": "lz4",
    }.items():  # fmt: skip
        found[compressor] = (f"joblib.{extension}", functools.partial(joblib.dump, compress=(compressor, 3)))
    found["zlib_9"] = ("pkl", functools.partial(joblib.dump, compress=("zlib", 9)))
    found["zlib_1"] = ("pkl", functools.partial(joblib.dump, compress=("zlib", 1)))
    for protocol in (2, 3, 4, 5):
        found[f"protocol_{protocol}"] = ("joblib", functools.partial(joblib.dump, protocol=protocol))
        found[f"pickle_{protocol}"] = ("pkl", functools.partial(dump_pickle, protocol=protocol))
    found["protocol_2_xz"] = ("joblib", functools.partial(joblib.dump, protocol=2, compress=("xz", 0)))
    found["protocol_5_lzma"] = ("joblib", functools.partial(joblib.dump, protocol=5, compress=("lzma", 6)))
    if JOBLIB >= (1, 5):
        found["unseekable"] = ("joblib", dump_unseekable)
    return found


def add_cases(writer: CaseWriter) -> None:
    x, test = numbers(TRAINING_ROWS, seed=21), test_numbers(seed=22)
    y = amounts(x, seed=21)
    table, test_table = mixed_table(TRAINING_ROWS, seed=23), mixed_table(TEST_ROWS, seed=24, unseen=True)
    number_columns = ["preco", "volume", "retorno", "dia"]
    preparation = ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore"), ["ativo", "setor"]),
            ("numbers", Pipeline([("imputer", SimpleImputer()), ("scaler", StandardScaler())]), number_columns),
        ]
    )
    multinomial = LogisticRegression().fit(x / x.std(axis=0), labels(x, seed=21, classes=3))
    multinomial.coef_ = np.asfortranarray(multinomial.coef_)
    models = {
        "forest": (RandomForestRegressor(n_estimators=4, max_depth=6, random_state=0).fit(x, y), test, True),
        # All of its trees are in an array of objects.
        "boosting": (GradientBoostingRegressor(n_estimators=6, random_state=0).fit(x, y), test, True),
        "pipeline": (Pipeline([("prep", preparation), ("model", Ridge())]).fit(table, y), test_table, False),
        "fortran_order": (multinomial, test / x.std(axis=0), False),
    }
    for container, (extension, dump) in containers().items():
        for name, (model, rows, exact) in models.items():
            case = f"format_{container}_{name}"
            writer.add(case, model, rows, tags=["format"], exact=exact, dump=dump, extension=extension)
