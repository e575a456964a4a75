"""The synthetic rows that the cases are trained and tested on."""

from __future__ import annotations

import numpy as np
import pandas as pd

TRAINING_ROWS = 240
TEST_ROWS = 80

ASSETS = ["BTC", "ETH", "SOL", "ADA", "XRP"]
ASSET_SHARES = [0.5, 0.3, 0.12, 0.05, 0.03]


def numbers(rows: int, seed: int, missing: float = 0.0) -> np.ndarray:
    """Six columns of different kinds and scales; a share of `missing` values in the first three."""
    rng = np.random.default_rng(seed)
    matrix = np.column_stack(
        [
            rng.normal(size=rows),
            rng.lognormal(sigma=2, size=rows),
            # A grid: midpoints between its values, where trees split, are on the test rows' finer grid.
            rng.integers(-8, 9, rows) * 0.25,
            rng.integers(0, 7, rows).astype(float),
            rng.standard_t(2, rows) * 1e6,
            rng.normal(size=rows) * 1e-7,
        ]
    )
    if missing:
        matrix[:, :3][rng.random((rows, 3)) < missing] = np.nan
    return matrix


def test_numbers(seed: int, missing: float = 0.0) -> np.ndarray:
    """Like `numbers`, with values between those of training."""
    matrix = numbers(TEST_ROWS, seed, missing)
    matrix[:, 2] += np.random.default_rng(seed).integers(-1, 2, TEST_ROWS) * 0.125
    return matrix


def amounts(matrix: np.ndarray, seed: int) -> np.ndarray:
    """A regression target that depends on every column, missing or not."""
    known = np.nan_to_num(matrix)
    signal = (
        2 * known[:, 0]
        + np.log1p(np.abs(known[:, 1]))
        + known[:, 2] * known[:, 3]
        + known[:, 4] / 1e6
        + known[:, 5] * 1e7
    )
    return signal + np.random.default_rng(seed).normal(scale=0.5, size=len(matrix)) + np.isnan(matrix).sum(axis=1)


def labels(matrix: np.ndarray, seed: int, classes: int = 2) -> np.ndarray:
    """Classes 0, 1, ... of different sizes: noisy quantiles of `amounts`."""
    values = amounts(matrix, seed)
    limits = np.quantile(values, np.linspace(0, 1, classes + 1)[1:-1] ** 1.5)
    return np.searchsorted(limits, values)


def mixed_table(rows: int, seed: int, unseen: bool = False) -> pd.DataFrame:
    """Text and numbers, with rare and (if asked) unseen categories, missing values and an empty column."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "ativo": rng.choice(ASSETS, rows, p=ASSET_SHARES),
            "setor": rng.choice(["moeda", "rede", "finanças"], rows),
            "aberto": rng.choice(["não", "sim"], rows),
            "preco": rng.lognormal(3, 1.5, rows),
            "volume": rng.lognormal(14, 1, rows),
            "retorno": rng.normal(0, 0.03, rows),
            "dia": rng.integers(0, 7, rows),
            "vazio": np.full(rows, np.nan),
        }
    )
    for text in ("ativo", "setor", "aberto"):
        table[text] = table[text].astype(object)
    table.loc[rng.random(rows) < 0.1, "volume"] = np.nan
    table.loc[rng.random(rows) < 0.2, "retorno"] = np.nan
    if unseen:
        table.loc[rng.random(rows) < 0.1, "ativo"] = "NOVO"
        table.loc[rng.random(rows) < 0.1, "preco"] = np.nan
        table.loc[rng.random(rows) < 0.1, "vazio"] = 1.5
    return table


def trees_of(model) -> list:
    members = np.ravel(model.estimators_) if hasattr(model, "estimators_") else [model]
    return [member.tree_ for member in members]


def at_thresholds(model, matrix: np.ndarray, seed: int) -> np.ndarray:
    """The rows with one feature each moved onto, or right beside, a threshold of the model."""
    rng = np.random.default_rng(seed)
    trees = [tree for tree in trees_of(model) if tree.node_count > 1]
    matrix = matrix.copy()
    for row in range(len(matrix) if trees else 0):
        tree = trees[rng.integers(len(trees))]
        # A split into missing and known values has an infinite threshold.
        node = rng.choice(np.flatnonzero((tree.children_left >= 0) & np.isfinite(tree.threshold)))
        threshold = tree.threshold[node]
        single = np.float32(threshold)
        candidates = [
            threshold,
            np.nextafter(threshold, np.inf),
            np.nextafter(single, np.float32(np.inf)),
            np.nextafter(single, np.float32(-np.inf)),
        ]
        matrix[row, tree.feature[node]] = candidates[row % 4]
    return matrix
