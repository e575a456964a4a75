//! The dashboard, in a browser.

mod day;
mod look;
mod speed;

use std::{collections::BTreeMap, ffi::OsString, sync::Arc};

use jiff::civil::date;
use serde_json::{Value, json};
use shared::{
    AssetPredictions, Evaluation, Generation, HistoryStore, MemoryStore, Metrics, ModelHistory, ModelName,
    Outcome, Prediction, PredictionFailure, RunId, ScoredDay, ServedModel, Snapshot, TrackRecord,
    answer::Number,
};

use crate::{
    browser::browser,
    devtools::{DESK, Look, Page},
    history,
    server::{Server, snapshot},
    stale::with_a_stale_asset,
};

const MODELS: [&str; 5] =
    ["regressor_rf", "regressor_gbr", "regressor_lin", "classifier_rf", "classifier_log"];

/// Many assets of many sizes, each with what all models say; every seventh lacks one.
fn many(generation: u64, assets: usize) -> Snapshot {
    let version = "20250601-2130";
    let asset = |number: usize| {
        // Spread over the unit interval without a pattern that the eye would see.
        let chance =
            |step: usize| ((number + generation as usize) * 40_503 * (step + 3) % 9973) as f64 / 9973.0;
        let close = 10_f64.powf(8.0 * chance(0) - 3.0);
        let mut asset = AssetPredictions {
            data_date: Some(date(2025, 7, 28)),
            last_close: Some(close),
            ..AssetPredictions::default()
        };
        for (place, name) in MODELS.iter().enumerate() {
            let model = name.parse().unwrap();
            if place == 2 && number % 7 == 6 {
                let reason = "the prediction is not finite".to_owned();
                asset.failures.push(PredictionFailure { model, reason });
                continue;
            }
            let rise = chance(place + 1);
            let outcome = match name.starts_with('c') {
                true => Outcome::Direction { class: i64::from(rise > 0.5), probability: rise },
                false => Outcome::Close(close * (0.9 + 0.2 * rise)),
            };
            asset.predictions.push(Prediction { model, version: version.parse().unwrap(), outcome });
        }
        asset
    };
    let known = ["ADA", "BNB", "BTC", "DOGE", "ETH", "SOL"];
    let name =
        |number: usize| known.get(number).map_or_else(|| format!("A{number:04}"), |name| (*name).to_owned());
    let base = snapshot(generation);
    let model = |name: &&str| ServedModel {
        name: name.parse().unwrap(),
        version: version.parse().unwrap(),
        loaded_at: base.scored_at,
        comparison: None,
        lost: None,
        stale: None,
    };
    Snapshot {
        generation: Generation(generation),
        models: MODELS.iter().map(model).collect(),
        assets: (0..assets).map(|number| (name(number).parse().unwrap(), asset(number))).collect(),
        ..base
    }
}

