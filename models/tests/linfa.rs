//! A loaded model is a linfa model.

#![expect(clippy::unwrap_used, reason = "tests")]

use linfa::{
    DatasetBase,
    traits::{Predict, PredictInplace},
};
use models::{Column, Limits, Model, Outcome, Table};
use ndarray::{Array1, Array2};

fn model(seed: &str) -> Model {
    let path = format!("{}/fuzz/seeds/read/{seed}", env!("CARGO_MANIFEST_DIR"));
    Model::read(std::fs::File::open(path).unwrap(), &Limits::default()).unwrap()
}

fn numbers(columns: usize) -> (Array2<f64>, Table) {
    let array = Array2::from_shape_fn((70, columns), |(row, column)| {
        (row * 37 % 70) as f64 / 35.0 - column as f64 / 3.0
    });
    let column = |place: usize| (format!("x{place}"), Column::Number(array.column(place).to_vec()));
    let table = Table::new((0..columns).map(column)).unwrap();
    (array, table)
}

#[test]
fn a_regressor_predicts_from_an_array_a_dataset_and_a_table_alike() {
    let model = model("19_tree_regressor_stump");
    let (array, table) = numbers(model.describe().column_count);
    let Outcome::Values(expected) = model.predict(&table).unwrap().outcome else { unreachable!() };
    let expected = Array1::from(expected);
    let from_array: Array1<f64> = Predict::predict(&model, &array);
    assert_eq!(from_array, expected);
    let mut from_table = model.default_target(&table);
    model.predict_inplace(&table, &mut from_table);
    assert_eq!(from_table, expected);
    let dataset: DatasetBase<Array2<f64>, Array1<f64>> = Predict::predict(&model, DatasetBase::from(array));
    assert_eq!(dataset.targets, expected);
}

#[test]
#[should_panic(expected = "exactly the columns")]
fn an_array_of_more_columns_than_the_model_was_fitted_on_is_not_answered() {
    let model = model("19_tree_regressor_stump");
    let (array, _) = numbers(model.describe().column_count + 1);
    let _: Array1<f64> = Predict::predict(&model, &array);
}

#[test]
fn a_classifier_predicts_the_places_of_its_classes() {
    let model = model("19_logistic_three");
    let (array, table) = numbers(model.describe().column_count);
    let Outcome::Classes { predicted, .. } = model.predict(&table).unwrap().outcome else { unreachable!() };
    let places: Array1<f64> = Predict::predict(&model, &array);
    assert!(places.iter().zip(&predicted).all(|(place, class)| *place == f64::from(*class)));
    assert!(predicted.contains(&2), "three classes are told apart");
}
