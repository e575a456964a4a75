#!/usr/bin/env python3
"""Writes the tables that the tests of `scorer` read: one logical table as many programs would write it, and others
that are broken or lack something.

    python make_tables.py SAMPLE_FEATURES.parquet OUT_DIR
"""

import datetime
import decimal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

# The pyarrow that belongs to pandas 1 cannot write everything that today's can.
PYARROW = int(pa.__version__.split(".")[0])

# Unsorted; BTC's newest day occurs twice, and SOL has only an old day.
DAYS = ["2025-02-19", "2025-02-20", "2025-02-20", "2025-02-18", "2025-02-19", "2025-02-20"]
BASE = {
    "ativo": ["BTC", "ETH", "BTC", "SOL", "ETH", "BTC"],
    "data": DAYS,
    "fechamento": [97000.5, 2700.25, 98000.25, 170.5, 2650.0, 98500.75],
    "inteiro": [1, 2, 3, 4, 5, 6],
    "falta": [1.5, None, 2.5, None, 3.5, 4.5],
    "sinal": [False, True, False, False, False, True],
    "texto": ["bull", "bear", "doji", None, "bull", "bear"],
}


def base_table(**types: pa.DataType) -> pa.Table:
    """The logical table with some columns of other types."""
    default = {
        "ativo": pa.string(),
        "data": pa.timestamp("ns"),
        "fechamento": pa.float64(),
        "inteiro": pa.int64(),
        "falta": pa.float64(),
        "sinal": pa.bool_(),
        "texto": pa.string(),
    }
    columns = {}
    for name, type_ in (default | types).items():
        values = BASE[name]
        if pa.types.is_date(type_) or pa.types.is_timestamp(type_):
            days = [datetime.datetime.fromisoformat(value) for value in values]
            columns[name] = pa.array(days, pa.timestamp("us")).cast(pa.timestamp("s"))
            if pa.types.is_timestamp(type_) and type_.tz:
                columns[name] = columns[name].cast(pa.timestamp("s", "UTC"))
            columns[name] = columns[name].cast(type_)
        elif pa.types.is_decimal(type_):
            columns[name] = pa.array([None if v is None else decimal.Decimal(str(v)) for v in values], type_)
        else:
            columns[name] = pa.array(values).cast(type_)
    return pa.table(columns)


def variants() -> dict:
    frame = pd.DataFrame(BASE | {"data": pd.to_datetime(pd.Series(DAYS))})
    every = dict.fromkeys(("fechamento", "inteiro", "falta"))
    tables: dict = {
        "pandas": lambda path: frame.to_parquet(path),
        "pandas_nan": lambda path: frame.assign(falta=frame["falta"].astype("float64")).to_parquet(path, index=False),
        "pandas_category": lambda path: frame.astype({"ativo": "category", "texto": "category"}).to_parquet(path),
        "pandas_nullable": lambda path: frame.convert_dtypes().to_parquet(path),
        "pandas_index": lambda path: frame.set_index("ativo", drop=False, append=True)
        .rename_axis([None, "indice"])
        .to_parquet(path),
        "pandas_utc": lambda path: frame.assign(data=frame["data"].dt.tz_localize("UTC")).to_parquet(path),
        "pandas_python_dates": lambda path: frame.assign(data=frame["data"].dt.date).to_parquet(path),
        "text_dates": lambda path: frame.assign(data=DAYS).to_parquet(path),
        "text_instants": lambda path: frame.assign(data=[f"{day} 00:00:00" for day in DAYS]).to_parquet(path),
        "spark": lambda path: pq.write_table(
            strict(base_table(data=pa.timestamp("us"), inteiro=pa.int32()), {"texto", "falta"}),
            path,
            flavor="spark",
            use_deprecated_int96_timestamps=True,
            compression="snappy",
        ),
        "spark_binary_text": lambda path: pq.write_table(
            base_table(ativo=pa.binary(), texto=pa.binary(), data=pa.date32()), path
        ),
        "decimals": lambda path: pq.write_table(
            base_table(fechamento=pa.decimal128(18, 4), falta=pa.decimal128(9, 2)), path
        ),
        "small_row_groups": lambda path: pq.write_table(base_table(), path, row_group_size=2),
        "pages_v2_delta": lambda path: pq.write_table(
            base_table(),
            path,
            data_page_version="2.0",
            use_dictionary=False,
            column_encoding={
                "ativo": "DELTA_LENGTH_BYTE_ARRAY",
                "texto": "DELTA_BYTE_ARRAY",
                "inteiro": "DELTA_BINARY_PACKED",
                "fechamento": "BYTE_STREAM_SPLIT",
            },
        ),
        "no_dictionary": lambda path: pq.write_table(base_table(), path, use_dictionary=False),
        "other_columns": lambda path: pq.write_table(
            base_table()
            .append_column("lista", pa.array([[1], [2, 3], [], None, [4], [5]]))
            .append_column("estrutura", pa.array([{"a": 1, "b": "x"}] * 6))
            .append_column("mapa", pa.array([[("a", 1)]] * 6, pa.map_(pa.string(), pa.int64())))
            .append_column("hora", pa.array([1, 2, 3, 4, 5, 6], pa.time64("us")))
            .append_column("duracao", pa.array([1, 2, 3, 4, 5, 6], pa.duration("ms")))
            .append_column("quando", pa.array([1, 2, 3, 4, 5, 6], pa.timestamp("ms")))
            .append_column("bytes", pa.array([b"\xff\xfe"] * 6)),
            path,
        ),
    }
    if PYARROW >= 20:
        tables["decimals_as_integers"] = lambda path: pq.write_table(
            base_table(fechamento=pa.decimal128(18, 4), falta=pa.decimal128(9, 2)),
            path,
            store_decimal_as_integer=True,
        )
    for unit in ("s", "ms", "us", "ns"):
        tables[f"timestamp_{unit}"] = lambda path, unit=unit: pq.write_table(
            base_table(data=pa.timestamp(unit)), path
        )
        tables[f"timestamp_{unit}_utc"] = lambda path, unit=unit: pq.write_table(
            base_table(data=pa.timestamp(unit, "UTC")), path
        )
    tables["timestamp_named_zone"] = lambda path: pq.write_table(
        base_table(data=pa.timestamp("us", "America/Sao_Paulo")), path
    )
    tables["date32"] = lambda path: pq.write_table(base_table(data=pa.date32()), path)
    tables["date64"] = lambda path: pq.write_table(base_table(data=pa.date64()), path)
    for type_ in (pa.large_string(), *([pa.string_view()] if PYARROW >= 16 else [])):
        tables[str(type_)] = lambda path, type_=type_: pq.write_table(base_table(ativo=type_, texto=type_), path)
    for index in (pa.int8(), pa.int32(), pa.uint16()):
        for value in (pa.string(), pa.large_string()):
            dictionary = pa.dictionary(index, value)
            tables[f"dictionary_{index}_{value}"] = lambda path, dictionary=dictionary: pq.write_table(
                base_table(ativo=dictionary, texto=dictionary), path
            )
    for type_ in (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()):
        tables[str(type_)] = lambda path, type_=type_: pq.write_table(base_table(inteiro=type_), path)
    tables["float32"] = lambda path: pq.write_table(base_table(**{name: pa.float32() for name in every}), path)
    for codec in ("none", "snappy", "gzip", "zstd", "lz4", "brotli"):
        tables[f"codec_{codec}"] = lambda path, codec=codec: pq.write_table(base_table(), path, compression=codec)
    return tables


