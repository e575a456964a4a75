use std::ops::Range;

use linfa::traits::PredictInplace;
use ndarray::{Array1, Array2, ArrayBase, Data, Ix2};
use rayon::prelude::*;

use crate::{
    artifact::{self, Limits, ReadError},
    features::{Accepts, Batch, LANES, LinearColumn, batches, linear_columns},
    forest::Ensemble,
    linear::{Linear, Link, argmax, sigmoid, softmax},
    pipeline::{Block, Feature, Inputs, Refusals, Transformer, placeholder},
    predictions::{Label, Outcome, PredictError, Predictions, RefusedRow},
    sklearn::{self, Description},
    table::{Column, Table},
    tree::Tree,
};

/// A fitted scikit-learn pipeline or estimator.
///
/// Predictions are those of the scikit-learn version that wrote the artifact, with one job: tree ensembles to the
/// bit, linear models to a relative 1e-9, probabilities to 1e-12. Large tables are split over the threads of the
/// rayon pool in which [`Model::predict`] is called, which changes no number.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    names: Option<Vec<Box<str>>>,
    /// Which columns play a part.
    used: Vec<bool>,
    predictor: Predictor,
    description: Description,
}

/// Transformers and the estimator behind them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Predictor {
    pub(crate) transformer: Transformer,
    pub(crate) estimator: Estimator,
    /// A classifier's classes.
    pub(crate) classes: Option<Vec<Label>>,
    /// The names of the estimator's features, for messages.
    pub(crate) feature_names: Vec<String>,
}

/// What predicts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Estimator {
    Linear(Linear),
    Logistic { linear: Linear, link: Link },
    Forest(Forest),
    Boosting(Boosting),
}

/// Trees whose leaves are averaged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Forest {
    /// One sum.
    pub(crate) ensemble: Ensemble,
    pub(crate) tree_count: usize,
    /// Values a leaf: one, or one a class.
    pub(crate) outputs: usize,
    pub(crate) accepts: Accepts,
}

/// Trees whose leaves, already multiplied by the learning rate, are added to an initial value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Boosting {
    /// One sum for each output, of the trees in the order of the stages.
    pub(crate) ensemble: Ensemble,
    pub(crate) initial: Initial,
    pub(crate) loss: BoostingLoss,
}

/// What the trees of a [`Boosting`] are added to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Initial {
    /// One value an output.
    Constant(Vec<f64>),
    /// Another estimator's prediction.
    Estimator { predictor: Box<Predictor>, epsilon: f64, centred: bool },
}

/// What the raw values of a [`Boosting`] mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BoostingLoss {
    Regression,
    Binary { zero_is_positive: bool },
    Exponential,
    Multiclass,
}

/// A table after all transformers, in the form in which one model's estimator reads it.
#[derive(Debug)]
pub struct Prepared<'a>(Vec<(PreparedBlock<'a>, Vec<RefusedRow>)>);

#[derive(Debug)]
struct PreparedBlock<'a> {
    rows: usize,
    features: Features<'a>,
}

#[derive(Debug)]
enum Features<'a> {
    /// Of linear models.
    Columns(Vec<LinearColumn<'a>>),
    /// Of trees, with the values that they are added to, sum by sum.
    Batches { batches: Vec<Batch>, initial: Vec<Vec<f64>> },
}

/// What an estimator says of some rows.
struct Scores {
    /// A regressor's values, or a classifier's probabilities row by row.
    values: Vec<f64>,
    /// A classifier's classes.
    predicted: Vec<u32>,
}

impl Model {
    /// Reads a `.joblib` file or a pickle, compressed or not, of scikit-learn 1.0 to 1.9.
    ///
    /// The content decides, not a file's name: zlib, gzip, bz2, lzma, xz, lz4 or no compression; pickle protocols 2
    /// to 5; joblib 1.0 and later. Nothing that the artifact names is ever imported or called.
    ///
    /// ```no_run
    /// let file = std::fs::File::open("regressor_rf_20250729-2130.joblib")?;
    /// let model = models::Model::read(file, &models::Limits::default())?;
    /// println!("{}", model.describe());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The bytes are no artifact, damaged, beyond the limits, or hold something that is not understood.
    pub fn read(reader: impl std::io::Read + Send, limits: &Limits) -> Result<Self, ReadError> {
        sklearn::model(artifact::read(reader, limits)?)
    }

