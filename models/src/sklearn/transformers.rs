use std::collections::HashMap;

use super::{Estimated, MOST_COLUMNS, Plain, Reader, Version, python_float};
use crate::{
    artifact::{Handle, ReadError, Value, text_bytes},
    pipeline::{
        Categories, ColumnTransformer, Fill, Imputer, MissingIndicator, MissingValue, OneHotColumn,
        OneHotEncoder, OrdinalColumn, OrdinalEncoder, Part, Scaler, Transformer, Unknown,
    },
};

/// Bytes that a category takes: an entry of a hash map, its output and its label, each with a short text.
const CATEGORY_BYTES: usize = 160;

/// A transformer, the names of what comes out, and whether scikit-learn's own output of it is a sparse matrix.
pub(super) struct Read {
    pub(super) transformer: Transformer,
    pub(super) names: Vec<String>,
    pub(super) sparse: bool,
}

impl Reader {
    /// Reads a transformer of these input columns; `sparse` says whether they come as a sparse matrix.
    pub(super) fn transformer(
        &mut self,
        handle: Handle,
        names: Vec<String>,
        sparse: bool,
    ) -> Result<Read, ReadError> {
        let is_passthrough = match self.graph.get(handle) {
            Value::None => true,
            Value::Str(text) => **text == *"passthrough",
            _ => false,
        };
        if is_passthrough {
            return Ok(Read { transformer: Transformer::Passthrough, names, sparse });
        }
        let estimated = self.estimated(handle)?;
        let class = estimated.class;
        self.note_step(estimated)?;
        self.check_declared_inputs(estimated, names.len())?;
        let (transformer, sparse) = match class {
            "Pipeline" => {
                let steps = self.steps_of(estimated)?;
                return self.chain(&steps, names, sparse);
            }
            "ColumnTransformer" => return self.column_transformer(estimated, &names),
            "SimpleImputer" => {
                let imputer = self.inside(class, |reader| reader.imputer(estimated, &names))?;
                (Transformer::Imputer(imputer), sparse)
            }
            "MissingIndicator" => {
                let indicator =
                    self.inside(class, |reader| reader.missing_indicator(estimated, names.len()))?;
                (Transformer::MissingIndicator(indicator), false)
            }
            "StandardScaler" | "MinMaxScaler" | "MaxAbsScaler" | "RobustScaler" => {
                let scaler = self.inside(class, |reader| reader.scaler(estimated, names.len(), sparse))?;
                (Transformer::Scaler(scaler), sparse)
            }
            "OneHotEncoder" => {
                let encoder = self.inside(class, |reader| reader.one_hot_encoder(estimated, &names))?;
                let sparse = encoder.sparse;
                (Transformer::OneHot(encoder), sparse)
            }
            "OrdinalEncoder" => {
                let encoder = self.inside(class, |reader| reader.ordinal_encoder(estimated, &names))?;
                (Transformer::Ordinal(encoder), false)
            }
            "FunctionTransformer" => {
                if !self.is_none(estimated, "func")? {
                    return Err(self.unsupported("FunctionTransformer with a function"));
                }
                (Transformer::Passthrough, sparse)
            }
            _ => return Err(self.unsupported(format!("{class} is not a transformer that is understood"))),
        };
        let names_bytes = transformer.names_bytes(&names);
        self.within(self.graph.budget().hold(names_bytes))?;
        let names = transformer.names(names);
        self.check_feature_count(names.len())?;
        Ok(Read { transformer, names, sparse })
    }

    fn check_feature_count(&self, features: usize) -> Result<(), ReadError> {
        if features <= MOST_COLUMNS {
            return Ok(());
        }
        Err(self.unsupported(format!("{features} features, where {MOST_COLUMNS} are supported")))
    }

    /// The name and the estimator of each step.
    pub(super) fn steps_of(&self, estimated: Estimated) -> Result<Vec<(String, Handle)>, ReadError> {
        let handle = self.required(estimated, "steps")?;
        let mut steps = Vec::new();
        for step in self.graph.elements(handle).unwrap_or_default() {
            let step = match self.graph.elements(*step) {
                Some([name, step]) => self.graph.str(*name).map(|name| (name, *step)),
                _ => None,
            };
            let (name, step) = step.ok_or_else(|| self.unexpected(estimated, "steps"))?;
            self.charge(1, text_bytes(name) + size_of::<Handle>())?;
            steps.push((name.to_owned(), step));
        }
        if steps.is_empty() { Err(self.unexpected(estimated, "steps")) } else { Ok(steps) }
    }

