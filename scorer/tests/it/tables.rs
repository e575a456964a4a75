//! Tables as pandas, pyarrow and Spark write them, and broken ones.

use std::{fs, path::PathBuf};

use jiff::civil::{Date, date};
use models::Column;
use scorer::{
    features::read_asset,
    tables::{NewestRows, TableError, TableLimits, newest_row_of_csv, read_parquet},
};

use crate::world::{SAMPLE_TABLE, python_tables, sample_bucket};

fn newest(content: &[u8]) -> Result<NewestRows, TableError> {
    NewestRows::from_parquet(content.to_vec(), &TableLimits::default())
}

fn tables(folder: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(python_tables().join(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, fs::read(path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

fn numbers<'a>(rows: &'a NewestRows, column: &str) -> &'a [f64] {
    match rows.table.column(column) {
        Some(Column::Number(numbers)) => numbers,
        other => panic!("{column}: {other:?}"),
    }
}

fn texts<'a>(rows: &'a NewestRows, column: &str) -> Vec<Option<&'a str>> {
    match rows.table.column(column) {
        Some(Column::Text(text)) => (0..text.len()).map(|row| text.get(row)).collect(),
        other => panic!("{column}: {other:?}"),
    }
}

fn assets(rows: &NewestRows) -> Vec<(&str, Option<Date>)> {
    rows.assets.iter().map(|(asset, date)| (asset.as_str(), *date)).collect()
}

#[test]
fn one_table_in_every_guise_gives_the_same_rows() {
    let (feb_18, feb_20) = (date(2025, 2, 18), date(2025, 2, 20));
    for (name, content) in tables("variants") {
        let rows = newest(&content).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            assets(&rows),
            [("BTC", Some(feb_20)), ("ETH", Some(feb_20)), ("SOL", Some(feb_18))],
            "{name}"
        );
        assert_eq!(texts(&rows, "ativo"), [Some("BTC"), Some("ETH"), Some("SOL")], "{name}");
        assert_eq!(texts(&rows, "texto"), [Some("bear"), Some("bear"), None], "{name}");
        assert_eq!(numbers(&rows, "fechamento"), [98500.75, 2700.25, 170.5], "{name}");
        assert_eq!(numbers(&rows, "inteiro"), [6.0, 2.0, 4.0], "{name}");
        assert_eq!(numbers(&rows, "sinal"), [1.0, 1.0, 0.0], "{name}");
        let missing = numbers(&rows, "falta");
        assert_eq!(missing[0], 4.5, "{name}");
        assert!(missing[1].is_nan() && missing[2].is_nan(), "{name}");
        assert_eq!(rows.unusable, [], "{name}");
    }
}

#[test]
fn columns_that_no_model_can_use_are_left_out() {
    let (_, content) = tables("variants").into_iter().find(|(name, _)| name == "other_columns").unwrap();
    let rows = newest(&content).unwrap();
    let names: Vec<&str> = rows.table.columns().map(|(name, _)| name).collect();
    assert_eq!(names, ["ativo", "fechamento", "inteiro", "falta", "sinal", "texto", "duracao"]);
}

#[test]
fn a_broken_table_is_an_error_that_says_what_is_wrong() {
    for (name, content) in tables("broken") {
        let error = newest(&content).expect_err(&name);
        let fits = match (name.as_str(), &error) {
            ("no_asset_column", TableError::MissingColumn(column)) => column == "ativo",
            ("no_date_column", TableError::MissingColumn(column)) => column == "data",
            ("asset_is_a_number", TableError::WrongType { column, .. }) => column == "ativo",
            ("date_is_a_number", TableError::WrongType { column, .. }) => column == "data",
            ("no_rows", TableError::NoRows { unusable }) => unusable.is_empty(),
            ("no_assets", TableError::NoRows { unusable }) => unusable[0].rows == 6,
            ("no_symbols", TableError::NoRows { unusable }) => {
                unusable.iter().map(|rows| rows.rows).sum::<usize>() == 6
            }
            (
                "empty_file" | "magic_only" | "garbage" | "truncated" | "beheaded",
                TableError::Unreadable { .. },
            ) => true,
            _ => false,
        };
        assert!(fits, "{name}: {error}");
    }
}

#[test]
fn flipped_bits_cost_an_error_and_never_more() {
    let good = fs::read(python_tables().join("variants/pandas_category.parquet")).unwrap();
    // Deterministic, and dense over the index at the end of the file.
    for step in 0..1500_usize {
        let mut content = good.clone();
        let at = good.len() - 1 - (step * 7) % good.len();
        content[at] ^= 1 << (step % 8);
        let limits = TableLimits { bytes: 1 << 20, rows: 10_000, ..TableLimits::default() };
        // Either way; what counts is that it returns.
        let _ = NewestRows::from_parquet(content, &limits);
    }
}