    pub(crate) fn new(
        names: Option<Vec<Box<str>>>,
        inputs: usize,
        predictor: Predictor,
        description: Description,
    ) -> Self {
        let mut used = vec![false; inputs];
        predictor.transformer.mark_used(&mut used);
        Self { names, used, predictor, description }
    }

    pub(crate) fn predictor(&self) -> &Predictor {
        &self.predictor
    }

    /// The names of the columns that the model was fitted on, if it knows them.
    #[must_use]
    pub fn columns(&self) -> Option<&[Box<str>]> {
        self.names.as_deref()
    }

    /// The classes of a classifier, in the order of its probabilities; nothing for a regressor.
    #[must_use]
    pub fn classes(&self) -> Option<&[Label]> {
        self.predictor.classes.as_deref()
    }

    /// What is inside, for people: [`Description`] can be displayed and serialized.
    #[must_use]
    pub fn describe(&self) -> &Description {
        &self.description
    }

    /// A linear model's coefficients, one row an output, each with the constant term last; nothing for other models.
    #[must_use]
    pub fn coefficients(&self) -> Option<Vec<Vec<f64>>> {
        match &self.predictor.estimator {
            Estimator::Linear(linear) | Estimator::Logistic { linear, .. } => {
                let rows = linear.coefficients.iter().zip(&linear.intercepts);
                Some(rows.map(|(row, intercept)| row.iter().copied().chain([*intercept]).collect()).collect())
            }
            Estimator::Forest(_) | Estimator::Boosting(_) => None,
        }
    }

    /// The names of the features that the estimator sees.
    #[must_use]
    pub fn feature_names(&self) -> &[String] {
        &self.predictor.feature_names
    }

    /// Predicts every row of a table.
    ///
    /// Columns are found by name, in any order and among others. A model that was fitted on an array knows no names: it
    /// predicts only from columns that are called as scikit-learn calls them, `x0`, `x1` and so on.
    ///
    /// Text in a column of numbers is read as Python's `float` reads it. It is a missing value if it is empty, `nan` or
    /// `null`. Any other text refuses its row.
    ///
    /// A row that scikit-learn would raise for does not fail the others: it is among
    /// [`Predictions::refused`].
    ///
    /// # Errors
    /// The table is empty, lacks columns, or has numbers where categories were text.
    pub fn predict(&self, table: &Table) -> Result<Predictions, PredictError> {
        let scored = self.by_block(table, |block, refusals| {
            let prepared = self.predictor.prepare(block, refusals)?;
            Ok(self.predictor.score(&prepared))
        })?;
        Ok(self.predictions(scored))
    }

    /// The first half of [`Model::predict`]: everything that comes before the estimator.
    ///
    /// # Errors
    /// As [`Model::predict`].
    pub fn prepare<'a>(&'a self, table: &'a Table) -> Result<Prepared<'a>, PredictError> {
        self.by_block(table, |block, refusals| self.predictor.prepare(block, refusals)).map(Prepared)
    }

    /// The second half of [`Model::predict`]: the estimator alone, on what [`Model::prepare`] of the same model gave.
    ///
    /// # Panics
    /// It was prepared for another model.
    #[must_use]
    pub fn score(&self, prepared: &Prepared<'_>) -> Predictions {
        let score = |(block, refused): &(PreparedBlock<'_>, Vec<RefusedRow>)| {
            (self.predictor.score(block), refused.clone())
        };
        self.predictions(prepared.0.par_iter().map(score).collect())
    }

    /// Works on a table block by block, in parallel, and notes the rows that were refused in each.
    fn by_block<'a, T: Send>(
        &'a self,
        table: &'a Table,
        work: impl Fn(Block<'a>, &mut Refusals) -> Result<T, PredictError> + Sync,
    ) -> Result<Vec<(T, Vec<RefusedRow>)>, PredictError> {
        let inputs = Inputs::new(table, self.names.as_deref(), &self.used)?;
        let rows = inputs.rows();
        let share = rows.div_ceil(rayon::current_num_threads()).next_multiple_of(LANES);
        let block_rows = self.predictor.estimator.block_rows().min(share);
        let blocks: Vec<Range<usize>> =
            (0..rows).step_by(block_rows).map(|start| start..rows.min(start + block_rows)).collect();
        let done = blocks.into_par_iter().map(|block| {
            let mut refusals = Refusals { first_row: block.start, ..Refusals::default() };
            let result = work(inputs.block(block), &mut refusals)?;
            let refused = refusals.rows.into_iter().map(|(row, reason)| RefusedRow { row, reason });
            Ok((result, refused.collect()))
        });
        done.collect()
    }

