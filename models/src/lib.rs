//! scikit-learn pipelines in Rust: read `.joblib` artifacts without Python, predict the same numbers.
//!
//! * **For:** loading pipelines that scikit-learn 1.0 to 1.9 fitted and `joblib` or `pickle` wrote, without Python
//!   and without executing the pickle, and predicting from tables of named columns as fast as the machine allows.
//! * **Comes in, goes out:** [`Model::read`] takes bytes of an artifact, [`Model::read_parameters`] those of a
//!   parameter file, which [`Model::write_parameters`] writes; [`Model::predict`] takes a [`Table`] and gives
//!   [`Predictions`]. A model implements linfa's `PredictInplace`.
//! * **Must never know:** where bytes come from or tables are kept (buckets, polars; of files, only that parameter
//!   files can be mapped), asynchronous runtimes, what a model or a column means to the application.
//!
//! ```
//! use models::{Column, Limits, Model, Outcome, Table};
//!
//! let artifact = "../sample/bucket/models/regressor_rf_20250729-2130.joblib";
//! let model = Model::read(std::fs::File::open(artifact)?, &Limits::default())?;
//!
//! let columns = model.columns().unwrap_or_default();
//! let table = Table::new(columns.iter().map(|name| match &**name {
//!     "ativo" => (name.clone(), Column::text([Some("BTC"), Some("ETH")])),
//!     "fechamento" => (name.clone(), Column::Number(vec![107_000.65, 3_800.0])),
//!     // Missing: the pipeline puts the median of the rows that it was fitted on there.
//!     _ => (name.clone(), Column::Number(vec![f64::NAN; 2])),
//! }))?;
//! let predictions = model.predict(&table)?;
//! assert!(matches!(predictions.outcome, Outcome::Values(closes) if closes.len() == 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Security
//!
//! A pickle is a program that names the functions it wants called. This crate never imports or calls anything: it
//! interprets the opcodes into inert values, looks every name up in a closed list in its own source, and refuses the
//! artifact if one is not there. Lengths that an artifact declares are believed only as far as bytes follow.
//!
//! [`Limits`] bound steps, bytes and time, from the decompression to the last attribute. Values may refer to each other
//! in any way, also to themselves. So work is charged each time that it is done, and nothing recurses without a bound.
//!
//! # What is understood
//!
//! `Pipeline`, `ColumnTransformer`, `SimpleImputer`, `MissingIndicator`, `StandardScaler`, `MinMaxScaler`, `MaxAbsScaler`,
//! `RobustScaler`, `OneHotEncoder`, `OrdinalEncoder`, `LinearRegression`, `Ridge`, `Lasso`, `ElasticNet`,
//! `LogisticRegression`, `DecisionTree*`, `ExtraTree*`, `RandomForest*`, `ExtraTrees*` and `GradientBoosting*` of one output.

mod artifact;
pub mod evaluation;
mod features;
pub mod fit;
mod forest;
mod linear;
mod model;
mod parameters;
mod pipeline;
mod predictions;
mod shallow;
mod sklearn;
mod table;
mod tree;

pub use artifact::{GIT_LFS_POINTER, Limits, MOST_FORBIDDEN_NAMES, ReadError, is_git_lfs_pointer};
pub use model::{Model, Prepared};
pub use parameters::{InexpressibleError, ParametersError};
pub use predictions::{Label, Outcome, PredictError, Predictions, RefusedRow, RowError};
pub use sklearn::{Description, Step, Trees};
pub use table::{Column, Table, TableError, TextColumn};