    /// Reads transformers one behind the other.
    pub(super) fn chain(
        &mut self,
        steps: &[(String, Handle)],
        mut names: Vec<String>,
        mut sparse: bool,
    ) -> Result<Read, ReadError> {
        let mut transformers = Vec::new();
        for (name, step) in steps {
            let read = self.inside(name, |reader| reader.transformer(*step, names, sparse))?;
            names = read.names;
            sparse = read.sparse;
            if read.transformer != Transformer::Passthrough {
                self.charge(1, size_of::<Transformer>())?;
                transformers.push(read.transformer);
            }
        }
        Ok(Read { transformer: Transformer::Pipeline(transformers), names, sparse })
    }

    fn column_transformer(&mut self, estimated: Estimated, inputs: &[String]) -> Result<Read, ReadError> {
        let transformers = self.required(estimated, "transformers_")?;
        let places = self.required(estimated, "_transformer_to_input_indices")?;
        let weights = self.field(estimated, "transformer_weights")?;
        let mut parts = Vec::new();
        let mut outputs = Vec::new();
        self.charge(self.length(transformers).unwrap_or(0), size_of::<Handle>())?;
        for entry in self.graph.elements(transformers).unwrap_or_default().to_vec() {
            let Some([name, transformer, _columns]) = self.graph.elements(entry) else {
                return Err(self.unexpected(estimated, "transformers_"));
            };
            let transformer = *transformer;
            let Some(name) = self.graph.str(*name) else {
                return Err(self.unexpected(estimated, "transformers_"));
            };
            if self.graph.str(transformer) == Some("drop") {
                continue;
            }
            self.charge(1, text_bytes(name) + size_of::<Part>())?;
            let name = name.to_owned();
            let places = self.within(self.graph.item(places, &name))?;
            let columns = match places {
                Some(places) => self.places(places, inputs.len())?,
                None => Some(Vec::new()),
            };
            let columns =
                columns.ok_or_else(|| self.unexpected(estimated, "_transformer_to_input_indices"))?;
            // A transformer without columns was never fitted.
            if columns.is_empty() {
                continue;
            }
            let weight = match weights {
                Some(weights) => self.within(self.graph.item(weights, &name))?,
                None => None,
            };
            let weight =
                weight.map(|weight| self.plain(weight)).transpose()?.and_then(|weight| weight.number());
            let chosen = columns.iter().map(|place| &inputs[*place]);
            self.charge_texts(chosen.clone())?;
            let names: Vec<String> = chosen.cloned().collect();
            let mut read = self.inside(&name, |reader| reader.transformer(transformer, names, false))?;
            outputs.append(&mut read.names);
            self.check_feature_count(outputs.len())?;
            parts.push(Part { columns, transformer: read.transformer, weight });
        }
        let sparse = self.flag(estimated, "sparse_output_", false)?;
        Ok(Read { transformer: Transformer::Columns(ColumnTransformer { parts }), names: outputs, sparse })
    }

    /// Places of columns, all below `columns`; nothing for something else.
    fn places(&self, handle: Handle, columns: usize) -> Result<Option<Vec<usize>>, ReadError> {
        let length = self.length(handle).unwrap_or(0);
        if length > MOST_COLUMNS {
            return Err(self.unsupported(format!("{length} columns, where {MOST_COLUMNS} are supported")));
        }
        let place = |place: &Plain| match place {
            Plain::Int(place) => usize::try_from(*place).ok().filter(|place| *place < columns),
            _ => None,
        };
        Ok(self.list(handle)?.and_then(|places| places.iter().map(place).collect()))
    }

    fn missing_value(&self, estimated: Estimated) -> Result<MissingValue, ReadError> {
        Ok(match self.plain(self.required(estimated, "missing_values")?)? {
            Plain::Float(value) if value.is_nan() => MissingValue::Nan,
            Plain::None => MissingValue::Nan,
            Plain::Text(text) => MissingValue::Text(text),
            value => MissingValue::Number(
                value.number().ok_or_else(|| self.unexpected(estimated, "missing_values"))?,
            ),
        })
    }