    fn predictions(&self, scored: Vec<(Scores, Vec<RefusedRow>)>) -> Predictions {
        let mut scores = Scores { values: Vec::new(), predicted: Vec::new() };
        let mut refused = Vec::new();
        for (mut block, mut refused_in_block) in scored {
            scores.values.append(&mut block.values);
            scores.predicted.append(&mut block.predicted);
            refused.append(&mut refused_in_block);
        }
        let width = self.classes().map_or(1, <[Label]>::len);
        for RefusedRow { row, .. } in &refused {
            scores.values.iter_mut().skip(row * width).take(width).for_each(|value| *value = f64::NAN);
            scores.predicted.iter_mut().skip(*row).take(1).for_each(|class| *class = 0);
        }
        let outcome = match self.classes() {
            None => Outcome::Values(scores.values),
            Some(_) => Outcome::Classes { predicted: scores.predicted, probabilities: scores.values },
        };
        Predictions { outcome, refused }
    }

    /// The features that the estimator sees of each row: all transformers' output, row by row.
    ///
    /// # Errors
    /// As [`Model::predict`].
    pub fn transform(&self, table: &Table) -> Result<Array2<f64>, PredictError> {
        let inputs = Inputs::new(table, self.names.as_deref(), &self.used)?;
        let rows = inputs.rows();
        let block = self.predictor.transformer.transform(inputs.block(0..rows), &mut Refusals::default())?;
        let mut features = Array2::zeros((rows, block.columns.len()));
        for (mut to, from) in features.columns_mut().into_iter().zip(block.columns) {
            to.iter_mut().zip(from.coerced().as_slice()).for_each(|(to, from)| *to = *from);
        }
        Ok(features)
    }
}

impl PredictInplace<Table, Array1<f64>> for Model {
    /// Predicts values or, for a classifier, the place of the predicted class. Refused rows are NaN.
    ///
    /// # Panics
    /// The table does not fit the model, as linfa's models panic; [`Model::predict`] returns an error instead.
    fn predict_inplace<'a>(&'a self, table: &'a Table, targets: &mut Array1<f64>) {
        #[expect(clippy::panic, reason = "the trait has no other way to say so")]
        let predictions = self.predict(table).unwrap_or_else(|error| panic!("{error}"));
        match predictions.outcome {
            Outcome::Values(values) => targets.iter_mut().zip(values).for_each(|(to, from)| *to = from),
            Outcome::Classes { predicted, .. } => {
                targets.iter_mut().zip(predicted).for_each(|(to, from)| *to = from.into());
            }
        }
        for RefusedRow { row, .. } in predictions.refused {
            targets.iter_mut().skip(row).take(1).for_each(|to| *to = f64::NAN);
        }
    }

    fn default_target(&self, table: &Table) -> Array1<f64> {
        Array1::zeros(table.rows())
    }
}

impl<D: Data<Elem = f64>> PredictInplace<ArrayBase<D, Ix2>, Array1<f64>> for Model {
    /// As for a [`Table`], with the model's columns in their order.
    ///
    /// # Panics
    /// The array does not fit the model.
    fn predict_inplace<'a>(&'a self, array: &'a ArrayBase<D, Ix2>, targets: &mut Array1<f64>) {
        // An array says nothing about its columns but their number.
        assert_eq!(
            array.ncols(),
            self.used.len(),
            "an array has exactly the columns that the model was fitted on"
        );
        let name = |place: usize| match &self.names {
            Some(names) => names[place].clone(),
            None => placeholder(place).into(),
        };
        let columns = array.columns().into_iter().enumerate();
        #[expect(clippy::panic, reason = "the trait has no other way to say so")]
        let table = Table::new(columns.map(|(place, column)| (name(place), Column::Number(column.to_vec()))))
            .unwrap_or_else(|error| panic!("{error}"));
        self.predict_inplace(&table, targets);
    }

    fn default_target(&self, array: &ArrayBase<D, Ix2>) -> Array1<f64> {
        Array1::zeros(array.nrows())
    }
}