/// A server of a generation, and of what its models said of the last days of its last assets and what came of it.
async fn with_past(snapshot: Snapshot) -> Server {
    const DAYS: usize = 120;
    let store = Arc::new(MemoryStore::default());
    let run = RunId("20250331-20250728-0123456789abcdef".into());
    // Spread over the unit interval.
    let chance = |seed: usize| (seed * 40_503 % 9973) as f64 / 9973.0;
    let mut hits: BTreeMap<ModelName, Vec<Vec<f64>>> = BTreeMap::new();
    let first = date(2025, 7, 28).checked_sub(jiff::Span::new().days(DAYS as i64 - 1)).unwrap();
    let days: Vec<_> = first.series(jiff::Span::new().days(1)).take(DAYS).collect();
    for (place, (asset, predictions)) in snapshot.assets.iter().rev().take(28).enumerate() {
        // Back from the last close.
        let mut closes = vec![predictions.last_close.unwrap(); DAYS];
        for day in (1..DAYS).rev() {
            closes[day - 1] = closes[day] / (0.96 + 0.08 * chance(day * 31 + place));
        }
        let mut models = BTreeMap::new();
        for (kind, served) in snapshot.models.iter().enumerate() {
            let is_classifier = served.name.as_str().starts_with('c');
            let mut scored = Vec::new();
            for (day, data) in days.iter().enumerate() {
                let next = closes.get(day + 1).copied();
                let doubt = chance(day * 17 + kind * 101 + place * 7);
                let guess = closes[day] * (0.97 + 0.06 * doubt);
                let predicao =
                    if is_classifier { Number::Class(i64::from(doubt > 0.5)) } else { Number::Close(guess) };
                let rose = next.map(|next| next > closes[day]);
                if let Some(rose) = rose {
                    let days = hits.entry(served.name.clone()).or_insert_with(|| vec![Vec::new(); DAYS]);
                    days[day].push(f64::from(u8::from(rose == (doubt > 0.5))));
                }
                scored.push(ScoredDay {
                    data: *data,
                    predicao,
                    probabilidade: is_classifier.then_some(doubt),
                    fechamento: Some(closes[day]),
                    fechamento_next: next,
                    direction_next: rose.map(u8::from),
                });
            }
            let history =
                ModelHistory { versao: served.version.clone(), execucao: run.clone(), previsoes: scored };
            models.insert(served.name.clone(), history);
        }
        store.put_history(asset, &models).await.unwrap();
    }
    for served in &snapshot.models {
        let metrics = |hits: &[f64]| Metrics {
            previsoes: hits.len() as u64,
            acerto_direcional: Some(hits.iter().sum::<f64>() / hits.len() as f64),
            ..Metrics::default()
        };
        let of_days = &hits[&served.name];
        let judged = days.iter().zip(of_days).filter(|(_, hits)| !hits.is_empty());
        let record = TrackRecord {
            versao: served.version.clone(),
            execucao: run.clone(),
            avaliado_em: snapshot.scored_at,
            de: days[0],
            ate: days[DAYS - 1],
            metricas: Evaluation {
                geral: metrics(&of_days.concat()),
                por_dia: judged.map(|(day, hits)| (*day, metrics(hits))).collect(),
                por_ativo: BTreeMap::new(),
            },
        };
        store.put_track_record(&served.name, &record).await.unwrap();
    }
    let server = history::serving_histories(store).await;
    server.publish(snapshot).await;
    server
}

fn installed() -> Option<OsString> {
    let browser = browser();
    if browser.is_none() {
        eprintln!("skipped: no browser on this machine");
    }
    browser
}

async fn opened(server: &Server, browser: OsString, path: &str, look: Look) -> Page {
    let mut page = Page::open(browser, &format!("http://{}{path}", server.address), look).await;
    page.until("document.querySelectorAll('#table tbody th').length > 0").await;
    page
}