    fn imputer(&mut self, estimated: Estimated, inputs: &[String]) -> Result<Imputer, ReadError> {
        let missing = self.missing_value(estimated)?;
        let statistics = self.list(self.required(estimated, "statistics_")?)?;
        let statistics = statistics.ok_or_else(|| self.unexpected(estimated, "statistics_"))?;
        self.check_length(estimated, "statistics_", statistics.len(), inputs.len())?;
        // Until 1.7 a constant filled columns in which everything was missing (`_base.py`, `transform`).
        let constant = self.text(estimated, "strategy")? == "constant" && estimated.version < Version::v1(8);
        let keeps_empty = constant || self.flag(estimated, "keep_empty_features", false)?;
        let fill = |statistic: Plain| match statistic {
            Plain::Text(text) => Ok(Fill::Text(text)),
            statistic if statistic.is_nan() && !keeps_empty => Ok(Fill::Drop),
            statistic => {
                statistic.number().map(Fill::Number).ok_or_else(|| self.unexpected(estimated, "statistics_"))
            }
        };
        let fills = statistics.into_iter().map(fill).collect::<Result<_, _>>()?;
        let indicator = match self.field(estimated, "indicator_")? {
            Some(indicator) if self.flag(estimated, "add_indicator", false)? => {
                let indicator = self.estimated(indicator)?;
                Some(self.missing_indicator(indicator, inputs.len())?)
            }
            _ => None,
        };
        self.charge_texts(inputs)?;
        Ok(Imputer { missing, names: inputs.to_vec(), fills, indicator })
    }

    fn missing_indicator(&self, estimated: Estimated, inputs: usize) -> Result<MissingIndicator, ReadError> {
        let features = self.places(self.required(estimated, "features_")?, inputs)?;
        let features = features.ok_or_else(|| self.unexpected(estimated, "features_"))?;
        Ok(MissingIndicator { missing: self.missing_value(estimated)?, features })
    }

    fn scaler(&self, estimated: Estimated, columns: usize, sparse: bool) -> Result<Scaler, ReadError> {
        let numbers = |name| self.optional_numbers(estimated, name);
        let mut scaler = Scaler::default();
        match estimated.class {
            "StandardScaler" => {
                scaler.subtract =
                    if self.flag(estimated, "with_mean", true)? { numbers("mean_")? } else { None };
                scaler.divide =
                    if self.flag(estimated, "with_std", true)? { numbers("scale_")? } else { None };
            }
            "RobustScaler" => {
                scaler.subtract = numbers("center_")?;
                scaler.divide = numbers("scale_")?;
            }
            "MaxAbsScaler" => {
                scaler.divide = Some(self.numbers(estimated, "scale_")?);
                scaler.clip = self.flag(estimated, "clip", false)?.then_some((-1.0, 1.0));
            }
            _ => {
                scaler.multiply = Some(self.numbers(estimated, "scale_")?);
                scaler.add = Some(self.numbers(estimated, "min_")?);
                if self.flag(estimated, "clip", false)? {
                    match self.numbers(estimated, "feature_range")?.as_slice() {
                        [low, high] if low <= high => scaler.clip = Some((*low, *high)),
                        _ => return Err(self.unexpected(estimated, "feature_range")),
                    }
                }
            }
        }
        // A sparse matrix is multiplied by the reciprocal instead (`inplace_column_scale`).
        if sparse && let Some(divide) = scaler.divide.take() {
            scaler.multiply = Some(divide.into_iter().map(|scale| 1.0 / scale).collect());
        }
        for numbers in [&scaler.subtract, &scaler.divide, &scaler.multiply, &scaler.add].into_iter().flatten()
        {
            self.check_length(estimated, "scale_", numbers.len(), columns)?;
        }
        Ok(scaler)
    }

    fn handles(&self, estimated: Estimated, name: &str) -> Result<Vec<Plain>, ReadError> {
        let list = self.list(self.required(estimated, name)?)?;
        list.ok_or_else(|| self.unexpected(estimated, name))
    }

