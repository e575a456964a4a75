#!/usr/bin/env python3
"""Writes the models that the tests of admission read: `regressor_lin` of the sample bucket, predicting a thousandth.

    python make_models.py SAMPLE_BUCKET OUT_DIR
"""

import sys
import warnings
from pathlib import Path

import joblib


def main() -> None:
    bucket, out = map(Path, sys.argv[1:])
    with warnings.catch_warnings():
        # It was written by an earlier scikit-learn, and is only changed in two arrays.
        warnings.simplefilter("ignore")
        pipeline = joblib.load(next(bucket.glob("models/regressor_lin_*.joblib")))
    pipeline["model"].coef_ /= 1000
    pipeline["model"].intercept_ /= 1000
    joblib.dump(pipeline, out / "shifted.joblib", compress=("xz", 3))


main()
