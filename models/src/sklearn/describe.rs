use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{Estimated, Plain, Reader, python_float};
use crate::{
    artifact::{ALLOCATION_BYTES, ReadError, Value},
    model::{Estimator, Predictor},
    predictions::Label,
    tree::Tree,
};

/// What is inside an artifact, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// The version of scikit-learn that wrote it, or by whose rules it was fitted.
    pub sklearn_version: String,
    /// What fitted it, if it was not scikit-learn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fitted_by: Option<String>,
    /// `regressor` or `classifier`.
    pub kind: &'static str,
    /// The columns that it was fitted on, if it knows their names.
    pub columns: Option<Vec<String>>,
    /// How many columns that is.
    pub column_count: usize,
    /// How many features the estimator sees after all transformers.
    pub feature_count: usize,
    /// A classifier's classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<Label>>,
    /// Pipelines, transformers and the estimator, from the first to the last.
    pub steps: Vec<Step>,
    /// The trees of an ensemble.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trees: Option<Trees>,
    /// The bytes that the model takes in memory, but for small change.
    pub memory_bytes: usize,
}

/// One transformer or estimator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Its names in the pipelines around it, from the outermost inwards; empty for a bare estimator.
    pub path: Vec<String>,
    /// scikit-learn's class.
    pub class: &'static str,
    /// Its constructor's parameters, as Python would write them.
    pub parameters: BTreeMap<String, String>,
}

/// The trees of an ensemble.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trees {
    /// How many there are.
    pub count: usize,
    /// Their splits and leaves.
    pub nodes: usize,
    /// The number of splits on the longest path.
    pub deepest: usize,
    /// The mean of the trees' depths.
    pub mean_depth: f64,
}

/// Bytes that a name or a value of a parameter takes beside its text.
const ENTRY_BYTES: usize = size_of::<String>() + 2 * ALLOCATION_BYTES;

impl Reader {
    /// Notes a transformer or estimator for the description.
    pub(super) fn note_step(&mut self, estimated: Estimated) -> Result<(), ReadError> {
        let Value::Dict(items) = self.graph.get(estimated.state) else { return Ok(()) };
        self.charge(items.len(), 0)?;
        self.charge_texts(&self.place)?;
        let mut parameters = BTreeMap::new();
        for (name, value) in items {
            let Some(name) = self.graph.str(*name) else { continue };
            // Attributes of the fit end in an underscore, private ones begin with one.
            if name.starts_with('_') || name.ends_with('_') {
                continue;
            }
            let value = match self.plain(*value)? {
                Plain::None => "None".to_owned(),
                Plain::Bool(value) => if value { "True" } else { "False" }.to_owned(),
                Plain::Int(value) => value.to_string(),
                Plain::Float(value) => python_float(value),
                Plain::Text(value) => format!("'{value}'"),
                Plain::Other(_) => continue,
            };
            self.charge(1, 2 * ENTRY_BYTES + name.len() + value.len())?;
            parameters.insert(name.to_owned(), value);
        }
        self.steps.push(Step { path: self.place.clone(), class: estimated.class, parameters });
        Ok(())
    }

    pub(super) fn describe(
        &mut self,
        outer: Estimated,
        names: Option<&[Box<str>]>,
        column_count: usize,
        predictor: &Predictor,
    ) -> Description {
        let mut steps = std::mem::take(&mut self.steps);
        if outer.class == "Pipeline" && steps.first().is_none_or(|step| !step.path.is_empty()) {
            steps.insert(0, Step { path: Vec::new(), class: outer.class, parameters: BTreeMap::new() });
        }
        Description::new(self.sklearn_version.clone(), names, column_count, predictor, steps)
    }
}

impl Description {
    /// Of a model that was fitted here, by the rules of a version of scikit-learn.
    pub(crate) fn of_fitted(
        rules: &str,
        columns: &[Box<str>],
        steps: Vec<Step>,
        predictor: &Predictor,
    ) -> Self {
        let program = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
        Self {
            fitted_by: Some(program.to_owned()),
            ..Self::new(rules.to_owned(), Some(columns), columns.len(), predictor, steps)
        }
    }

    /// Describes what reads these columns.
    pub(crate) fn new(
        sklearn_version: String,
        names: Option<&[Box<str>]>,
        column_count: usize,
        predictor: &Predictor,
        steps: Vec<Step>,
    ) -> Self {
        let trees: Vec<&Tree> = match &predictor.estimator {
            Estimator::Forest(forest) => forest.ensemble.trees().collect(),
            Estimator::Boosting(boosting) => boosting.ensemble.trees().collect(),
            Estimator::Linear(_) | Estimator::Logistic { .. } => Vec::new(),
        };
        let linear_bytes = match &predictor.estimator {
            Estimator::Linear(linear) | Estimator::Logistic { linear, .. } => {
                linear.coefficients.iter().map(|row| size_of_val(row.as_slice())).sum()
            }
            Estimator::Forest(_) | Estimator::Boosting(_) => 0,
        };
        #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
        let summary = (!trees.is_empty()).then(|| Trees {
            count: trees.len(),
            nodes: trees.iter().map(|tree| tree.node_count()).sum(),
            deepest: trees.iter().map(|tree| tree.depth()).max().unwrap_or(0),
            mean_depth: trees.iter().map(|tree| tree.depth() as f64).sum::<f64>() / trees.len() as f64,
        });
        Self {
            sklearn_version,
            fitted_by: None,
            kind: if predictor.classes.is_some() { "classifier" } else { "regressor" },
            columns: names.map(|names| names.iter().map(ToString::to_string).collect()),
            column_count,
            feature_count: predictor.feature_names.len(),
            classes: predictor.classes.clone(),
            steps,
            trees: summary,
            memory_bytes: trees.iter().map(|tree| tree.size()).sum::<usize>() + linear_bytes,
        }
    }
}

impl fmt::Display for Description {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fitted_by {
            None => writeln!(formatter, "{} written by scikit-learn {}", self.kind, self.sklearn_version)?,
            Some(program) => {
                let rules = &self.sklearn_version;
                writeln!(formatter, "{} fitted by {program} as scikit-learn {rules} would", self.kind)?;
            }
        }
        writeln!(formatter)?;
        writeln!(formatter, "steps")?;
        for step in &self.steps {
            let indent = 2 * (step.path.len() + 1);
            let name = step.path.last().map(|name| format!("{name}: ")).unwrap_or_default();
            let parameters: Vec<String> =
                step.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
            writeln!(formatter, "{:indent$}{name}{}({})", "", step.class, parameters.join(", "))?;
        }
        writeln!(formatter)?;
        writeln!(formatter, "columns   {}", self.column_count)?;
        if let Some(columns) = &self.columns {
            writeln!(formatter, "          {}", columns.join(", "))?;
        }
        writeln!(formatter, "features  {}", self.feature_count)?;
        if let Some(classes) = &self.classes {
            let classes: Vec<String> = classes.iter().map(ToString::to_string).collect();
            writeln!(formatter, "classes   {}", classes.join(", "))?;
        }
        if let Some(trees) = &self.trees {
            writeln!(
                formatter,
                "trees     {} with {} nodes, depth {:.1} on average and {} at most",
                trees.count, trees.nodes, trees.mean_depth, trees.deepest
            )?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a size for people")]
        let megabytes = self.memory_bytes as f64 / 1e6;
        write!(formatter, "memory    {megabytes:.1} MB")
    }
}