/// The symbols of the rows that exist, from the top.
const SYMBOLS: &str = "[...document.querySelectorAll('#table tbody th a')].map((link) => link.textContent)";
const FOCUSED: &str = "document.activeElement.textContent";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_finds_sorts_and_follows_predictions_without_an_error() {
    let Some(browser) = installed() else { return };
    let server = Server::serving(many(1, 30)).await;
    let mut page = opened(&server, browser, "/painel", DESK).await;
    page.until("document.querySelector('#live').dataset.state === 'live'").await;
    assert_eq!(page.value("document.documentElement.lang").await, "pt-BR");
    assert_eq!(page.value(&format!("{SYMBOLS}.length")).await, 30);
    // No prediction is shown without the record of its model, or that there is none.
    page.until("document.querySelector('#table thead .small').textContent !== 'lendo acertos…'").await;
    let records = "[...document.querySelectorAll('#table thead .small')].map((record) => record.textContent)";
    assert_eq!(page.value(records).await, json!(vec!["sem histórico"; 5]));

    page.value("document.querySelector('#search').focus()").await;
    page.write("bt").await;
    page.until(&format!("{SYMBOLS}.join() === 'BTC'")).await;
    assert_eq!(page.value("document.querySelector('#count').textContent").await, "1 de 30 ativos");
    page.value("(() => { const s = document.querySelector('#search'); s.value = ''; s.dispatchEvent(new Event('input')); })()")
        .await;
    let chosen = "(() => { const s = document.querySelector('#verdict'); s.value = 'missing'; s.dispatchEvent(new Event('change')); })()";
    page.value(chosen).await;
    page.until(&format!("{SYMBOLS}.length === 4")).await;
    page.value(&chosen.replace("missing", "all")).await;

    let sort = "document.querySelector('#table thead [data-key=\"0\"]').click()";
    let changes = "[...document.querySelectorAll('#table tbody tr:not(.space) td:nth-child(4) > :first-child')]\
        .map((cell) => Number(cell.textContent.replace(/[^-\\d,]/g, '').replace(',', '.')))";
    let sorted = |order: &str| {
        format!(
            "((all) => all.length === 30 && all.every((one, place) => place === 0 || all[place - 1] {order} one))({changes})"
        )
    };
    page.value(sort).await;
    page.until(&sorted(">=")).await;
    assert_eq!(
        page.value("document.querySelector('#table thead [data-key=\"0\"]').parentElement.ariaSort").await,
        "descending"
    );
    page.value(sort).await;
    page.until(&sorted("<=")).await;

    // A new generation comes without being asked for, and is announced.
    server.publish(many(2, 31)).await;
    page.until("document.querySelector('#table').dataset.generation === '2'").await;
    page.until("document.querySelector('#news').textContent === 'Nova publicação: 31 ativos.'").await;
    assert_eq!(page.value(&format!("{SYMBOLS}.length")).await, 31);

    page.value("location.hash = '#/modelos'").await;
    page.until("!document.querySelector('#models').hidden").await;
    let models = page.value("document.querySelector('#models').textContent").await;
    for part in MODELS.iter().chain(&["regressor_svr_20250730-0100.joblib", "SVR is not supported", "em uso"])
    {
        assert!(models.as_str().unwrap().contains(part), "{part} is not in {models}");
    }
    page.value("document.querySelector('#language').click()").await;
    page.until("document.querySelector('#models h2').textContent === 'Models'").await;
    assert_eq!(page.value("document.documentElement.lang").await, "en");
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asset_whose_data_lie_far_behind_is_marked() {
    let Some(browser) = installed() else { return };
    let server = Server::serving(with_a_stale_asset(many(1, 6))).await;
    let mut page = opened(&server, browser, "/painel", DESK).await;
    let marked = "[...document.querySelectorAll('#table tbody tr')].filter((row) => row.querySelector('.day .stale')?.textContent === 'desatualizado').map((row) => row.dataset.symbol).join()";
    page.until(&format!("{marked} === 'ETH'")).await;
    let summary = page.value("document.querySelector('#summary').textContent").await;
    assert!(summary.as_str().unwrap().contains("1 com dados desatualizados"), "{summary}");
    page.value("(() => { const verdict = document.querySelector('#verdict'); verdict.value = 'stale'; verdict.dispatchEvent(new Event('input', { bubbles: true })); verdict.dispatchEvent(new Event('change', { bubbles: true })); })()").await;
    page.until(&format!("{SYMBOLS}.join() === 'ETH'")).await;
    page.value("location.hash = '#/ativo/ETH'").await;
    page.until("document.querySelector('#asset-outdated')?.textContent.includes('muito atrás')").await;
    page.value("location.hash = '#/ativo/BTC'").await;
    page.until("document.querySelector('#asset-heading')?.textContent === 'BTC' && !document.querySelector('#asset-outdated')").await;
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_can_be_done_with_the_keyboard() {
    let Some(browser) = installed() else { return };
    let server = Server::serving(many(1, 2000)).await;
    let mut page = opened(&server, browser, "/painel", Look { language: "en-US", ..DESK }).await;
    assert_eq!(page.value("document.documentElement.lang").await, "en");
    let has_ring = "getComputedStyle(document.activeElement).outlineStyle === 'solid'";
    for name in ["Assets", "Models", "API", "Português"] {
        page.press("Tab").await;
        assert_eq!(page.value(FOCUSED).await, name);
        assert_eq!(page.value(has_ring).await, true, "{name} does not show that it has the focus");
    }
    page.press("Tab").await;
    assert_eq!(page.value("document.activeElement.id").await, "search");
    // Through the filters, the table as a whole and its heads to the first row.
    let mut steps = 0;
    while !page.value("!!document.activeElement.closest('#table tbody')").await.as_bool().unwrap() {
        page.press("Tab").await;
        steps += 1;
        assert!(steps < 20, "the focus is at {}", page.value("document.activeElement.outerHTML").await);
    }
    let first = page.value(FOCUSED).await;
    page.press("ArrowDown").await;
    let second = page.value(FOCUSED).await;
    assert_ne!(first, second);
    page.press("End").await;
    page.until("document.activeElement.closest('tr')?.ariaRowIndex === '2001'").await;
    page.press("Home").await;
    page.until("document.activeElement.closest('tr')?.ariaRowIndex === '2'").await;
    assert_eq!(page.value(FOCUSED).await, first);
    page.press("ArrowDown").await;
    page.press("Enter").await;
    page.until("document.activeElement.id === 'asset-heading'").await;
    page.until("document.querySelectorAll('#asset tbody tr').length > 3").await;
    assert_eq!(page.value("document.querySelector('#asset-heading').textContent").await, second);
    let shown = page.value("document.querySelector('#asset').textContent").await;
    assert!(shown.as_str().unwrap().contains("There is no track record for this asset"), "{shown}");
    page.press("Escape").await;
    page.until("document.querySelector('#asset').hidden").await;
    assert_eq!(page.value(FOCUSED).await, second);
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_thousands_of_assets_only_those_in_sight_are_drawn() {
    let Some(browser) = installed() else { return };
    let server = Server::serving(many(1, 2000)).await;
    let phone = Look { width: 390, height: 844, dark: true, language: "pt-BR" };
    let mut page = opened(&server, browser, "/painel", phone).await;
    let dark = "getComputedStyle(document.documentElement).backgroundColor === 'rgb(18, 20, 24)'";
    assert_eq!(page.value(dark).await, true);
    assert_eq!(
        page.value("document.documentElement.scrollWidth <= innerWidth").await,
        true,
        "the page is too wide"
    );
    // From the top to the end, a quarter of a screen at a time: every row comes into sight, and a step stays short.
    let scrolled = page
        .value(
            "(async () => {
                const scroller = document.querySelector('#scroller');
                const [seen, times] = [new Set(), []];
                for (let top = 0; top < scroller.scrollHeight; top += scroller.clientHeight / 4) {
                    const begun = performance.now();
                    scroller.scrollTop = top;
                    scroller.dispatchEvent(new Event('scroll'));
                    scroller.getBoundingClientRect();
                    times.push(performance.now() - begun);
                    const { top: upper, bottom: lower } = scroller.getBoundingClientRect();
                    for (const cell of document.querySelectorAll('#table tbody th')) {
                        const { top, bottom } = cell.getBoundingClientRect();
                        if (bottom > upper && top < lower) seen.add(cell.textContent);
                    }
                    if (times.length % 10 === 0) await new Promise(requestAnimationFrame);
                }
                times.sort((a, b) => a - b);
                return { seen: seen.size, drawn: document.querySelectorAll('#table tbody tr').length,
                    median: times[Math.floor(times.length / 2)], longest: times.at(-1),
                    paint: performance.getEntriesByType('paint')[0]?.startTime };
            })()",
        )
        .await;
    eprintln!("{scrolled}");
    assert_eq!(scrolled["seen"], 2000);
    assert!(scrolled["drawn"].as_u64() < Some(100), "{scrolled}");
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_is_drawn_with_what_came_and_with_what_is_still_to_come() {
    let Some(browser) = installed() else { return };
    let server = Server::serving(many(1, 3)).await;
    let mut page = opened(&server, browser, "/painel", DESK).await;
    let drawn = page
        .value(
            "(async () => {
                const { chart, points } = await import('/painel/chart.js');
                const { hits } = await import('/painel/record.js');
                const day = (data, fechamento, fechamento_next, predicao) =>
                    ({ data, fechamento, fechamento_next, modelos: { r: { predicao }, c: { predicao: 1, probabilidade: 0.7 } } });
                const days = [day('2025-02-17', 100, 110, 105), day('2025-02-18', 110, 100, 120), day('2025-02-19', 100, null, 90)];
                const of = (model) => {
                    const drawing = chart(points(days, model),
                        { width: 400, label: 'what is drawn', axis: String, shortDay: String, error: 5, unseenFrom: '2025-02-18' });
                    const count = (kind) => drawing.querySelectorAll('.' + kind).length;
                    return [count('hit'), count('miss'), count('point'), count('error'), count('seen'), drawing.getAttribute('aria-label')];
                };
                return [of('r'), of('c')];
            })()",
        )
        .await;
    assert_eq!(drawn, json!([[1, 1, 1, 1, 1, "what is drawn"], [1, 1, 0, 0, 1, "what is drawn"]]));
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_counts_days_that_were_not_trained_on_and_is_as_sure_as_they_differ() {
    let Some(browser) = installed() else { return };
    let server = Server::serving(many(1, 3)).await;
    let mut page = opened(&server, browser, "/painel", DESK).await;
    let found = page
        .value(
            "(async () => {
                const { assetRecord, overTime, recordOf, together } = await import('/painel/record.js');
                const bounds = (record) => [record.low.toFixed(3), record.high.toFixed(3)];
                const days = (count, hits) => Array.from({ length: count }, (_, at) => ({ cases: 10, hits: hits(at) }));
                const day = (acerto_direcional) => ({ previsoes: 100, acerto_direcional });
                const dated = Array.from({ length: 12 }, (_, at) => ({ day: `2025-06-${String(at + 1).padStart(2, '0')}`, cases: 2, hits: at < 4 ? 2 : 1 }));
                const por_dia = { '2025-05-30': day(1), '2025-05-31': day(1), '2025-06-01': day(0.5), '2025-06-02': day(0.25) };
                const of = (versao) => { const { rate, cases, seen } = recordOf({ versao, por_dia }); return [rate, cases, seen]; };
                return {
                    independent: bounds(together(days(10, () => 5))),
                    together: bounds(together(days(10, (at) => 10 * (at % 2)))),
                    one: bounds(together(days(1, () => 5))),
                    right: bounds(together(days(10, () => 10))),
                    went: overTime(dated, '20250605-2130', 3).map(({ day, rate, days }) => [day, rate, days]),
                    unseen: of('20250601-2130'), seen: of('20250729-2130'),
                    none: [recordOf(null), recordOf({ versao: '20250601-2130', por_dia: {} }), assetRecord([], '20250601-2130')],
                };
            })()",
        )
        .await;
    assert_eq!(
        found,
        json!({
            // Wilson's interval of 50 of 100 with Student's t of ten days; where all assets go one way each day it is that
            // of half of nine, and one day tells next to nothing. Always right on ten days is not right on a hundred.
            "independent": ["0.390", "0.610"],
            "together": ["0.199", "0.801"],
            "one": ["0.002", "0.998"],
            "right": ["0.662", "1.000"],
            // The last days that may have been trained on, and the first new ones without their hits.
            "went": [["2025-06-04", 1, 3], ["2025-06-09", 0.5, 3], ["2025-06-10", 0.5, 3], ["2025-06-11", 0.5, 3], ["2025-06-12", 0.5, 3]],
            "unseen": [0.375, 200, false],
            "seen": [0.6875, 400, true],
            "none": [null, null, null],
        })
    );
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_tells_days_and_versions_apart() {
    let Some(browser) = installed() else { return };
    let server = with_past(many(1, 30)).await;
    let mut newer = many(2, 30);
    newer.models[0].version = "20250728-2130".parse().unwrap();
    server.publish(newer).await;
    let mut page = opened(&server, browser, "/painel", DESK).await;
    let head =
        |place: usize| format!("document.querySelectorAll('#table thead .small')[{place}].textContent");
    page.until(&format!("{}.startsWith('acerto ')", head(0))).await;
    let other = "*; avaliada a versão 20250601-2130, não a que está em uso";
    assert_eq!(page.value(&format!("{}.endsWith('{other}')", head(0))).await, true);
    assert_eq!(page.value(&format!("{}.includes('*')", head(1))).await, false);
    page.value("location.hash = '#/modelos'").await;
    page.until("document.querySelectorAll('#models figure svg').length === 5").await;
    // One line for the days that may have been trained on, one for those that are new, and words for the latter.
    assert_eq!(page.value("document.querySelectorAll('#models path.rate').length").await, 10);
    let label = page.value("document.querySelector('#models figure svg').getAttribute('aria-label')").await;
    assert!(label.as_str().unwrap().contains(" de 5 de jun. de 2025 a 27 de jul. de 2025: "), "{label}");
    let versions = page
        .value(
            "import('/painel/models.js').then(({ versionIn }) => [
                versionIn('models/regressor_rf_20250730-0100.joblib', 'regressor_rf'),
                versionIn('models/regressor_rf_20250730-010059.safetensors', 'regressor_rf'),
                versionIn('models/regressor_rf_big_20250730-0100.joblib', 'regressor_rf'),
                versionIn('models/regressor_rf_big_20250730-0100.joblib', 'regressor_rf_big')])",
        )
        .await;
    assert_eq!(versions, json!(["20250730-0100", "20250730-010059", "", "20250730-0100"]));
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asset_is_shown_with_what_the_history_endpoints_answer() {
    let Some(browser) = installed() else { return };
    let server = history::server().await;
    let mut page = opened(&server, browser, "/painel#/ativo/BTC", DESK).await;
    page.until("document.querySelector('figure .point') !== null").await;
    let shown = |kind: &str| format!("document.querySelectorAll('figure > svg .{kind}').length");
    // Of three days, two are over: of the first the direction was wrong, and the third is still to come.
    assert_eq!(page.value(&shown("hit")).await, 1);
    assert_eq!(page.value(&shown("miss")).await, 1);
    assert_eq!(page.value(&shown("error")).await, 1, "the model's mean error around what is to come");
    // The version is from after these days, which proves nothing.
    let record = "acertou a direção em 50% de 2, mas em dias que pode ter visto no treino";
    page.until(&format!("document.querySelector('figcaption').textContent.includes('{record}')")).await;
    page.until("[...document.querySelectorAll('#table thead .small')].some((record) => record.textContent === 'treino: 50%')").await;
    check(&page);
}

/// The browser complains of nothing but of what this server does not have.
fn check(page: &Page) {
    let is_missing = |complaint: &&String| {
        let entry: Value = serde_json::from_str(complaint).unwrap();
        let url = entry["url"].as_str().unwrap_or_default();
        entry["source"] == "network" && (url.contains("/models/") || url.contains("/historico"))
    };
    let complaints: Vec<&String> =
        page.complaints.iter().filter(|complaint| !is_missing(complaint)).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}
