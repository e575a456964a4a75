//! From a column of polars to one of ours.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use models::Column;
use polars::prelude::{DataType, Series, TimeUnit};

use super::TableError;

const SECONDS_PER_DAY: i64 = 86_400;

/// What a model can use of a column, or nothing if that is nothing.
pub(super) fn column(series: &Series) -> Option<Column> {
    if let Some(text) = text(series) {
        return Some(Column::text(text.str().ok()?.iter()));
    }
    let dtype = series.dtype();
    if !(dtype.is_primitive_numeric() || dtype.is_bool() || dtype.is_decimal()) {
        return None;
    }
    let numbers = series.strict_cast(&DataType::Float64).ok()?;
    let numbers = numbers.f64().ok()?;
    Some(Column::Number(numbers.iter().map(|number| number.unwrap_or(f64::NAN)).collect()))
}

/// The same column as text, if it is text, or bytes that are text although Spark did not mark them so.
pub(super) fn text(series: &Series) -> Option<Series> {
    match series.dtype() {
        DataType::String => Some(series.clone()),
        DataType::Binary => series.strict_cast(&DataType::String).ok(),
        _ => None,
    }
}

/// The instants of a column of dates, of instants, or of text that names them.
pub(super) fn instants(name: &str, series: &Series) -> Result<Vec<Option<Timestamp>>, TableError> {
    let wrong_type = || TableError::WrongType {
        column: name.to_owned(),
        found: series.dtype().to_string(),
        expected: "a date, a timestamp or text",
    };
    let from_numbers = |instant: &dyn Fn(i64) -> Option<Timestamp>| {
        let physical = series.to_physical_repr().strict_cast(&DataType::Int64).map_err(|_| wrong_type())?;
        let numbers = physical.i64().map_err(|_| wrong_type())?;
        Ok(numbers.iter().map(|number| number.and_then(instant)).collect())
    };
    // What holds no value at all may be of any type.
    if series.null_count() == series.len() {
        return Ok(vec![None; series.len()]);
    }
    match series.dtype() {
        DataType::Date => {
            from_numbers(&|days| Timestamp::from_second(days.checked_mul(SECONDS_PER_DAY)?).ok())
        }
        DataType::Datetime(TimeUnit::Milliseconds, _) => {
            from_numbers(&|number| Timestamp::from_millisecond(number).ok())
        }
        DataType::Datetime(TimeUnit::Microseconds, _) => {
            from_numbers(&|number| Timestamp::from_microsecond(number).ok())
        }
        DataType::Datetime(TimeUnit::Nanoseconds, _) => {
            from_numbers(&|number| Timestamp::from_nanosecond(number.into()).ok())
        }
        _ => {
            let text = text(series).ok_or_else(wrong_type)?;
            let values = text.str().map_err(|_| wrong_type())?;
            Ok(values.iter().map(|value| value.and_then(parse_instant)).collect())
        }
    }
}

/// The instant that a text names: a day, a time of a day (in UTC), or an instant with an offset.
pub(crate) fn parse_instant(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    // In this order, since a time of a day may be followed by an offset that it does not heed.
    text.parse::<Timestamp>().ok().or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })
}

#[cfg(test)]
mod tests {
    use super::parse_instant;

    #[test]
    fn days_are_read_as_people_and_programs_write_them() {
        for (text, instant) in [
            ("2025-02-20", "2025-02-20T00:00:00Z"),
            (" 20250220 ", "2025-02-20T00:00:00Z"),
            ("2025-02-20 00:00:00", "2025-02-20T00:00:00Z"),
            ("2025-02-20T13:30:00.000", "2025-02-20T13:30:00Z"),
            ("2025-02-20T00:00:00Z", "2025-02-20T00:00:00Z"),
            ("2025-02-20 00:00:00+00:00", "2025-02-20T00:00:00Z"),
            ("2025-02-20T00:00:00-03:00", "2025-02-20T03:00:00Z"),
        ] {
            assert_eq!(
                parse_instant(text).map(|found| found.to_string()).as_deref(),
                Some(instant),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_names_no_day_is_missing() {
        for text in ["", "NaT", "nan", "2025-02-30", "20/02/2025", "45000"] {
            assert_eq!(parse_instant(text), None, "{text:?}");
        }
    }
}
