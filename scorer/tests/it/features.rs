//! Feature tables computed from candles, against `glue/features.py` and against themselves.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use jiff::civil::date;
use models::{Column, Table};
use scorer::{
    Progress,
    features::{Candles, Features, LIMITS, Update, read_asset, read_raw, read_raw_file},
    tables::{NewestRows, TableError, TableLimits},
};

use crate::world::{python, sample_bucket};

const HEADER: &str = "ativo|data|timestamp|maximo|minimo|abertura|fechamento|volumefrom|volumeto";

fn sample_raw() -> PathBuf {
    sample_bucket().join("raw.csv")
}

fn features(content: &str) -> Features {
    Features::compute(candles(content))
}

fn candles(content: &str) -> Candles {
    read_raw(content.as_bytes(), &LIMITS).unwrap()
}

fn parquet(features: &Features) -> Vec<u8> {
    let mut content = Vec::new();
    features.write_parquet(&mut content).unwrap();
    content
}

fn unusable(candles: &Candles) -> Vec<(usize, &str)> {
    candles.unusable().iter().map(|rows| (rows.rows, rows.reason.as_str())).collect()
}

#[test]
fn every_column_is_what_the_reference_computes() {
    let folder = tempfile::tempdir().unwrap();
    let raw = env::var_os("CRIPTO_RAW").map(PathBuf::from);
    let raw: Vec<PathBuf> = [sample_raw()].into_iter().chain(raw).collect();
    let mut arguments = vec!["make".as_ref(), folder.path().as_os_str()];
    arguments.extend(raw.iter().map(|path| path.as_os_str()));
    python("feature_tables.py", &arguments);
    let mut cases = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let candles = read_raw_file(&path, &LIMITS, &Progress::none()).unwrap();
        Features::compute(candles).save(&path.with_extension("parquet")).unwrap();
        cases += 1;
    }
    assert!(cases >= 12);
    python("feature_tables.py", &["compare".as_ref(), folder.path().as_ref()]);
}

#[test]
fn training_rows_are_those_of_the_training_job() {
    let folder = tempfile::tempdir().unwrap();
    let features = Features::compute(read_raw_file(&sample_raw(), &LIMITS, &Progress::none()).unwrap());
    features.save(&folder.path().join("sample.parquet")).unwrap();
    write_csv(&features.training_rows().unwrap(), &folder.path().join("training.csv"));
    python("feature_tables.py", &["training".as_ref(), folder.path().as_ref()]);
}