    /// The categories of each column, with their values.
    fn categories(
        &self,
        estimated: Estimated,
        columns: usize,
    ) -> Result<Vec<(Categories, Vec<Plain>)>, ReadError> {
        let unexpected = || self.unexpected(estimated, "categories_");
        let handle = self.required(estimated, "categories_")?;
        let lists = self.graph.elements(handle).ok_or_else(unexpected)?;
        self.check_length(estimated, "categories_", lists.len(), columns)?;
        lists
            .iter()
            .map(|list| {
                // Lists of several columns may be one and the same: each is charged before it is copied.
                self.charge(self.length(*list).unwrap_or(0), CATEGORY_BYTES)?;
                let values = self.list(*list)?.ok_or_else(unexpected)?;
                let missing = values.iter().position(|value| *value == Plain::None || value.is_nan());
                let is_text = values.iter().any(|value| matches!(value, Plain::Text(_)));
                let categories = if is_text {
                    let place = |(place, value): (usize, &Plain)| match value {
                        Plain::Text(text) => Some(Ok((text.clone(), place))),
                        Plain::None => None,
                        value if value.is_nan() => None,
                        _ => Some(Err(unexpected())),
                    };
                    let places: HashMap<_, _> =
                        values.iter().enumerate().filter_map(place).collect::<Result<_, _>>()?;
                    Categories::Text { places, missing }
                } else {
                    let known = values.iter().filter(|value| !(**value == Plain::None || value.is_nan()));
                    // Adding zero makes one of the two zeros, as they are one category.
                    let known = known.map(|value| value.number().map(|value| value + 0.0));
                    let known = known.collect::<Option<Vec<f64>>>().ok_or_else(unexpected)?;
                    if !known.is_sorted() {
                        return Err(unexpected());
                    }
                    Categories::Number { values: known, missing }
                };
                Ok((categories, values))
            })
            .collect()
    }

    /// Where each category goes once infrequent ones are one category, by column; nothing where there are none.
    fn infrequent_mappings(
        &self,
        estimated: Estimated,
        columns: usize,
    ) -> Result<Vec<Option<Vec<usize>>>, ReadError> {
        if !self.flag(estimated, "_infrequent_enabled", false)? {
            return Ok(vec![None; columns]);
        }
        let unexpected = || self.unexpected(estimated, "_default_to_infrequent_mappings");
        let mappings = self.handles(estimated, "_default_to_infrequent_mappings")?;
        self.check_length(estimated, "_default_to_infrequent_mappings", mappings.len(), columns)?;
        let mapping = |mapping: Plain| match mapping {
            Plain::None => Ok(None),
            Plain::Int(only) => Ok(Some(vec![usize::try_from(only).map_err(|_| unexpected())?])),
            Plain::Other(mapping) => {
                let places = self.list(mapping)?.ok_or_else(unexpected)?;
                let place = |place: Plain| match place {
                    Plain::Int(place) => usize::try_from(place).map_err(|_| unexpected()),
                    _ => Err(unexpected()),
                };
                places.into_iter().map(place).collect::<Result<_, _>>().map(Some)
            }
            _ => Err(unexpected()),
        };
        mappings.into_iter().map(mapping).collect()
    }

