#!/usr/bin/env python3
"""Candles that are hard on a feature job, and whether tables computed from them are right.

    python feature_tables.py make DIR [RAW_CSV...]   # DIR/{case}.csv
    python feature_tables.py compare DIR             # DIR/{case}.csv with DIR/{case}.parquet
    python feature_tables.py training DIR            # DIR/training.csv with what the training job makes of DIR/sample.parquet

The reference is `glue/features.py`, with one exception. pandas carries the sums of its rolling means and deviations
from row to row, and with them the rounding of values that have long left the window: on real candles its deviations
are wrong in every digit in places. Those columns are compared with windows that are each computed from their own rows
with exact sums, or in extended precision.
"""

import datetime
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "glue"))
import features  # noqa: E402
import synthetic_prices  # noqa: E402

LAST_DAY = datetime.date(2025, 2, 20)
RELATIVE = 1e-9
# The difference of two logarithms is as exact as the logarithms are.
ABSOLUTE = {"retorno_log": 1e-14}


# Candles.

# Cells that are missing, and numbers written in other ways than a feature job would write them.
CELLS = ["", "nan", "n/a", "-", "1,5", "1_000", "0x10", "1e", "inf", "-inf", "1e400", "١٢", "1 2", "NaN", "None"]
ODD_NUMBERS = [" 2.5 ", "+3", "1e3", "4.", ".5", "-1.25", "0", "0.0", "-0.0", "1e-100"]
NO_DAYS = ["", "nan", "2025-02-30", "20/02/2025", "2025-02-01T00:00:00", "yesterday"]


def line(asset, day, *numbers) -> str:
    return "|".join([asset, str(day), "0", *map(str, numbers)])


def days(count: int, last_day: datetime.date = LAST_DAY) -> list:
    return [last_day - datetime.timedelta(days=count - 1 - day) for day in range(count)]


def hostile(rng: np.random.Generator, assets: int, rows: int) -> list:
    """Lines of assets that each have a few things wrong with them."""
    lines = []
    for asset in range(assets):
        name = f"X{asset}"
        count = int(rng.integers(1, rows + 1))
        calendar = days(count)
        if rng.random() < 0.5:
            # Gaps, and days that occur twice.
            calendar = sorted(calendar[place] for place in rng.integers(0, count, count))
        kind = rng.integers(6)
        price = np.exp(np.cumsum(rng.normal(0, 0.05, count))) * 10.0 ** rng.integers(-9, 6)
        if kind == 0:
            price = np.full(count, float(price[0]))  # constant
        elif kind == 1:
            price = np.repeat(price, 7)[:count]  # constant for a while
        elif kind == 2:
            price = price - np.median(price)  # of both signs
        candle = np.stack([price * 1.02, price * 0.97, price * 1.001, price, np.abs(price) * 1e4, price**2 * 1e4], axis=1)
        if kind == 3:
            candle = np.round(candle, 2)
        cells = [[repr(float(cell)) for cell in row] for row in candle]
        for row in cells:
            for place in np.flatnonzero(rng.random(6) < 0.08):
                row[place] = str(rng.choice(CELLS + ODD_NUMBERS))
        lines += [
            line(name, day if rng.random() < 0.98 else rng.choice(NO_DAYS), *row)
            for day, row in zip(calendar, cells)
        ]
    return lines


