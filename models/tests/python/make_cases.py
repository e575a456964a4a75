#!/usr/bin/env python3
"""Trains small models with the scikit-learn that runs this, and records what they predict.

    python models/tests/python/make_cases.py OUT_DIR

Every case is an artifact and a `NAME.json` beside it:

    {"artifact": "NAME.joblib", "sklearn": "1.9.1", "numpy": "2.4.6", "joblib": "1.6.0",
     "tags": ["forest", "regressor"],
     "positional": false,                 # true: fitted on an array; the columns' names are only x0, x1, ...
     "columns": [{"name": "ativo", "kind": "text" | "number", "values": ["BTC", null, ...]}],
     "predict": [...],                    # numbers, booleans or strings
     "row_by_row": false,                 # true: a null among the predictions is a row that scikit-learn raises for
     "predict_proba": [[...]] | null,     # one row per row
     "classes": [...] | null,
     "transformed": [[...]] | null,       # rows before the final estimator; null for a bare estimator
     "exact": true,                       # bit for bit; otherwise predictions to 1e-9 relative, probabilities to 1e-12
     "feature_names": [...] | null,       # of the features before the final estimator, where they are compared
     "largest_sums": [...] | null}        # linear models: the sum of the absolute terms of each prediction

Labels are always equal. `refused/` holds artifacts that no reader may accept, each with
`{"artifact": ..., "mentions": [words that the error must contain]}`.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from cases import contract, formats, linear, preprocessing, refused, texts, trees
from cases.writer import CaseWriter


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes artifacts of this scikit-learn and what they predict.")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    arguments = parser.parse_args()

    # Old and new scikit-learns warn about each other's parameters, and tiny data do not always converge.
    warnings.simplefilter("ignore")
    writer = CaseWriter(arguments.out_dir)
    for family in (trees, linear, preprocessing, contract, formats, texts):
        family.add_cases(writer)
    refused.add_cases(arguments.out_dir / "refused")
    print(f"{arguments.out_dir}: {writer.count} cases")


if __name__ == "__main__":
    main()
