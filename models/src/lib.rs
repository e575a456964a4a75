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
//! # Security
//!
//! A pickle is a program that names the functions it wants called. This crate never imports or calls anything: it
//! interprets the opcodes into inert values, looks every name up in a closed list in its own source, and refuses the
//! artifact if one is not there. Sizes and depths are bounded by [`Limits`], and lengths that an artifact declares
//! are believed only as far as bytes follow.
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

pub use artifact::{Limits, ReadError};
pub use model::{Model, Prepared};
pub use parameters::{InexpressibleError, ParametersError};
pub use predictions::{Label, Outcome, PredictError, Predictions, RefusedRow, RowError};
pub use sklearn::{Description, Step, Trees};
pub use table::{Column, Table, TableError, TextColumn};
