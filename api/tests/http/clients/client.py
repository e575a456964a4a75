"""Uses a client that openapi-python-client has generated: python client.py FOLDER URL"""

import sys
from importlib import import_module

sys.path.insert(0, sys.argv[1])

from generated import Client
from generated.models import (
    ClassifierPrediction, Error, ManySymbols, RegressorPrediction, Symbol, Symbols, SymbolsRequest,
)

client = Client(base_url=sys.argv[2])


def call(operation, *arguments, **parameters):
    # The name of the package is a word with an accent, as the tags are.
    module = import_module(f"generated.api.previsões.{operation}")
    return module.sync(*arguments, client=client, **parameters)


symbol = call("get_symbol", "btc")
assert isinstance(symbol, Symbol), symbol
assert (symbol.ativo, symbol.geracao, symbol.ultimo_fechamento) == ("BTC", 1, 1.0), symbol
close = symbol.modelos["regressor_rf"]
direction = symbol.modelos["classifier_rf"]
assert isinstance(close, RegressorPrediction) and close.predicao == 1.5, close
assert isinstance(direction, ClassifierPrediction) and direction.probabilidade == 0.75, direction

unknown = call("get_symbol", "XYZ")
assert isinstance(unknown, Error) and unknown.status == 404, unknown

listed = call("get_symbols")
assert isinstance(listed, Symbols) and listed.symbols == ["BTC", "DOGE", "ETH"], listed
for many in [
    call("get_symbols", ativos=["BTC", "XYZ"]),
    call("post_symbols", body=SymbolsRequest(ativos=["BTC", "XYZ"])),
]:
    assert isinstance(many, ManySymbols), many
    assert many.ativos["BTC"] == symbol and many.desconhecidos == ["XYZ"], many

ranking = call("get_ranking", modelo="regressor_rf")
assert [place.ativo for place in ranking.ranking] == ["BTC", "ETH"], ranking
assert call("get_models").versions["classifier_rf"] == "20250729-2130"
assert call("get_columns").ultimo_fechamento == [1.0, None, 2.0]