impl Predictor {
    /// Whether boosting on this predictor gives scikit-learn's numbers to the bit.
    ///
    /// scikit-learn hands 32-bit numbers to it. Trees compare them exactly. Scalers and linear models compute in 32
    /// bits, and linear models add up in the order of the BLAS at hand, which no reader can know.
    pub(crate) fn is_exact_in_32_bits(&self) -> bool {
        let is_exact = match &self.estimator {
            Estimator::Forest(_) | Estimator::Boosting(_) => true,
            // A constant has no coefficients.
            Estimator::Linear(linear) => linear.coefficients.iter().all(Vec::is_empty),
            Estimator::Logistic { .. } => false,
        };
        is_exact && self.transformer == Transformer::Passthrough
    }

    /// Transforms a block and brings its features into the form that the estimator reads.
    fn prepare<'a>(
        &'a self,
        block: Block<'a>,
        refusals: &mut Refusals,
    ) -> Result<PreparedBlock<'a>, PredictError> {
        let block = self.transformer.transform(block, refusals)?;
        let rows = block.rows;
        let name = |place: usize| self.feature_names.get(place).cloned().unwrap_or_default();
        let features = match &self.estimator {
            Estimator::Linear(_) | Estimator::Logistic { .. } => {
                Features::Columns(linear_columns(block, &name, refusals))
            }
            Estimator::Forest(forest) => {
                let initial = vec![vec![0.0; rows * forest.outputs]];
                let batches = batches(block, &forest.ensemble.features, forest.accepts, &name, refusals);
                Features::Batches { batches, initial }
            }
            Estimator::Boosting(boosting) => {
                let initial = boosting.initial_values(&block, refusals)?;
                let batches = batches(block, &boosting.ensemble.features, Accepts::Finite, &name, refusals);
                Features::Batches { batches, initial }
            }
        };
        Ok(PreparedBlock { rows, features })
    }

    fn score(&self, block: &PreparedBlock<'_>) -> Scores {
        let rows = block.rows;
        match (&self.estimator, &block.features) {
            (Estimator::Linear(linear), Features::Columns(columns)) => {
                let values = linear.decide(columns, rows).into_iter().next().unwrap_or_default();
                Scores { values, predicted: Vec::new() }
            }
            (Estimator::Logistic { linear, link }, Features::Columns(columns)) => {
                let decisions = linear.decide(columns, rows);
                self.classified(rows, &decisions, |row, probabilities| link.apply(row, probabilities))
            }
            (Estimator::Forest(forest), Features::Batches { batches, initial }) => {
                let sums = forest.ensemble.add_leaves(batches, initial);
                forest.scores(sums, self.classes.is_some())
            }
            (Estimator::Boosting(boosting), Features::Batches { batches, initial }) => {
                let raw = boosting.ensemble.add_leaves(batches, initial);
                match boosting.loss {
                    BoostingLoss::Regression => {
                        Scores { values: raw.into_iter().next().unwrap_or_default(), predicted: Vec::new() }
                    }
                    loss => self.classified(rows, &raw, |row, probabilities| loss.apply(row, probabilities)),
                }
            }
            #[expect(clippy::panic, reason = "a mistake of the program, not of an artifact or a table")]
            _ => panic!("the features were prepared for another model"),
        }
    }

    /// Applies a link to every row's decisions, which are given output by output.
    fn classified(
        &self,
        rows: usize,
        decisions: &[Vec<f64>],
        link: impl Fn(&[f64], &mut [f64]) -> usize,
    ) -> Scores {
        let classes = self.classes.as_ref().map_or(1, Vec::len);
        let mut scores = Scores { values: vec![0.0; rows * classes], predicted: Vec::with_capacity(rows) };
        let mut row_decisions = vec![0.0; decisions.len()];
        for (row, probabilities) in scores.values.chunks_exact_mut(classes).enumerate() {
            for (to, from) in row_decisions.iter_mut().zip(decisions) {
                *to = from.get(row).copied().unwrap_or(f64::NAN);
            }
            scores.predicted.push(class_number(link(&row_decisions, probabilities)));
        }
        scores
    }
}

/// Classes are held in memory one by one; four thousand million of them are not.
fn class_number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

