"""Checks the feature job against the table's definition, one row and one window at a time.

python -m unittest discover glue
"""

import datetime
import io
import math
import unittest
from statistics import median, stdev

import features
import numpy as np
import synthetic_prices

NAN = math.nan


def known(values):
    return [value for value in values if math.isfinite(value)]


def finite(value):
    return value if math.isfinite(value) else NAN


def divided(a, b):
    """a / b as floating point has it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(a) / np.float64(b))


def quantile(values, share):
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def sign_word(change, positive, negative, zero):
    return positive if change > 0 else negative if change < 0 else zero if change == 0 else "nan"


class Asset:
    """One asset's candles, and each feature of row `i` straight from its definition."""

    def __init__(self, candles):
        self.dates = list(candles["data"])
        for column in features.PRICE_AND_VOLUME_COLUMNS:
            setattr(self, column, [float(value) for value in candles[column]])
        self.high = [value if value > 0 else NAN for value in self.maximo]
        self.low = [value if value > 0 else NAN for value in self.minimo]

    @staticmethod
    def window(values, i, width, at_least, statistic):
        """`statistic` of the known values among the last `width`, if there are enough."""
        chosen = known(values[max(0, i - width + 1) : i + 1])
        return statistic(chosen) if len(chosen) >= at_least else NAN

    @staticmethod
    def previous(values, i):
        return values[i - 1] if i else NAN

    def mean(self, values, i, width, at_least=1):
        return self.window(values, i, width, at_least, lambda chosen: math.fsum(chosen) / len(chosen))

    def median_20(self, values, i):
        return self.window(values, i, 20, 3, median)

    def mad_20(self, values, i):
        return self.median_20([abs(value - self.median_20(values, j)) for j, value in enumerate(values)], i)

    def robust_z_20(self, values, i):
        mad = self.mad_20(values, i)
        return NAN if mad == 0 else divided(values[i] - self.median_20(values, i), 1.4826 * mad)

    def daily_return(self, i):
        before = self.previous(self.fechamento, i)
        return divided(self.fechamento[i] - before, before)

    def true_range(self, i):
        before = self.previous(self.fechamento, i)
        ranges = [abs(self.high[i] - self.low[i]), abs(self.high[i] - before), abs(self.low[i] - before)]
        return max((value for value in ranges if not math.isnan(value)), default=NAN)

    def log_range(self, i):
        return math.log((self.high[i] + 1e-9) / (self.low[i] + 1e-9)) ** 2

    def row(self, i):
        close, opening, high, low = self.fechamento[i], self.abertura[i], self.high[i], self.low[i]
        volume, rows = self.volumefrom, range(len(self.dates))
        previous_close, previous_volume = self.previous(self.fechamento, i), self.previous(volume, i)
        logs = [math.log(value + 1e-9) if value > 0 else NAN for value in self.fechamento]
        returns = [self.daily_return(j) for j in range(i + 1)]
        # Once a return is infinite the running sum stays so.
        accumulated = sum(value for value in returns if not math.isnan(value))
        highest = max(known(self.fechamento[: i + 1]), default=NAN)
        log_ranges = [self.log_range(j) for j in rows]
        body = NAN if math.isnan(opening) or math.isnan(close) else abs(close - opening)
        return {
            "maximo": high,
            "minimo": low,
            "abertura": opening,
            "fechamento": close,
            "volumefrom": volume[i],
            "volumeto": self.volumeto[i],
            "fech_prev": previous_close,
            "abert_prev": self.previous(self.abertura, i),
            "vol_prev": previous_volume,
            "retorno_diario": returns[i],
            "retorno_log": logs[i] - self.previous(logs, i),
            "retorno_acumulado": accumulated if not math.isnan(returns[i]) else NAN,
            "valor_mm_5": self.mean(self.fechamento, i, 5),
            "valor_mm_20": self.mean(self.fechamento, i, 20),
            "volatilidade_5": self.window(self.fechamento, i, 5, 2, stdev),
            "abertura_mm_5": self.mean(self.abertura, i, 5),
            "abertura_mm_20": self.mean(self.abertura, i, 20),
            "volume_mm_5": self.mean(volume, i, 5),
            "volume_mm_20": self.mean(volume, i, 20),
            "mediana_20": self.median_20(self.fechamento, i),
            "mad_20": self.mad_20(self.fechamento, i),
            "iqr_20": self.window(self.fechamento, i, 20, 5, lambda c: quantile(c, 0.75) - quantile(c, 0.25)),
            "z_robusto_20": self.robust_z_20(self.fechamento, i),
            "hl_log2": log_ranges[i],
            "parkinson_10": math.sqrt(self.mean(log_ranges, i, 10, 5) / (4 * math.log(2))),
            "atr_14": self.mean([self.true_range(j) for j in rows], i, 14, 3),
            "pos_no_range": NAN if high == low else divided(close - low, high - low),
            "shadow_superior": high - max(opening, close) if body >= 0 else NAN,
            "shadow_inferior": min(opening, close) - low if body >= 0 else NAN,
            "candle_corpo": body,
            "candle_direcao": sign_word(close - opening, "bull", "bear", "doji"),
            "vol_pct_change": divided(volume[i], previous_volume) - 1,
            "volume_z_rob_20": self.robust_z_20(volume, i),
            "preco_medio_volume": divided(self.volumeto[i], volume[i]),
            "max_acum": highest,
            "drawdown": close / highest - 1,
            "dia_semana": self.dates[i].weekday(),
            "mes": self.dates[i].month,
            "fechamento_categoria": sign_word(close - previous_close, "acima", "abaixo", "igual"),
            "volume_categoria": sign_word(volume[i] - previous_volume, "acima", "abaixo", "igual"),
        }


class FeatureTable(unittest.TestCase):
    def test_every_column_is_as_defined(self):
        text = synthetic_prices.raw_csv(["BTC", "PEPE"], days=60, last_day=datetime.date(2025, 2, 20), seed=7)
        raw = features.read_raw(io.StringIO(text))
        table = features.compute_features(raw)
        self.assertEqual(list(table.columns), features.FEATURE_COLUMNS)
        for name, candles in raw.groupby("ativo"):
            asset = Asset(candles)
            rows = table[table["ativo"] == name].reset_index(drop=True)
            for i in range(len(rows)):
                for column, expected in asset.row(i).items():
                    with self.subTest(asset=name, row=i, column=column):
                        self.compare(rows.loc[i, column], expected)

    def compare(self, computed, expected):
        if isinstance(expected, str):
            self.assertEqual(computed, expected)
        else:
            np.testing.assert_allclose(computed, finite(expected), rtol=1e-9, atol=1e-12)

    def test_newest_days_are_kept_after_computing(self):
        text = synthetic_prices.raw_csv(["BTC", "ETH"], days=40, last_day=datetime.date(2025, 2, 20), seed=7)
        table = features.compute_features(features.read_raw(io.StringIO(text)))
        newest = features.newest_days(table, 3)
        self.assertEqual(len(newest), 6)
        self.assertFalse(newest["valor_mm_20"].isna().any())

    def test_rows_without_asset_or_date_are_left_out(self):
        text = "header\nBTC|2025-01-02|0|2|1|1|2|1|1\nBTC|someday|0|2|1|1|2|1|1\n|2025-01-02|0|2|1|1|2|1|1\n"
        self.assertEqual(len(features.read_raw(io.StringIO(text))), 1)


if __name__ == "__main__":
    unittest.main()
