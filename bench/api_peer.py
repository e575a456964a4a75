#!/usr/bin/env python3
"""The service that this project replaces, in its shape: FastAPI, joblib models in memory, prediction at request time.

python bench/api_peer.py --bucket DIR [--port N]
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, timezone
from pathlib import Path

import joblib
import pandas as pd
import uvicorn
from fastapi import FastAPI, HTTPException

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "glue"))
import train_models
from peers import Bucket


def create_app(bucket: Bucket) -> FastAPI:
    app = FastAPI(title="Cripto Prediction API")
    models = {name: joblib.load(path) for name, path in bucket.artifacts().items()}
    versions = {name: path.stem.rpartition("_")[2] for name, path in bucket.artifacts().items()}
    keys = train_models.FolderBucket(str(bucket.root)).keys("features")
    table = pd.read_parquet(bucket.root / train_models.newest_table_key(keys))
    newest = table.sort_values("data", kind="stable").groupby("ativo").tail(1)
    rows = {asset: newest[newest["ativo"] == asset] for asset in newest["ativo"]}

    def predict(name: str, row) -> dict:
        tipo = name.partition("_")[0]
        inputs = train_models.model_input(row)
        answer = {"predicao": models[name].predict(inputs)[0].item(), "modelo": name, "tipo": tipo}
        if tipo == "classifier":
            answer["probabilidade"] = models[name].predict_proba(inputs)[0, 1].item()
        return answer | {"versao": versions[name]}

    @app.get("/symbol/{ativo}")
    def symbol(ativo: str) -> dict:
        row = rows.get(ativo.upper())
        if row is None:
            raise HTTPException(404, f"no data for {ativo}")
        answers = {name: predict(name, row) for name in models}
        timestamp = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"ativo": ativo.upper(), "timestamp": timestamp, "modelos": answers, "total_modelos": len(answers)}

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves /symbol/{ativo} as the Python service does.")
    parser.add_argument("--bucket", type=Path, required=True, metavar="DIR")
    parser.add_argument("--port", type=int, default=8001)
    arguments = parser.parse_args()
    app = create_app(Bucket(arguments.bucket))
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