#[test]
fn unusable_rows_cost_only_themselves() {
    let partly: Vec<(String, NewestRows)> =
        tables("partly").into_iter().map(|(name, content)| (name, newest(&content).unwrap())).collect();
    let rows = |wanted: &str| &partly.iter().find(|(name, _)| name == wanted).unwrap().1;

    let some = rows("some_symbols");
    let feb_20 = Some(date(2025, 2, 20));
    assert_eq!(assets(some), [("BTC", feb_20), ("ETH", feb_20)]);
    assert_eq!(numbers(some, "fechamento"), [98000.25, 2700.25], "`btc` and ` BTC ` are one asset");
    let reasons: Vec<(usize, &str)> =
        some.unusable.iter().map(|rows| (rows.rows, rows.reason.as_str())).collect();
    assert_eq!(reasons[0], (1, r#""ativo" is missing"#));
    assert!(reasons[1].0 == 2 && reasons[1].1.starts_with(r#""A B""#), "{reasons:?}");

    let dates = rows("some_dates");
    assert_eq!(
        assets(dates),
        [("BTC", Some(date(2025, 2, 19))), ("ETH", Some(date(2025, 1, 1))), ("SOL", None)],
        "a row without a day is older than every other"
    );
    assert_eq!(
        numbers(rows("no_dates"), "inteiro"),
        [6.0, 5.0, 4.0],
        "without days the last row is the newest"
    );
    assert_eq!(numbers(rows("infinite"), "falta")[0], f64::INFINITY);
}

#[test]
fn limits_hold() {
    let good = fs::read(python_tables().join("variants/pandas.parquet")).unwrap();
    for (limits, unit) in [
        (TableLimits { bytes: 100, ..TableLimits::default() }, "bytes"),
        (TableLimits { rows: 5, ..TableLimits::default() }, "rows"),
        (TableLimits { cells: 5, ..TableLimits::default() }, "cells"),
    ] {
        let error = NewestRows::from_parquet(good.clone(), &limits).unwrap_err();
        assert!(matches!(&error, TableError::TooLarge { unit: found, .. } if *found == unit), "{error}");
    }
}

/// polars makes a cell for each line and each column: of this, 160 million.
#[test]
fn a_small_csv_that_stands_for_a_huge_table_is_refused_before_it_is_unfolded() {
    let columns: Vec<String> = (0..20_000).map(|number| format!("c{number}")).collect();
    let lines = "1\n".repeat(8_000);
    for beginning in ["", "\n\n", "\u{feff}", "\"quoted\n\n\","] {
        let content = format!("{beginning}{}\n{lines}", columns.join(","));
        let btc = "BTC".parse().unwrap();
        let limits = TableLimits::default();
        let row = newest_row_of_csv(content.as_bytes(), &btc, &limits).map(drop);
        let candles = read_asset(content.as_bytes(), &btc, &limits).map(drop);
        for refused in [row, candles] {
            assert!(
                matches!(&refused, Err(TableError::TooLarge { unit: "cells", .. })),
                "{beginning:?}: {refused:?}"
            );
        }
    }
}

/// Of two thousand tables with a hundred columns each that no other has, 400 million cells would be made.
#[test]
fn tables_of_assets_with_columns_of_their_own_are_bounded_together() {
    let limits = TableLimits::default();
    let row = |number: usize, columns: usize| {
        let asset = format!("A{number}").parse().unwrap();
        let names: Vec<String> = (0..columns).map(|column| format!("c{number}_{column}")).collect();
        newest_row_of_csv(format!("{}\n1\n", names.join(",")).as_bytes(), &asset, &limits)
    };
    let rows: Vec<_> = (0..2000).map(|number| row(number, 100).unwrap()).collect();
    assert!(NewestRows::from_asset_rows(&rows[..100]).is_ok());
    let refused = NewestRows::from_asset_rows(&rows);
    assert!(matches!(&refused, Err(TableError::TooLarge { unit: "cells", .. })), "{refused:?}");
    let refused = row(0, 2000);
    assert!(matches!(&refused, Err(TableError::TooLarge { unit: "columns", .. })), "{refused:?}");
}

#[test]
fn a_whole_table_has_all_rows_of_the_columns_that_were_asked_for() {
    let content = fs::read(sample_bucket().join(SAMPLE_TABLE)).unwrap();
    let whole = read_parquet(&content, None, &TableLimits::default()).unwrap();
    assert!(whole.rows() > 1000);
    assert!(whole.column("data").is_none() && whole.column("ativo").is_some());
    let some =
        read_parquet(&content, Some(&["fechamento", "ativo", "nothing"]), &TableLimits::default()).unwrap();
    let names: Vec<&str> = some.columns().map(|(name, _)| name).collect();
    assert_eq!((names, some.rows()), (vec!["ativo", "fechamento"], whole.rows()));
    assert_eq!(some.column("fechamento"), whole.column("fechamento"));
}

#[test]
fn the_last_row_of_a_csv_is_the_newest() {
    let btc = "BTC".parse().unwrap();
    let limits = TableLimits::default();
    let content = b"ativo,data,fechamento,texto\nBTC,2025-02-20,1.5,\"a,b\"\nbtc,2025-02-19,2.50,\n";
    let row = newest_row_of_csv(content, &btc, &limits).unwrap();
    assert_eq!(row.date(), Some(date(2025, 2, 19)));
    let without_asset =
        newest_row_of_csv(b"data,fechamento,so_eth\r\n2025-02-20,3,x\r\n", &"ETH".parse().unwrap(), &limits);
    let rows = NewestRows::from_asset_rows([&without_asset.unwrap(), &row]).unwrap();
    assert_eq!(texts(&rows, "ativo"), [Some("btc"), Some("ETH")]);
    assert_eq!(texts(&rows, "fechamento"), [Some("2.50"), Some("3")]);
    assert_eq!(texts(&rows, "so_eth"), [None, Some("x")]);

    for unusable in
        ["", "\n", "ativo,data\n", "ativo,data\nETH,2025-02-20\n", "a,a\n1,2\n3\n\"", "\u{0}\u{0}"]
    {
        let row = newest_row_of_csv(unusable.as_bytes(), &btc, &limits);
        let rows = row.and_then(|row| NewestRows::from_asset_rows([&row]));
        assert!(
            rows.is_err() || unusable.contains('\u{0}') || unusable.starts_with("a,a"),
            "{unusable:?}: {rows:?}"
        );
    }
}