def strict(table: pa.Table, optional: set) -> pa.Table:
    """The same table with required fields and without metadata."""
    fields = [field.with_nullable(field.name in optional).remove_metadata() for field in table.schema]
    return pa.table(table.columns, schema=pa.schema(fields))


def broken(good: bytes) -> dict:
    table = base_table()
    missing = pa.nulls(6, pa.string())

    def replaced(name: str, column) -> pa.Table:
        return table.set_column(table.schema.get_field_index(name), name, column)

    rng = np.random.default_rng(1)
    return {
        "empty_file": b"",
        "magic_only": b"PAR1PAR1",
        "garbage": rng.bytes(100_000),
        "truncated": good[: len(good) // 2],
        "beheaded": good[len(good) // 2 :],
        "no_asset_column": table.drop_columns(["ativo"]),
        "no_date_column": table.drop_columns(["data"]),
        "asset_is_a_number": replaced("ativo", pa.array([1, 2, 3, 4, 5, 6])),
        "date_is_a_number": replaced("data", pa.array([1.0, 2, 3, 4, 5, 6])),
        "no_rows": table.slice(0, 0),
        "no_assets": replaced("ativo", missing),
        "no_symbols": replaced("ativo", pa.array(["", " ", "A B", "Ξ", "x" * 99, None])),
    }


def partly_usable() -> dict:
    table = base_table()
    place = table.schema.get_field_index
    return {
        "some_symbols": table.set_column(place("ativo"), "ativo", pa.array(["btc", "ETH", " BTC ", None, "A B", "A B"])),
        "some_dates": table.set_column(
            place("data"), "data", pa.array(["2025-02-19", None, "NaT", "x", "2025-01-01", "2025-02-18"])
        ),
        "no_dates": table.set_column(place("data"), "data", pa.nulls(6)),
        "infinite": table.set_column(place("falta"), "falta", pa.array([np.inf, -np.inf, np.nan, None, 1.0, np.inf])),
    }


def of_the_sample(features: pd.DataFrame, out: Path) -> None:
    """Variations of the sample bucket's feature table."""
    newest = features["data"].max()
    btc = features[(features["ativo"] == "BTC") & (features["data"] == newest)]
    day_later = btc.assign(data=newest + pd.Timedelta(days=1), fechamento=btc["fechamento"] * 2)
    pd.concat([features, day_later]).to_parquet(out / "day_later.parquet", index=False)
    features.drop(columns=["fechamento", "mes"]).to_parquet(out / "lacks_columns.parquet", index=False)
    features[features["data"] < newest].to_parquet(out / "day_earlier.parquet", index=False)
    infinite = features.copy()
    infinite.loc[(infinite["ativo"] == "BTC") & (infinite["data"] == newest), "fechamento"] = np.inf
    infinite.to_parquet(out / "infinite_btc.parquet", index=False)
    candles = features[["ativo", "data", "maximo", "minimo", "abertura", "fechamento", "volumefrom", "volumeto"]]
    candles.insert(2, "timestamp", 0)
    candles.to_csv(out / "raw.csv", sep="|", index=False, date_format="%Y-%m-%d")
    for asset, rows in features.groupby("ativo"):
        folder = out / "data" / asset
        folder.mkdir(parents=True)
        rows.sort_values("data").to_csv(folder / f"{asset}_{newest:%Y-%m-%d}.csv", index=False)


def main() -> None:
    features, out = pd.read_parquet(sys.argv[1]), Path(sys.argv[2])
    for folder in ("variants", "broken", "partly", "sample"):
        (out / folder).mkdir(parents=True)
    for name, write in variants().items():
        write(out / "variants" / f"{name}.parquet")
    good = (out / "variants" / "pandas.parquet").read_bytes()
    for folder, tables in (("broken", broken(good)), ("partly", partly_usable())):
        for name, content in tables.items():
            path = out / folder / f"{name}.parquet"
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                pq.write_table(content, path)
    of_the_sample(features, out / "sample")


if __name__ == "__main__":
    main()
