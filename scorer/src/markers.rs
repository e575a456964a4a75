//! Names in a bucket that are never a model or a table: marks of other programs, and files that are not finished.
//!
//! The list is closed. An object with any other name is reported if it cannot be used, because a person may have
//! misspelt it.

/// Names that other programs give to files and folders of their own.
const MARKERS: [&str; 11] = [
    // Hadoop and Spark: the mark of a finished job, and the folder of an unfinished one.
    "_SUCCESS",
    "_temporary",
    // Parquet's summaries of a folder.
    "_metadata",
    "_common_metadata",
    // Logs of Spark's streams and of Delta Lake.
    "_spark_metadata",
    "_delta_log",
    // Desktops and archives.
    "Thumbs.db",
    "desktop.ini",
    "__MACOSX",
    // File systems. Only root may read this folder, so that a walk through a volume must not try.
    "lost+found",
    "System Volume Information",
];

/// How such names begin: marks of Databricks' commit protocol, which end in the transaction's number.
const MARKERS_BEGIN: [&str; 2] = ["_started_", "_committed_"];

/// How such names end: marks of folders in S3 by Hadoop.
const MARKERS_END: [&str; 1] = ["_$folder$"];

/// How names of files end that are being copied: by browsers, editors, rclone, WinSCP and gsutil.
const UNFINISHED: [&str; 9] =
    [".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".temp", "_.gstmp", "~"];

/// The files that the AWS command line downloads have these names, then a dot and this many hexadecimal digits, until
/// they are complete.
const DOWNLOADED: [&str; 5] = [".joblib", ".safetensors", ".parquet", ".csv", ".json"];
const DOWNLOAD_DIGITS: usize = 8;

/// Whether an object with this key is neither a model nor a table because of a name in it, and nothing is wrong with
/// that.
pub(crate) fn is_passed_over(key: &str) -> bool {
    key.split('/').any(is_marker)
}

/// The same for one file or folder. Hidden files are passed over as well; checksums (`.*.crc`) and `.DS_Store` are
/// hidden.
pub(crate) fn is_marker(name: &str) -> bool {
    name.starts_with('.')
        || MARKERS.contains(&name)
        || MARKERS_BEGIN.iter().any(|beginning| name.starts_with(beginning))
        || MARKERS_END.iter().chain(&UNFINISHED).any(|end| name.ends_with(end))
        || is_download(name)
}

fn is_download(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, digits)| {
        digits.len() == DOWNLOAD_DIGITS
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
            && DOWNLOADED.iter().any(|end| stem.ends_with(end))
    })
}

#[cfg(test)]
mod tests {
    use super::is_passed_over;

    #[test]
    fn marks_of_other_programs_and_unfinished_files_are_passed_over_in_every_folder() {
        for name in [
            "_SUCCESS",
            "._SUCCESS.crc",
            "_started_4107437486452263271",
            "_committed_4107437486452263271",
            ".part-00000.snappy.parquet.crc",
            "_temporary/0/_temporary/attempt_202502200000/part-00000.parquet",
            "_metadata",
            "_common_metadata",
            "_delta_log/00000000000000000000.json",
            ".DS_Store",
            ".ipynb_checkpoints/regressor_rf_20250729-2130.joblib",
            "Thumbs.db",
            "latest_$folder$",
            "lost+found",
            "regressor_rf_20250729-2130.joblib.part",
            "regressor_rf_20250729-2130.joblib.6eF1bC2a",
            "regressor_rf_20250729-2130.joblib.a1b2c3d4.partial",
            "regressor_rf_20250729-2130.joblib~",
        ] {
            for folder in ["models/", "models/latest/", "features/", "data/BTC/", ""] {
                assert!(is_passed_over(&format!("{folder}{name}")), "{folder}{name}");
            }
        }
    }

    #[test]
    fn a_name_that_only_resembles_a_mark_is_not_passed_over() {
        for key in [
            "models/regressor_rf_20250729-2130.joblib",
            "models/SUCCESS",
            "models/_SUCCESS.joblib",
            "models/_started",
            "models/regressor_rf_20250729-2130.pkl",
            "models/regressor_rf.20250729",
            "models/regressor_rf_20250729-2130.joblib.bak",
            "features/_features_20250729.parquet",
            "features/part-00000.parquet",
            "data/BTC/BTC_2025-02-20.csv",
            "predictions/_backfill/run/shard-0.parquet",
            "models/",
        ] {
            assert!(!is_passed_over(key), "{key}");
        }
    }
}
