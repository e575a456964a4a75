//! The closed list of classes and functions that an artifact may name. It is never extended by an artifact.

/// A class or function that is understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) module: &'static str,
    pub(crate) name: &'static str,
    pub(crate) role: Role,
}

/// How the machine treats what a [`Known`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A scikit-learn class with a state that the crate interprets.
    Estimator,
    /// A class, or a function that rebuilds one, whose objects play no part in predicting: random generators, losses.
    Inert,
    /// A type that is only ever a value, such as the `dtype` parameter of an encoder.
    Type,
    /// `sklearn.tree._tree.Tree`.
    Tree,
    /// `joblib.numpy_pickle.NumpyArrayWrapper`: the array's bytes follow it in the stream.
    ArrayWrapper,
    /// `numpy.ndarray`.
    NdArray,
    /// `numpy.core.multiarray._reconstruct`: an array whose shape and bytes come with its state.
    Reconstruct,
    /// `numpy.core.numeric._frombuffer`.
    FromBuffer,
    /// `numpy.core.multiarray.scalar`.
    Scalar,
    /// `numpy.dtype`.
    Dtype,
    /// `_codecs.encode`, by which protocol 2 writes bytes as Latin-1 text.
    Encode,
    /// `copyreg._reconstructor`.
    Reconstructor,
    /// `builtins.slice`.
    Slice,
    /// `builtins.bytes` and `bytearray`.
    Bytes,
    /// `builtins.set`, `frozenset` and `list`.
    List,
    /// `collections.OrderedDict` and `dict`.
    Dict,
}

const fn known(module: &'static str, name: &'static str, role: Role) -> Known {
    Known { module, name, role }
}

/// The entry for `module.name`, if it is on the list.
pub(super) fn find(module: &str, name: &str) -> Option<&'static Known> {
    // numpy 2 renamed numpy.core; protocol 2 writes Python 2's names.
    let renamed;
    let module = match module {
        "copy_reg" => "copyreg",
        "__builtin__" => "builtins",
        _ if module.starts_with("numpy._core.") => {
            renamed = module.replacen("numpy._core.", "numpy.core.", 1);
            renamed.as_str()
        }
        _ => module,
    };
    KNOWN.iter().find(|known| known.name == name && known.module == module)
}

/// The name of a scikit-learn class on the list.
pub(crate) fn class_name(name: &str) -> Option<&'static str> {
    KNOWN.iter().find(|known| known.name == name && known.role == Role::Estimator).map(|known| known.name)
}

use Role::{Estimator, Inert, Type};

