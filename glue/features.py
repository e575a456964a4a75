#!/usr/bin/env python3
"""The feature job: daily candles in (`raw.csv`), one feature table out (parquet).

    python glue/features.py RAW_CSV OUT_PARQUET [--days N]

This is the reference of the feature table's definition; other implementations are compared with it. All windows are
per asset, in date order. `rolling(w, m)` is a window of `w` rows that gives a value from `m` non-missing rows on, and
an infinite value counts as missing inside a window. Works with pandas 1.5 to 3.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd

RAW_COLUMNS = [
    "ativo",
    "data",
    "timestamp",
    "maximo",
    "minimo",
    "abertura",
    "fechamento",
    "volumefrom",
    "volumeto",
]
PRICE_AND_VOLUME_COLUMNS = ["maximo", "minimo", "abertura", "fechamento", "volumefrom", "volumeto"]
FEATURE_COLUMNS = [
    "ativo", "data", *PRICE_AND_VOLUME_COLUMNS,
    "fech_prev", "abert_prev", "vol_prev",
    "retorno_diario", "retorno_log", "retorno_acumulado",
    "valor_mm_5", "valor_mm_20", "volatilidade_5",
    "abertura_mm_5", "abertura_mm_20", "volume_mm_5", "volume_mm_20",
    "mediana_20", "mad_20", "iqr_20", "z_robusto_20",
    "hl_log2", "parkinson_10", "atr_14", "pos_no_range", "shadow_superior", "shadow_inferior",
    "candle_corpo", "candle_direcao",
    "vol_pct_change", "volume_z_rob_20", "preco_medio_volume",
    "max_acum", "drawdown", "dia_semana", "mes",
    "fechamento_categoria", "volume_categoria",
]  # fmt: skip

EPSILON = 1e-9
MAD_TO_SIGMA = 1.4826


def parse_number(text: str) -> float:
    """The correctly rounded value of `text`; missing if it is not a number."""
    if not isinstance(text, str) or "_" in text or not text.isascii():
        # Numbers of Python's, but not of pandas'; and cells of a line that is too short.
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_raw(path) -> pd.DataFrame:
    """The candles of `raw.csv`, by position, in the order of asset and date.

    Rows without an asset or a date have no place in any window and are left out.
    """
    raw = pd.read_csv(
        path, sep="|", header=None, skiprows=1, names=RAW_COLUMNS, dtype=str, keep_default_na=False, encoding="utf-8"
    )
    raw["data"] = pd.to_datetime(raw["data"], format="%Y-%m-%d", errors="coerce")
    for column in PRICE_AND_VOLUME_COLUMNS:
        raw[column] = raw[column].map(parse_number).astype("float64")
    raw = raw[(raw["ativo"] != "") & raw["data"].notna()]
    return raw.sort_values(["ativo", "data"], kind="stable").reset_index(drop=True)


def by_sign(change: pd.Series, positive: str, negative: str, zero: str) -> np.ndarray:
    """A word for the sign of each change, `nan` where there is none."""
    return np.select([change > 0, change < 0, change == 0], [positive, negative, zero], default="nan")


def compute_features(raw: pd.DataFrame) -> pd.DataFrame:
    """The feature table of candles that `read_raw` has read."""
    with np.errstate(divide="ignore", invalid="ignore"):
        table = _compute_features(raw)
    numbers = table.select_dtypes("number").columns
    table[numbers] = table[numbers].replace([np.inf, -np.inf], np.nan)
    return table


def _compute_features(raw: pd.DataFrame) -> pd.DataFrame:
    asset = raw["ativo"]

    def per_asset(values: pd.Series):
        return values.groupby(asset, sort=False)

    def rolling(values: pd.Series, window: int, min_rows: int):
        return per_asset(values).rolling(window, min_periods=min_rows)

    def aligned(grouped: pd.Series) -> pd.Series:
        """A windowed result under the row index, without the asset as a second level."""
        return grouped.reset_index(level=0, drop=True)

    def mean(values: pd.Series, window: int, min_rows: int = 1) -> pd.Series:
        return aligned(rolling(values, window, min_rows).mean())

    def median_20(values: pd.Series) -> pd.Series:
        return aligned(rolling(values, 20, 3).median())

    def robust_z_20(values: pd.Series, median: pd.Series, mad: pd.Series) -> pd.Series:
        return (values - median) / (MAD_TO_SIGMA * mad.where(mad != 0))

    table = raw.drop(columns="timestamp").copy()
    opening, closing, volume = table["abertura"], table["fechamento"], table["volumefrom"]

    table["fech_prev"] = previous_close = per_asset(closing).shift(1)
    table["abert_prev"] = per_asset(opening).shift(1)
    table["vol_prev"] = previous_volume = per_asset(volume).shift(1)

    table["retorno_diario"] = daily_return = (closing - previous_close) / previous_close
    log_close = np.log(closing.where(closing > 0) + EPSILON)
    table["retorno_log"] = log_close - per_asset(log_close).shift(1)
    table["retorno_acumulado"] = per_asset(daily_return).cumsum()

    table["valor_mm_5"] = mean(closing, 5)
    table["valor_mm_20"] = mean(closing, 20)
    table["volatilidade_5"] = aligned(rolling(closing, 5, 2).std())
    table["abertura_mm_5"] = mean(opening, 5)
    table["abertura_mm_20"] = mean(opening, 20)
    table["volume_mm_5"] = mean(volume, 5)
    table["volume_mm_20"] = mean(volume, 20)

    table["mediana_20"] = median = median_20(closing)
    table["mad_20"] = mad = median_20((closing - median).abs())
    quartiles = rolling(closing, 20, 5)
    table["iqr_20"] = aligned(quartiles.quantile(0.75)) - aligned(quartiles.quantile(0.25))
    table["z_robusto_20"] = robust_z_20(closing, median, mad)

    # From here on a high or low that is not positive is missing, in its own column too.
    for column in ("maximo", "minimo"):
        table[column] = table[column].where(table[column] > 0)
    high, low = table["maximo"], table["minimo"]

    table["hl_log2"] = np.log((high + EPSILON) / (low + EPSILON)) ** 2
    table["parkinson_10"] = np.sqrt(mean(table["hl_log2"], 10, 5) / (4 * math.log(2)))
    true_range = pd.concat([(high - low).abs(), (high - previous_close).abs(), (low - previous_close).abs()], axis=1)
    table["atr_14"] = mean(true_range.max(axis=1), 14, 3)
    day_range = high - low
    table["pos_no_range"] = (closing - low) / day_range.where(day_range != 0)
    # np.maximum and np.minimum keep a missing operand missing.
    table["shadow_superior"] = high - np.maximum(opening, closing)
    table["shadow_inferior"] = np.minimum(opening, closing) - low
    table["candle_corpo"] = (closing - opening).abs()
    table["candle_direcao"] = by_sign(closing - opening, "bull", "bear", "doji")

    table["vol_pct_change"] = volume / previous_volume - 1
    median_volume = median_20(volume)
    table["volume_z_rob_20"] = robust_z_20(volume, median_volume, median_20((volume - median_volume).abs()))
    table["preco_medio_volume"] = table["volumeto"] / volume

    table["max_acum"] = highest_close = per_asset(closing).cummax()
    table["drawdown"] = closing / highest_close - 1
    table["dia_semana"] = table["data"].dt.day_of_week
    table["mes"] = table["data"].dt.month
    table["fechamento_categoria"] = by_sign(closing - previous_close, "acima", "abaixo", "igual")
    table["volume_categoria"] = by_sign(volume - previous_volume, "acima", "abaixo", "igual")

    return table[FEATURE_COLUMNS]


def newest_days(table: pd.DataFrame, days: int) -> pd.DataFrame:
    """The newest `days` rows of each asset."""
    return table.groupby("ativo", sort=False).tail(days).reset_index(drop=True)


def write_table(table: pd.DataFrame, path) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, engine="pyarrow", compression="snappy", index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description="Computes the feature table of raw.csv.")
    parser.add_argument("raw_csv", metavar="RAW_CSV")
    parser.add_argument("out_parquet", metavar="OUT_PARQUET")
    parser.add_argument("--days", type=int, metavar="N", help="keep the newest N days of each asset (after computing)")
    arguments = parser.parse_args()

    table = compute_features(read_raw(arguments.raw_csv))
    if arguments.days is not None:
        table = newest_days(table, arguments.days)
    write_table(table, arguments.out_parquet)
    print(f"{arguments.out_parquet}: {len(table)} rows, {table['ativo'].nunique()} assets, {table.shape[1]} columns")


if __name__ == "__main__":
    main()
