"""Daily candles that look like a crypto market's, for samples and benchmarks that need no real data."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd

# Each asset's price on the first day, and how strongly it moves.
ASSETS = {
    "BTC": (94_000.0, 0.8), "ETH": (3_300.0, 1.0), "SOL": (190.0, 1.4), "ADA": (0.85, 1.3),
    "XRP": (2.1, 1.2), "DOGE": (0.32, 1.5), "DOT": (6.7, 1.2), "LTC": (103.0, 1.1),
    "AAVE": (310.0, 1.3), "AVAX": (36.0, 1.3), "BCH": (435.0, 1.1), "BGB": (5.9, 1.2),
    "BNB": (700.0, 0.8), "ETC": (25.0, 1.2), "HBAR": (0.27, 1.5), "HYPE": (26.0, 1.8),
    "LEO": (9.2, 0.5), "LINK": (20.0, 1.3), "NEAR": (5.0, 1.4), "OM": (3.7, 1.7),
    "PEPE": (0.00002, 2.0), "SHIB": (0.000021, 1.6), "SUI": (4.2, 1.6), "TON": (5.5, 1.0),
    "TRX": (0.25, 0.8), "UNI": (13.0, 1.4), "XLM": (0.33, 1.3), "XMR": (190.0, 0.9),
}  # fmt: skip
HOURS = 24


def candles(assets: list[str], days: int, last_day: datetime.date, seed: int) -> pd.DataFrame:
    """Candles of `days` days up to `last_day`: one market that moves all assets, and each asset's own walk."""
    rng = np.random.default_rng(seed)
    # Volatility comes in spells: its logarithm is a slowly mean-reverting walk.
    log_volatility = np.zeros(days)
    for day in range(1, days):
        log_volatility[day] = 0.93 * log_volatility[day - 1] + rng.normal(0, 0.2)
    daily_volatility = 0.03 * np.exp(log_volatility)
    market_steps = rng.normal(0, 1, (days, HOURS)) * daily_volatility[:, None] / np.sqrt(HOURS)
    dates = [last_day - datetime.timedelta(days=days - 1 - day) for day in range(days)]

    tables = []
    for asset in assets:
        first_price, beta = ASSETS[asset]
        own_steps = rng.standard_t(4, (days, HOURS)) / np.sqrt(2) * 0.6 * daily_volatility[:, None] / np.sqrt(HOURS)
        path = first_price * np.exp(np.cumsum((beta * market_steps + own_steps).ravel())).reshape(days, HOURS)
        closing = path[:, -1]
        opening = np.concatenate([[first_price], closing[:-1]])
        swing = (path.max(axis=1) - path.min(axis=1)) / opening
        volume = 1e9 / opening * (0.3 + 10 * swing) * rng.lognormal(0, 0.3, days)
        tables.append(
            pd.DataFrame(
                {
                    "ativo": asset,
                    "data": [date.isoformat() for date in dates],
                    "timestamp": [(date - datetime.date(1970, 1, 1)).days * 86_400 for date in dates],
                    "maximo": np.maximum(path.max(axis=1), opening),
                    "minimo": np.minimum(path.min(axis=1), opening),
                    "abertura": opening,
                    "fechamento": closing,
                    "volumefrom": volume,
                    "volumeto": volume * path.mean(axis=1),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def raw_csv(assets: list[str], days: int, last_day: datetime.date, seed: int) -> str:
    """The text of a `raw.csv`, with a few of the blemishes that real ones have."""
    table = candles(assets, days, last_day, seed)
    text = table.copy()
    for column in ("maximo", "minimo", "abertura", "fechamento", "volumefrom"):
        text[column] = table[column].map("{:.8g}".format)
    text["volumeto"] = table["volumeto"].map("{:.0f}".format)

    rng = np.random.default_rng([seed, 1])
    for asset in assets:
        rows = text.index[text["ativo"] == asset]
        # A listing day knows no low and no volume.
        text.loc[rows[0], ["minimo", "volumefrom", "volumeto"]] = ["0.0", "0.0", "0"]
        # Later some values are missing, infinite or no numbers at all, but not in the newest days.
        for value, column in [
            ("", "abertura"),
            ("", "maximo"),
            ("inf", "volumefrom"),
            ("0.0", "volumefrom"),
            ("n/a", "minimo"),
        ]:
            text.loc[rng.choice(rows[1:-30]), column] = value
    return text.to_csv(sep="|", index=False, lineterminator="\n")