def cases(rng: np.random.Generator) -> dict:
    symbols = list(synthetic_prices.ASSETS)
    market = synthetic_prices.raw_csv(symbols, days=90, last_day=LAST_DAY, seed=3).splitlines()
    unsorted = hostile(rng, 40, 60)
    rng.shuffle(unsorted)
    spike = days(4000)
    spiked = [line("SPIKE", day, 2 + place % 7, 1 + place % 3, 1.5, 1 + 0.1 * (place % 11), place % 13, place) for place, day in enumerate(spike)]
    spiked[40] = line("SPIKE", spike[40], 1e18, 1e17, 1e17, 3e17, 1e19, 1e19)
    candle = (2, 1, 1, 1.5, 10, 15)
    return {
        "market": market,
        "one_asset": market[:1] + [row for row in market if row.startswith("BTC|")],
        "one_row_each": ["h"] + [line(symbol, LAST_DAY, *candle) for symbol in symbols],
        "one_row": ["h", line("BTC", LAST_DAY, *candle)],
        "hostile": ["h"] + hostile(rng, 60, 150),
        "unsorted": ["h"] + unsorted,
        "many_assets": ["h"] + hostile(rng, 5000, 8),
        "spike": ["h"] + spiked,
        "symbols": ["h"]
        + [line(name, day, *candle) for name in ["btc", " BTC", "BTC", "Ξ", "NA", "nan", "B C", "é" * 99, ""] for day in days(3)],
        "lines": ["h", "", "BTC|2025-01-01", line("BTC", "2025-01-02", 2, 1), "   ", '"BTC"|"2025-01-03"|0|"3"|1|1|"2"|1|1', ""],
        "no_numbers": ["h"] + [line("BTC", day, *[""] * 6) for day in days(30)],
    }


def make(out: Path, raw_files: list) -> None:
    for name, lines in cases(np.random.default_rng(11)).items():
        end = "\r\n" if name == "lines" else "\n"
        (out / f"{name}.csv").write_text(end.join(map(str, lines)) + end, encoding="utf-8", newline="")
    for place, path in enumerate(raw_files):
        shutil.copy(path, out / ("sample.csv" if place == 0 else f"raw_{place}.csv"))


# Comparison.


class Windows:
    """Windows of candles, each of its own rows: of all assets at once, since there may be thousands."""

    WIDEST = 20

    def __init__(self, candles: pd.DataFrame) -> None:
        asset = candles.groupby("ativo", sort=False).ngroup().to_numpy()
        # Before the first row of each asset there are rows without values.
        self.places = np.arange(len(candles)) + (self.WIDEST - 1) * (asset + 1)

    def of(self, values, width: int) -> np.ndarray:
        numbers = np.asarray(values, dtype=np.longdouble)
        apart = np.full(self.places[-1] + 1, np.nan, np.longdouble)
        apart[self.places] = np.where(np.isfinite(numbers), numbers, np.nan)
        return np.lib.stride_tricks.sliding_window_view(apart, width)[self.places - (width - 1)]

    def mean(self, values, width: int, at_least: int) -> np.ndarray:
        window = self.of(values, width)
        known = (~np.isnan(window)).sum(axis=1)
        sums = np.array([math.fsum(row) for row in np.nan_to_num(window).astype("float64").tolist()])
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(known >= at_least, sums / known, np.nan)

    def deviation(self, values, width: int, at_least: int) -> np.ndarray:
        window = self.of(values, width)
        known = (~np.isnan(window)).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            centred = window - (np.nansum(window, axis=1) / known)[:, None]
            # A window of equal values has none, whatever the mean was rounded to.
            highest, lowest = (np.where(np.isnan(window), end, window) for end in (-np.inf, np.inf))
            centred[highest.max(axis=1) == lowest.min(axis=1)] = 0
            return np.where(known >= at_least, np.sqrt(np.nansum(centred**2, axis=1) / (known - 1)), np.nan)