impl Estimator {
    /// How many rows are worked on at a time. A large forest is read once for each block, so blocks are as large as
    /// the second-level cache allows; everything else gains from smaller ones.
    fn block_rows(&self) -> usize {
        const CACHE_BYTES: usize = 256 * 1024;
        match self {
            Self::Forest(forest) if forest.ensemble.trees().map(Tree::size).sum::<usize>() > CACHE_BYTES => {
                2048
            }
            _ => 512,
        }
    }
}

impl Forest {
    fn scores(&self, sums: Vec<Vec<f64>>, classifies: bool) -> Scores {
        let mut values = sums.into_iter().next().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a forest has fewer than 2⁵³ trees")]
        let count = self.tree_count as f64;
        values.iter_mut().for_each(|value| *value /= count);
        let predicted = if classifies {
            values.chunks_exact(self.outputs).map(|row| class_number(argmax(row))).collect()
        } else {
            Vec::new()
        };
        Scores { values, predicted }
    }
}

impl Boosting {
    /// The initial value of every row, output by output.
    fn initial_values(
        &self,
        block: &Block<'_>,
        refusals: &mut Refusals,
    ) -> Result<Vec<Vec<f64>>, PredictError> {
        let (predictor, epsilon, centred) = match &self.initial {
            Initial::Constant(values) => {
                return Ok(values.iter().map(|value| vec![*value; block.rows]).collect());
            }
            Initial::Estimator { predictor, epsilon, centred } => (predictor, *epsilon, *centred),
        };
        // The estimator is given what the trees are given: numbers of 32 bits.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        let narrow = |feature: &Feature<'_>| {
            Feature::Number(feature.clone().into_numbers(refusals).map(|value| f64::from(value as f32)))
        };
        let columns = block.columns.iter().map(narrow).collect();
        let scores = predictor.score(&predictor.prepare(Block { rows: block.rows, columns }, refusals)?);
        if self.loss == BoostingLoss::Regression {
            return Ok(vec![scores.values]);
        }
        let mut raw = vec![Vec::with_capacity(block.rows); self.ensemble.sum_count()];
        for row in scores.values.chunks_exact(predictor.classes.as_ref().map_or(1, Vec::len)) {
            let values = self.loss.raw_from_probabilities(row, epsilon, centred);
            raw.iter_mut().zip(values).for_each(|(raw, value)| raw.push(value));
        }
        Ok(raw)
    }
}

impl BoostingLoss {
    /// The raw values that mean these probabilities (`_init_raw_predictions`, `sklearn/ensemble/_gb.py`; before 1.4
    /// `_gb_losses.py`, which did not centre those of several classes).
    pub(crate) fn raw_from_probabilities(
        self,
        probabilities: &[f64],
        epsilon: f64,
        centred: bool,
    ) -> Vec<f64> {
        let mut clipped = probabilities.iter().map(|probability| probability.clamp(epsilon, 1.0 - epsilon));
        match self {
            Self::Regression => Vec::new(),
            Self::Binary { .. } | Self::Exponential => {
                let rise = clipped.next_back().unwrap_or(f64::NAN);
                let log_odds = (rise / (1.0 - rise)).ln();
                vec![if self == Self::Exponential { 0.5 * log_odds } else { log_odds }]
            }
            Self::Multiclass => {
                let logarithms: Vec<f64> = clipped.map(f64::ln).collect();
                #[expect(clippy::cast_precision_loss, reason = "a number of classes")]
                let mean = logarithms.iter().sum::<f64>() / logarithms.len() as f64;
                let centre = if centred { mean } else { 0.0 };
                logarithms.into_iter().map(|logarithm| logarithm - centre).collect()
            }
        }
    }

    /// The predicted class and the probabilities of a row, given its raw values.
    fn apply(self, raw: &[f64], probabilities: &mut [f64]) -> usize {
        let first = raw.first().copied().unwrap_or(f64::NAN);
        let rise = match self {
            Self::Regression => return 0,
            Self::Binary { .. } => sigmoid(first),
            Self::Exponential => sigmoid(2.0 * first),
            Self::Multiclass => {
                probabilities.iter_mut().zip(raw).for_each(|(to, from)| *to = *from);
                softmax(probabilities);
                return argmax(raw);
            }
        };
        probabilities.iter_mut().zip([1.0 - rise, rise]).for_each(|(to, from)| *to = from);
        usize::from(match self {
            Self::Binary { zero_is_positive: false } => rise > 1.0 - rise,
            _ => first >= 0.0,
        })
    }
}