#[rustfmt::skip]
static KNOWN: &[Known] = &[
    known("sklearn.tree._tree", "Tree", Role::Tree),
    known("sklearn.tree._classes", "DecisionTreeRegressor", Estimator),
    known("sklearn.tree._classes", "DecisionTreeClassifier", Estimator),
    known("sklearn.tree._classes", "ExtraTreeRegressor", Estimator),
    known("sklearn.tree._classes", "ExtraTreeClassifier", Estimator),
    known("sklearn.ensemble._forest", "RandomForestRegressor", Estimator),
    known("sklearn.ensemble._forest", "RandomForestClassifier", Estimator),
    known("sklearn.ensemble._forest", "ExtraTreesRegressor", Estimator),
    known("sklearn.ensemble._forest", "ExtraTreesClassifier", Estimator),
    known("sklearn.ensemble._gb", "GradientBoostingRegressor", Estimator),
    known("sklearn.ensemble._gb", "GradientBoostingClassifier", Estimator),
    known("sklearn.dummy", "DummyRegressor", Estimator),
    known("sklearn.dummy", "DummyClassifier", Estimator),
    known("sklearn.linear_model._base", "LinearRegression", Estimator),
    known("sklearn.linear_model._ridge", "Ridge", Estimator),
    known("sklearn.linear_model._coordinate_descent", "Lasso", Estimator),
    known("sklearn.linear_model._coordinate_descent", "ElasticNet", Estimator),
    known("sklearn.linear_model._logistic", "LogisticRegression", Estimator),
    known("sklearn.pipeline", "Pipeline", Estimator),
    known("sklearn.compose._column_transformer", "ColumnTransformer", Estimator),
    known("sklearn.compose._column_transformer", "_RemainderColsList", Estimator),
    known("sklearn.impute._base", "SimpleImputer", Estimator),
    known("sklearn.impute._base", "MissingIndicator", Estimator),
    known("sklearn.preprocessing._data", "StandardScaler", Estimator),
    known("sklearn.preprocessing._data", "MinMaxScaler", Estimator),
    known("sklearn.preprocessing._data", "MaxAbsScaler", Estimator),
    known("sklearn.preprocessing._data", "RobustScaler", Estimator),
    known("sklearn.preprocessing._encoders", "OneHotEncoder", Estimator),
    known("sklearn.preprocessing._encoders", "OrdinalEncoder", Estimator),
    known("sklearn.preprocessing._function_transformer", "FunctionTransformer", Estimator),

    known("sklearn.ensemble._gb_losses", "LeastSquaresError", Inert),
    known("sklearn.ensemble._gb_losses", "LeastAbsoluteError", Inert),
    known("sklearn.ensemble._gb_losses", "HuberLossFunction", Inert),
    known("sklearn.ensemble._gb_losses", "QuantileLossFunction", Inert),
    known("sklearn.ensemble._gb_losses", "BinomialDeviance", Inert),
    known("sklearn.ensemble._gb_losses", "MultinomialDeviance", Inert),
    known("sklearn.ensemble._gb_losses", "ExponentialLoss", Inert),
    known("sklearn._loss.loss", "HalfSquaredError", Inert),
    known("sklearn._loss.loss", "AbsoluteError", Inert),
    known("sklearn._loss.loss", "HuberLoss", Inert),
    known("sklearn._loss.loss", "PinballLoss", Inert),
    known("sklearn._loss.loss", "HalfBinomialLoss", Inert),
    known("sklearn._loss.loss", "HalfMultinomialLoss", Inert),
    known("sklearn._loss.loss", "ExponentialLoss", Inert),
    known("sklearn._loss._loss", "CyHalfSquaredError", Inert),
    known("sklearn._loss._loss", "CyAbsoluteError", Inert),
    known("sklearn._loss._loss", "CyHuberLoss", Inert),
    known("sklearn._loss._loss", "CyPinballLoss", Inert),
    known("sklearn._loss._loss", "CyHalfBinomialLoss", Inert),
    known("sklearn._loss._loss", "CyHalfMultinomialLoss", Inert),
    known("sklearn._loss._loss", "CyExponentialLoss", Inert),
    known("sklearn._loss._loss", "__pyx_unpickle_CyHalfSquaredError", Inert),
    known("sklearn._loss._loss", "__pyx_unpickle_CyAbsoluteError", Inert),
    known("sklearn._loss._loss", "__pyx_unpickle_CyHuberLoss", Inert),
    known("sklearn._loss._loss", "__pyx_unpickle_CyPinballLoss", Inert),
    known("sklearn._loss._loss", "__pyx_unpickle_CyHalfBinomialLoss", Inert),
    known("sklearn._loss._loss", "__pyx_unpickle_CyHalfMultinomialLoss", Inert),
    known("sklearn._loss._loss", "__pyx_unpickle_CyExponentialLoss", Inert),
    // scikit-learn 1.5 to 1.8 pickled these by the bare name of the extension module.
    known("_loss", "CyHalfSquaredError", Inert),
    known("_loss", "CyAbsoluteError", Inert),
    known("_loss", "CyHuberLoss", Inert),
    known("_loss", "CyPinballLoss", Inert),
    known("_loss", "CyHalfBinomialLoss", Inert),
    known("_loss", "CyHalfMultinomialLoss", Inert),
    known("_loss", "CyExponentialLoss", Inert),
    known("_loss", "__pyx_unpickle_CyHalfSquaredError", Inert),
    known("_loss", "__pyx_unpickle_CyAbsoluteError", Inert),
    known("_loss", "__pyx_unpickle_CyHuberLoss", Inert),
    known("_loss", "__pyx_unpickle_CyPinballLoss", Inert),
    known("_loss", "__pyx_unpickle_CyHalfBinomialLoss", Inert),
    known("_loss", "__pyx_unpickle_CyHalfMultinomialLoss", Inert),
    known("_loss", "__pyx_unpickle_CyExponentialLoss", Inert),
    // Columns given as a pandas Index; the fitted transformer knows their places.
    known("pandas.core.indexes.base", "_new_Index", Inert),
    known("pandas.core.indexes.base", "Index", Inert),
    known("pandas", "Index", Inert),
    known("pandas", "StringDtype", Inert),
    known("pandas.arrays", "ArrowStringArray", Inert),
    known("pyarrow.lib", "_restore_array", Inert),
    known("pyarrow.lib", "type_for_alias", Inert),
    known("pyarrow.lib", "py_buffer", Inert),
    known("sklearn.compose._column_transformer", "make_column_selector", Inert),
    known("sklearn._loss.link", "IdentityLink", Inert),
    known("sklearn._loss.link", "LogLink", Inert),
    known("sklearn._loss.link", "LogitLink", Inert),
    known("sklearn._loss.link", "HalfLogitLink", Inert),
    known("sklearn._loss.link", "MultinomialLogit", Inert),
    known("sklearn._loss.link", "Interval", Inert),
    known("numpy.random._pickle", "__randomstate_ctor", Inert),
    known("numpy.random._pickle", "__generator_ctor", Inert),
    known("numpy.random._pickle", "__bit_generator_ctor", Inert),
    known("numpy.random._mt19937", "MT19937", Inert),
    known("numpy.random._pcg64", "PCG64", Inert),
    known("numpy.random.bit_generator", "SeedSequence", Inert),
    known("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence", Inert),

    known("joblib.numpy_pickle", "NumpyArrayWrapper", Role::ArrayWrapper),
    known("numpy", "ndarray", Role::NdArray),
    known("numpy", "dtype", Role::Dtype),
    known("numpy.core.multiarray", "_reconstruct", Role::Reconstruct),
    known("numpy.core.multiarray", "scalar", Role::Scalar),
    known("numpy.core.numeric", "_frombuffer", Role::FromBuffer),
    known("_codecs", "encode", Role::Encode),
    known("copyreg", "_reconstructor", Role::Reconstructor),
    known("builtins", "slice", Role::Slice),
    known("builtins", "bytes", Role::Bytes),
    known("builtins", "bytearray", Role::Bytes),
    known("builtins", "list", Role::List),
    known("builtins", "set", Role::List),
    known("builtins", "frozenset", Role::List),
    known("builtins", "dict", Role::Dict),
    known("collections", "OrderedDict", Role::Dict),

    known("builtins", "object", Type),
    known("builtins", "str", Type),
    known("builtins", "int", Type),
    known("builtins", "float", Type),
    known("builtins", "bool", Type),
    known("numpy", "object_", Type),
    known("numpy", "bool_", Type),
    known("numpy", "bool", Type),
    known("numpy", "str_", Type),
    known("numpy", "int8", Type),
    known("numpy", "int16", Type),
    known("numpy", "int32", Type),
    known("numpy", "int64", Type),
    known("numpy", "uint8", Type),
    known("numpy", "uint16", Type),
    known("numpy", "uint32", Type),
    known("numpy", "uint64", Type),
    known("numpy", "float16", Type),
    known("numpy", "float32", Type),
    known("numpy", "float64", Type),
];