#[test]
fn of_two_candles_of_a_day_the_last_one_is_learnt_from() {
    let row = |day: u32, close: f64| format!("A|2025-02-{day:02}|0|9|1|2|{close}|4|5\n");
    let content = [row(1, 1.0), row(2, 2.0), row(2, 20.0), row(3, 3.0), row(3, 30.0)].concat();
    let table = features(&format!("{HEADER}\n{content}")).training_rows().unwrap();
    let column = |name: &str| match table.column(name) {
        Some(Column::Number(numbers)) => numbers.clone(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(column("fechamento"), [1.0, 20.0]);
    assert_eq!(
        column("fechamento_next"),
        [20.0, 30.0],
        "the next day's last close, and never the same day's"
    );
}

fn write_csv(table: &Table, path: &Path) {
    let names: Vec<&str> = table.columns().map(|(name, _)| name).collect();
    let mut text = names.join("|");
    for row in 0..table.rows() {
        for (place, (_, column)) in table.columns().enumerate() {
            text.push(if place == 0 { '\n' } else { '|' });
            match column {
                Column::Text(values) => text.push_str(values.get(row).unwrap_or_default()),
                Column::Number(values) if values[row].is_nan() => {}
                Column::Number(values) => write!(text, "{}", values[row]).unwrap(),
            }
        }
    }
    fs::write(path, text).unwrap();
}

#[test]
fn a_large_value_leaves_no_trace_once_it_has_left_the_window() {
    let closes = |spike: f64| {
        let close = |row: usize| if row == 30 { spike } else { 0.1 + 0.01 * (row % 7) as f64 };
        let day = |row: usize| date(2000, 1, 1).checked_add(jiff::Span::new().days(row as i64)).unwrap();
        (0..3000).fold(HEADER.to_owned(), |mut text, row| {
            let (day, close) = (day(row), close(row));
            write!(text, "\nA|{day}|0|{close}|{close}|{close}|{close}|{close}|{close}").unwrap();
            text
        })
    };
    let (calm, spiked) = (features(&closes(0.1)), features(&closes(1e18)));
    let (calm, spiked) = (calm.training_rows().unwrap(), spiked.training_rows().unwrap());
    // All but the columns that go back to an asset's first day.
    let windowed = calm.columns().filter(|(name, _)| !["retorno_acumulado", "drawdown"].contains(name));
    for (name, column) in windowed {
        let (Column::Number(calm), Some(Column::Number(spiked))) = (column, spiked.column(name)) else {
            continue;
        };
        for row in 30 + 39..calm.len() {
            assert_eq!(calm[row].to_bits(), spiked[row].to_bits(), "{name}, row {row}");
        }
    }
}

#[test]
fn equal_prices_have_no_deviation() {
    let price = 0.1 + 0.2;
    let rows =
        (1..=28).map(|day| format!("A|2025-02-{day:02}|0|{price}|{price}|{price}|{price}|{price}|{price}"));
    let content = std::iter::once(HEADER.to_owned()).chain(rows).collect::<Vec<_>>().join("\n");
    let rows = features(&content).newest_rows().unwrap();
    for (name, expected) in [("volatilidade_5", 0.0), ("mad_20", 0.0), ("iqr_20", 0.0), ("retorno_log", 0.0)]
    {
        assert_eq!(rows.table.column(name), Some(&Column::Number(vec![expected])), "{name}");
    }
    for missing in ["z_robusto_20", "pos_no_range"] {
        let Some(Column::Number(values)) = rows.table.column(missing) else { panic!("{missing}") };
        assert!(values[0].is_nan(), "{missing}");
    }
}

#[test]
fn an_update_computes_what_changed_and_equals_the_whole() {
    let text = fs::read_to_string(sample_raw()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let (header, rows) = (lines[0], &lines[1..]);
    let newest = features(&text).newest_day().unwrap().to_string();
    let assets = features(&text).assets();
    let joined =
        |rows: Vec<String>| std::iter::once(header.to_owned()).chain(rows).collect::<Vec<_>>().join("\n");
    let kept = |keep: &dyn Fn(&str) -> bool| {
        joined(rows.iter().filter(|row| keep(row)).map(|row| (*row).to_owned()).collect())
    };
    let is_newest = |row: &str| row.contains(&newest);
    let corrected =
        |row: &str| if row.starts_with("BTC|") { row.replace("|0", "|1") } else { row.to_owned() };
    let duplicated =
        |row: &str| if is_newest(row) { vec![row.to_owned(), row.to_owned()] } else { vec![row.to_owned()] };
    let all = rows.len();
    let btc = rows.iter().filter(|row| row.starts_with("BTC|")).count();

    let day_later = Update { computed: assets, kept: all - assets };
    let steps: [(&str, String, Option<Update>); 10] = [
        ("without the newest day", kept(&|row| !is_newest(row)), None),
        ("a day later", text.clone(), Some(day_later)),
        ("the same", text.clone(), Some(Update { computed: 0, kept: all })),
        ("a day taken back", kept(&|row| !is_newest(row)), Some(Update { computed: 0, kept: all - assets })),
        (
            "in reverse order",
            joined(rows.iter().rev().map(|row| (*row).to_owned()).collect()),
            Some(day_later),
        ),
        (
            "without an asset",
            kept(&|row| !row.starts_with("BTC|")),
            Some(Update { computed: 0, kept: all - btc }),
        ),
        ("with a new asset", text.clone(), Some(Update { computed: btc, kept: all - btc })),
        ("with old rows corrected", joined(rows.iter().map(|row| corrected(row)).collect()), None),
        ("with days missing", kept(&|row| !row.contains("-11|")), None),
        ("with a day twice", joined(rows.iter().flat_map(|row| duplicated(row)).collect()), None),
    ];
    let mut updated = Features::default();
    for (step, content, expected) in steps {
        let update = updated.update(candles(&content));
        if let Some(expected) = expected {
            assert_eq!(update, expected, "{step}");
        }
        assert_eq!(update.computed + update.kept, updated.rows(), "{step}");
        assert!(parquet(&updated) == parquet(&features(&content)), "{step}: not what the whole gives");
    }
}

#[test]
fn the_newest_rows_are_those_of_the_parquet_file() {
    let mut text = fs::read_to_string(sample_raw()).unwrap();
    text.push_str("btc|2025-07-30|0|3|1|1|2|1|1\nÉ|2025-07-30|0|3|1|1|2|1|1\nnew|2025-07-01|0|3|1|1|2|1|1\n");
    let features = features(&text);
    let rows = features.newest_rows().unwrap();
    let from_parquet = NewestRows::from_parquet(parquet(&features), &TableLimits::default()).unwrap();
    // NaN is not equal to itself.
    assert_eq!(format!("{rows:?}"), format!("{from_parquet:?}"));
    assert!(rows.assets.iter().any(|(asset, _)| asset.as_str() == "NEW"));
    assert_eq!((rows.unusable.len(), rows.unusable[0].rows), (1, 1));
}

#[test]
fn what_is_broken_in_raw_csv_costs_only_itself() {
    type Reasons = &'static [(usize, &'static str)];
    let good = "A|2025-02-19|0|2|1|1|1.5|3|4";
    let table: [(&str, &[u8], usize, Reasons); 9] = [
        (
            "a long line",
            b"A|2025-02-20|0|2|1|1|1.5|3|4|5\nA|2025-02-21|0|2|1|1|1.5|3|4|5|6",
            1,
            &[(2, "the line has more than 9 fields")],
        ),
        ("an empty field at the end", b"A|2025-02-20|0|2|1|1|1.5|3|4|\r\n", 2, &[]),
        ("a short line", b"A|2025-02-20", 2, &[]),
        (
            "no day",
            b"A|2025-02-30|0|2|1|1|1.5|3|4\nA",
            1,
            &[(2, r#""data" is missing, or no day as in 2025-02-20"#)],
        ),
        ("no asset", b"|2025-02-20|0|2|1|1|1.5|3|4", 1, &[(1, r#""ativo" is missing"#)]),
        ("bytes that are no text", b"A|2025-02-20|0|\xff|1|1|1.5|3|\xc3", 2, &[]),
        ("stray quotation marks", b"A|2025-02-20|0|\"2|1|1\"|1.5|3|4\n\"B|2025-02-20\nB|2025-02-20", 4, &[]),
        ("zero bytes", b"A|2025-02-20|0|\0|1|1|1.5|3|4\0", 2, &[]),
        ("no line end", b"A|2025-02-20|0|2|1|1|1.5|3|4", 2, &[]),
    ];
    for (name, lines, rows, reasons) in table {
        let content = [HEADER.as_bytes(), b"\n", good.as_bytes(), b"\n", lines].concat();
        let candles = read_raw(&content, &LIMITS).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(candles.rows(), rows, "{name}");
        assert_eq!(unusable(&candles), reasons, "{name}");
        assert_eq!(Features::compute(candles).rows(), rows, "{name}");
    }
}

#[test]
fn candles_that_are_of_no_use_are_an_error() {
    for content in
        ["", "\n", HEADER, "BTC|2025-02-20|0|1|1|1|1|1|1", "h\n\n\n", "h\n||||\n", "h\nBTC;2025-02-20\n"]
    {
        let error = read_raw(content.as_bytes(), &LIMITS).expect_err(content);
        assert!(matches!(error, TableError::NoRows { .. }), "{content:?}: {error}");
    }
    let content = "h\nA|2025-02-20\nA|2025-02-21\n";
    for (limits, unit) in
        [(TableLimits { bytes: 9, ..LIMITS }, "bytes"), (TableLimits { rows: 2, ..LIMITS }, "lines")]
    {
        let error = read_raw(content.as_bytes(), &limits).unwrap_err();
        assert!(matches!(&error, TableError::TooLarge { unit: found, .. } if *found == unit), "{error}");
    }
    assert!(Features::default().newest_rows().is_err() && Features::default().training_rows().is_err());
}

#[test]
fn any_bytes_give_a_table_or_an_error() {
    let text = fs::read(sample_raw()).unwrap();
    let good = &text[..6000];
    let interesting = *b"|\n\r\"\0\xff,-.e9N\x1f\x8b";
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..400 {
        let mut content = good[..good.len() - random(good.len())].to_vec();
        for _ in 0..random(40) {
            if !content.is_empty() {
                let at = random(content.len());
                content[at] = interesting[random(interesting.len())];
            }
        }
        for candles in [read_raw(&content, &LIMITS), read_asset(&content, &"BTC".parse().unwrap(), &LIMITS)] {
            // Either way; what counts is that it returns.
            let Ok(candles) = candles else { continue };
            let features = Features::compute(candles);
            let _ = features.training_rows();
            let _ = features.newest_rows();
            parquet(&features);
        }
    }
}

#[test]
fn tables_of_single_assets_give_the_table_of_raw_csv() {
    let text = fs::read_to_string(sample_raw()).unwrap();
    let symbols = ["ETH", "BTC"];
    let of = |symbol: &str| {
        let rows: Vec<&str> = text.lines().filter(|row| row.starts_with(&format!("{symbol}|"))).collect();
        let content = format!("{HEADER}\n{}\n", rows.join("\n")).replace('|', ",");
        read_asset(content.as_bytes(), &symbol.parse().unwrap(), &LIMITS).unwrap()
    };
    let merged = Features::compute(Candles::merged(symbols.map(of)));
    let wanted =
        text.lines().filter(|row| symbols.iter().any(|symbol| row.starts_with(&format!("{symbol}|"))));
    let whole = format!("{HEADER}\n{}", wanted.collect::<Vec<_>>().join("\n"));
    assert!(parquet(&merged) == parquet(&features(&whole)));
}

#[test]
fn columns_of_single_assets_go_by_name() {
    let btc = "BTC".parse().unwrap();
    let content =
        "volumeto,x,volumefrom,fechamento,abertura,minimo,maximo,data\n9,a,8,7,6,5,4,2025-02-20 00:00:00\n";
    let rows =
        Features::compute(read_asset(content.as_bytes(), &btc, &LIMITS).unwrap()).newest_rows().unwrap();
    assert_eq!(rows.assets, [(btc.clone(), Some(date(2025, 2, 20)))]);
    for (name, value) in [("maximo", 4.0), ("minimo", 5.0), ("fechamento", 7.0), ("volumeto", 9.0)] {
        assert_eq!(rows.table.column(name), Some(&Column::Number(vec![value])), "{name}");
    }
    let error = read_asset(b"data,fechamento\n2025-02-20,1\n", &btc, &LIMITS).unwrap_err();
    assert!(matches!(error, TableError::MissingColumn(_)), "{error}");
    let header = HEADER.replace('|', ",");
    let other = format!("{header}\nETH,2025-02-20,0,1,1,1,1,1,1\nbtc,2025-02-20,0,1,1,1,1,1,1\n");
    let candles = read_asset(other.as_bytes(), &btc, &LIMITS).unwrap();
    assert_eq!((candles.rows(), candles.unusable()[0].rows), (1, 1));
}

#[test]
fn sources_of_one_asset_come_together_in_date_order() {
    let (late, early) =
        ("h\nA|2025-02-20|0|2|1|1|5|1|1\nB|2025-02-20|0|2|1|1|5|1|1\n", "h\nA|2025-02-19|0|2|1|1|4|1|1\n");
    let merged = Features::compute(Candles::merged([candles(late), candles(early)]));
    let rows = merged.newest_rows().unwrap();
    let Some(Column::Number(previous)) = rows.table.column("fech_prev") else { panic!() };
    assert_eq!(previous[0], 4.0);
    assert!(previous[1].is_nan());
}

#[test]
fn the_file_of_a_table_is_named_by_its_newest_day() {
    let features = features("h\nA|2025-02-20|0|2|1|1|5|1|1\nB|2025-2-3|0|2|1|1|5|1|1\n");
    assert_eq!(features.key().as_deref(), Some("features/cripto_features_20250220.parquet"));
    assert_eq!(Features::default().key(), None);
}
