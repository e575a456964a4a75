// Uses a client over the types that openapi-typescript has generated: node client.js URL
import createClient from "openapi-fetch";
import type { paths } from "./schema";

declare const process: { argv: string[] };

const client = createClient<paths>({ baseUrl: process.argv[2]! });

function check(holds: boolean, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

const { data: symbol } = await client.GET("/symbol/{ativo}", { params: { path: { ativo: "btc" } } });
check(symbol !== undefined && symbol.ativo === "BTC" && symbol.ultimo_fechamento === 1, symbol);
const direction = symbol.modelos["classifier_rf"];
// The kind tells which fields there are, to the compiler too.
check(direction?.tipo === "classifier" && direction.probabilidade === 0.75, direction);

const { error } = await client.GET("/symbol/{ativo}", { params: { path: { ativo: "XYZ" } } });
check(error?.status === 404, error);

const { data: listed } = await client.GET("/symbols", { params: { query: { ativos: ["BTC", "XYZ"] } } });
check(listed !== undefined && "desconhecidos" in listed && listed.desconhecidos[0] === "XYZ", listed);

const { data: many } = await client.POST("/symbols", { body: { ativos: ["BTC", "XYZ"] } });
check(many?.ativos["BTC"]?.modelos["regressor_rf"]?.predicao === 1.5, many);

const { data: ranking } = await client.GET("/ranking", { params: { query: { modelo: "regressor_rf", por: "variacao" } } });
check(ranking?.ranking.map((place) => place.ativo).join() === "BTC,ETH", ranking);

const { data: columns } = await client.GET("/painel/dados");
check(columns?.ultimo_fechamento[1] === null, columns);