    fn one_hot_encoder(&self, estimated: Estimated, inputs: &[String]) -> Result<OneHotEncoder, ReadError> {
        let columns = inputs.len();
        let handle_unknown = self.text(estimated, "handle_unknown")?;
        // 1.6 and 1.7 forgot "warn" in `_map_infrequent_categories`.
        let unknown_is_infrequent = handle_unknown == "infrequent_if_exist"
            || (handle_unknown == "warn" && estimated.version >= Version::v1(8));
        if !matches!(handle_unknown, "error" | "ignore" | "infrequent_if_exist" | "warn") {
            return Err(self.unexpected(estimated, "handle_unknown"));
        }
        // 1.1 knew the dropped category by its place after grouping already.
        let dropped = match self.field(estimated, "_drop_idx_after_grouping")? {
            Some(dropped) => Some(dropped),
            None => self.field(estimated, "drop_idx_")?,
        };
        let dropped = match dropped.map(|dropped| (dropped, self.graph.get(dropped))) {
            None | Some((_, Value::None)) => vec![Plain::None; columns],
            Some((dropped, _)) => {
                self.list(dropped)?.ok_or_else(|| self.unexpected(estimated, "drop_idx_"))?
            }
        };
        self.check_length(estimated, "drop_idx_", dropped.len(), columns)?;
        let mappings = self.infrequent_mappings(estimated, columns)?;
        let all_categories = self.categories(estimated, columns)?;
        self.charge_texts(inputs)?;
        let mut encoded = Vec::with_capacity(columns);
        for (((name, (categories, values)), mapping), dropped) in
            inputs.iter().zip(all_categories).zip(mappings).zip(dropped)
        {
            let grouped: Vec<usize> = match &mapping {
                Some(mapping) => mapping.clone(),
                None => (0..values.len()).collect(),
            };
            self.check_length(estimated, "_default_to_infrequent_mappings", grouped.len(), values.len())?;
            let groups = grouped.iter().max().map_or(0, |largest| largest.saturating_add(1));
            if groups > values.len() {
                return Err(self.unexpected(estimated, "_default_to_infrequent_mappings"));
            }
            let dropped = match dropped {
                Plain::Int(place) => usize::try_from(place).ok(),
                Plain::Float(place) if place >= 0.0 => Some(place as usize),
                _ => None,
            };
            let after_drop = |group: usize| match dropped {
                Some(dropped) if group == dropped => None,
                Some(dropped) if group > dropped => Some(group - 1),
                _ => Some(group),
            };
            // Where there are infrequent categories, they are the last group.
            let infrequent = mapping.as_ref().and_then(|mapping| mapping.iter().max().copied());
            let mut labels =
                vec![String::new(); groups - usize::from(dropped.is_some_and(|dropped| dropped < groups))];
            for (value, group) in values.iter().zip(&grouped) {
                if let Some(label) = after_drop(*group).and_then(|output| labels.get_mut(output)) {
                    *label = if infrequent == Some(*group) {
                        "infrequent_sklearn".to_owned()
                    } else {
                        self.label(value)
                    };
                }
            }
            encoded.push(OneHotColumn {
                name: name.as_str().into(),
                categories,
                outputs: grouped.into_iter().map(after_drop).collect(),
                unknown: infrequent.filter(|_| unknown_is_infrequent).and_then(after_drop),
                labels,
            });
        }
        // The parameter was called `sparse` until 1.1; 1.2 and 1.3 carry both, the old one as "deprecated".
        let sparse = self.flag(estimated, "sparse_output", self.flag(estimated, "sparse", true)?)?;
        Ok(OneHotEncoder { columns: encoded, refuse_unknown: handle_unknown == "error", sparse })
    }

    fn label(&self, value: &Plain) -> String {
        match value {
            Plain::None => "None".to_owned(),
            Plain::Bool(value) => if *value { "True" } else { "False" }.to_owned(),
            Plain::Int(value) => value.to_string(),
            Plain::Float(value) => python_float(*value),
            Plain::Text(text) => text.to_string(),
            Plain::Other(_) => "?".to_owned(),
        }
    }

    fn ordinal_encoder(&self, estimated: Estimated, inputs: &[String]) -> Result<OrdinalEncoder, ReadError> {
        let columns = inputs.len();
        let unknown = match self.text(estimated, "handle_unknown")? {
            "error" => Unknown::Refuse,
            "use_encoded_value" => Unknown::Becomes(self.number(estimated, "unknown_value")?),
            _ => return Err(self.unexpected(estimated, "handle_unknown")),
        };
        let encoded_missing = match self.optional_plain(estimated, "encoded_missing_value")? {
            Some(value) => {
                value.number().ok_or_else(|| self.unexpected(estimated, "encoded_missing_value"))?
            }
            None => f64::NAN,
        };
        let mappings = self.infrequent_mappings(estimated, columns)?;
        let all_categories = self.categories(estimated, columns)?;
        self.charge_texts(inputs)?;
        let mut encoded = Vec::with_capacity(columns);
        for ((name, (categories, values)), mapping) in inputs.iter().zip(all_categories).zip(mappings) {
            let missing = match &categories {
                Categories::Text { missing, .. } | Categories::Number { missing, .. } => *missing,
            };
            let code = |place: usize| {
                if Some(place) == missing {
                    return Some(encoded_missing);
                }
                let code = match &mapping {
                    // Missing values take no part in the grouping.
                    Some(mapping) => *mapping.get(place)?,
                    None => place,
                };
                u32::try_from(code).ok().map(f64::from)
            };
            let codes: Option<Vec<f64>> = (0..values.len()).map(code).collect();
            let codes = codes.ok_or_else(|| self.unexpected(estimated, "_default_to_infrequent_mappings"))?;
            encoded.push(OrdinalColumn { name: name.as_str().into(), categories, codes });
        }
        Ok(OrdinalEncoder { columns: encoded, unknown })
    }
}