def windowed_columns(candles: pd.DataFrame) -> dict:
    """The columns that pandas would carry sums for."""
    windows = Windows(candles)
    opening, closing, volume = candles["abertura"], candles["fechamento"], candles["volumefrom"]
    high, low = (candles[column].where(candles[column] > 0) for column in ("maximo", "minimo"))
    before = closing.groupby(candles["ativo"], sort=False).shift(1)
    ranges = pd.concat([(high - low).abs(), (high - before).abs(), (low - before).abs()], axis=1)
    log_ranges = np.log((high + 1e-9) / (low + 1e-9)) ** 2
    return {
        "valor_mm_5": windows.mean(closing, 5, 1),
        "valor_mm_20": windows.mean(closing, 20, 1),
        "volatilidade_5": windows.deviation(closing, 5, 2),
        "abertura_mm_5": windows.mean(opening, 5, 1),
        "abertura_mm_20": windows.mean(opening, 20, 1),
        "volume_mm_5": windows.mean(volume, 5, 1),
        "volume_mm_20": windows.mean(volume, 20, 1),
        "parkinson_10": np.sqrt(windows.mean(log_ranges, 10, 5) / (4 * math.log(2))),
        "atr_14": windows.mean(ranges.max(axis=1), 14, 3),
    }


def expected(csv: Path) -> pd.DataFrame:
    raw = features.read_raw(csv)
    table = features.compute_features(raw)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        columns = windowed_columns(raw)
    for column, values in columns.items():
        exact = values.astype("float64")
        carried = np.abs(table[column].to_numpy() - exact)
        # The same definition all the same: what pandas rounds away is small beside the largest value there is.
        assert not (carried > 1e-6 * np.nanmax(np.abs(exact), initial=0)).any(), column
        table[column] = exact
    return table


def differences(ours: pd.DataFrame, reference: pd.DataFrame):
    if list(ours.columns) != list(reference.columns) or len(ours) != len(reference):
        yield f"{ours.shape}, {list(ours.columns)} where {reference.shape}, {list(reference.columns)} is expected"
        return
    for column in reference:
        a, b = ours[column], reference[column]
        if a.dtype != b.dtype and not column == "data":
            yield f"{column}: {a.dtype} where {b.dtype} is expected"
        if a.dtype.kind in "fi":
            a, b = a.to_numpy(float), b.to_numpy(float)
            tolerance = RELATIVE * np.maximum(np.abs(a), np.abs(b)) + ABSOLUTE.get(column, 0)
            wrong = (np.isnan(a) != np.isnan(b)) | (np.abs(a - b) > tolerance)
        else:
            wrong = (a.astype(object) != b.astype(object)).to_numpy()
        for row in np.flatnonzero(wrong)[:3]:
            place = f"{reference['ativo'].iloc[row]} {reference['data'].iloc[row]:%Y-%m-%d}"
            yield f"{column}: {ours[column].iloc[row]!r} where {reference[column].iloc[row]!r} is expected ({place}; {wrong.sum()} rows)"


def compare(folder: Path) -> list:
    found, compared = [], 0
    for csv in sorted(folder.glob("*.csv")):
        reference = expected(csv)
        found += [f"{csv.stem}: {text}" for text in differences(pd.read_parquet(csv.with_suffix(".parquet")), reference)]
        compared += len(reference)
    print(f"{compared} rows")
    return found


def training(folder: Path) -> list:
    import train_models

    reference = train_models.training_rows(pd.read_parquet(folder / "sample.parquet")).drop(columns="max_acum")
    reference["data"] = (reference["data"] - pd.Timestamp("1970-01-01")).dt.days
    ours = pd.read_csv(folder / "training.csv", sep="|", keep_default_na=False, na_values=[""])
    found = [] if list(ours.columns) == list(reference.columns) else [f"{list(ours.columns)}, {list(reference.columns)}"]
    for column in reference:
        a, b = ours[column], reference[column]
        same = (a == b) | (a.isna() & b.isna()) if len(a) == len(b) else pd.Series([False])
        if not same.all():
            found.append(f"{column}: {(~same).sum()} rows differ")
    return found


def main() -> None:
    verb, folder, *others = sys.argv[1:]
    if verb == "make":
        make(Path(folder), others)
        return
    found = {"compare": compare, "training": training}[verb](Path(folder))
    if found:
        raise SystemExit("\n".join(found))


if __name__ == "__main__":
    main()
