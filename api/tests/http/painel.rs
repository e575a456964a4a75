//! The dashboard, in a browser.

use std::ffi::OsString;

use jiff::civil::date;
use serde_json::{Value, json};
use shared::{AssetPredictions, Generation, Outcome, Prediction, PredictionFailure, ServedModel, Snapshot};

use crate::{
    browser::browser,
    devtools::{DESK, Look, Page},
    history,
    server::{Server, snapshot},
};

const MODELS: [&str; 5] =
    ["regressor_rf", "regressor_gbr", "regressor_lin", "classifier_rf", "classifier_log"];

/// Many assets of many sizes, each with what all models say; every seventh lacks one.
fn many(generation: u64, assets: usize) -> Snapshot {
    let version = "20250729-2130";
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
    };
    Snapshot {
        generation: Generation(generation),
        models: MODELS.iter().map(model).collect(),
        assets: (0..assets).map(|number| (name(number).parse().unwrap(), asset(number))).collect(),
        ..base
    }
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
const SYMBOLS: &str = "[...document.querySelectorAll('#table tbody th')].map((cell) => cell.textContent)";
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
    let records = "[...document.querySelectorAll('#table thead .small')].map((record) => record.textContent)";
    assert_eq!(page.value(records).await, json!(vec!["sem histórico de acertos"; 5]));

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
    page.until("document.querySelector('#news').textContent === 'Publicação 2: 31 ativos atualizados.'")
        .await;
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
async fn everything_can_be_done_with_the_keyboard() {
    let Some(browser) = installed() else { return };
    let server = Server::serving(many(1, 2000)).await;
    let mut page = opened(&server, browser, "/painel", Look { language: "en-US", ..DESK }).await;
    assert_eq!(page.value("document.documentElement.lang").await, "en");
    page.value("document.querySelector('#search').focus()").await;
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
                        { width: 400, label: 'what is drawn', price: String, shortDay: String, error: 5 });
                    const count = (kind) => drawing.querySelectorAll('.' + kind).length;
                    return [count('hit'), count('miss'), count('point'), count('error'), drawing.getAttribute('aria-label')];
                };
                const { low, high } = hits({ acerto_direcional: 0.5, previsoes: 100 });
                return [of('r'), of('c'), [low.toFixed(3), high.toFixed(3)], hits({}), hits(null)];
            })()",
        )
        .await;
    assert_eq!(
        drawn,
        // Wilson's interval of 50 of 100.
        json!([[1, 1, 1, 1, "what is drawn"], [1, 1, 0, 0, "what is drawn"], ["0.404", "0.596"], null, null])
    );
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
    let record = "acerta a direção em 50%";
    page.until(&format!("document.querySelector('figcaption').textContent.includes('{record}')")).await;
    page.until("[...document.querySelectorAll('#table thead .small')].some((record) => record.textContent.startsWith('acerto 50%'))").await;
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
