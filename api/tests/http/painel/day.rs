//! What happens to a dashboard that is left open all day.

use std::time::Duration;

use api::{Api, Settings};
use shared::PredictionStore;

use super::*;
use crate::{server::without_predictions, store::Distant};

const LIVE: &str = "document.querySelector('#live').dataset.state === 'live'";

/// A minute passes in six tenths of a second.
const QUICK: &str = "const slow = setInterval; setInterval = (work, time) => slow(work, time / 100);";

fn serves(generation: u64) -> String {
    format!("document.querySelector('#table').dataset.generation === '{generation}'")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_of_the_server_the_page_goes_on_by_itself() {
    let Some(browser) = installed() else { return };
    let server = Server::serving(many(1, 10)).await;
    let mut page = opened(&server, browser, "/painel", DESK).await;
    page.until(LIVE).await;
    let Server { address, shutdown, ended, .. } = server;
    shutdown.send(()).unwrap();
    ended.await.unwrap();
    page.until("document.querySelector('#live').dataset.state === 'lost'").await;
    assert_eq!(page.value(&format!("{SYMBOLS}.length")).await, 10, "what was known stays in sight");
    let store = Arc::new(MemoryStore::default());
    store.publish(Arc::new(many(2, 12))).await.unwrap();
    let _server = Server::begin(Api::new(Arc::clone(&store) as _), store, address).await;
    page.until(&serves(2)).await;
    page.until(LIVE).await;
    assert_eq!(page.value(&format!("{SYMBOLS}.length")).await, 12);
    // That the server was away is all that the browser may complain of.
    page.complaints.retain(|complaint| !complaint.contains("net::ERR_"));
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_fails_is_told_and_tried_again_although_no_generation_follows() {
    let Some(browser) = installed() else { return };
    let server = Server::serving(many(1, 10)).await;
    let mut page = opened(&server, browser, "/painel", DESK).await;
    page.command("Page.addScriptToEvaluateOnNewDocument", json!({"source": QUICK})).await;
    page.command("Network.enable", json!({})).await;
    page.visit(&format!("http://{}/painel", server.address)).await;
    page.until(LIVE).await;
    page.until(&format!("{SYMBOLS}.length === 10")).await;
    let trouble = "(document.querySelector('#trouble').checkVisibility() && document.querySelector('#trouble').textContent)";
    assert_eq!(page.value(trouble).await, false);
    page.command("Network.setBlockedURLs", json!({"urls": ["*/painel/dados"]})).await;
    server.publish(many(2, 11)).await;
    page.until(&format!("String({trouble}).startsWith('Não foi possível ler as previsões: ')")).await;
    assert_eq!(page.value(LIVE).await, true);
    assert_eq!(page.value(&format!("{SYMBOLS}.length")).await, 10, "what was known stays in sight");
    page.command("Network.setBlockedURLs", json!({"urls": []})).await;
    page.until(&serves(2)).await;
    page.until(&format!("{trouble} === false")).await;
    assert_eq!(page.value(&format!("{SYMBOLS}.length")).await, 11);
    page.complaints.retain(|complaint| !complaint.contains("/painel/dados"));
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_past_that_cannot_be_read_takes_no_prediction_away_and_is_not_said_to_be_none() {
    let Some(browser) = installed() else { return };
    let server = with_past(many(1, 10)).await;
    let mut page = opened(&server, browser, "/painel", DESK).await;
    page.command("Page.addScriptToEvaluateOnNewDocument", json!({"source": QUICK})).await;
    page.command("Network.enable", json!({})).await;
    page.command("Network.setBlockedURLs", json!({"urls": ["*/historico*", "*/models/*"]})).await;
    page.visit(&format!("http://{}/painel#/ativo/BTC", server.address)).await;
    page.until("document.querySelectorAll('#asset tbody tr').length === 5").await;
    let said = page.value("document.querySelector('#asset').innerText").await;
    let said = said.as_str().unwrap();
    assert!(said.contains("Não foi possível ler o histórico") && said.contains("lendo acertos…"), "{said}");
    // Beside an asset they are not in sight.
    let heads = "document.querySelector('#table thead').textContent";
    page.until(&format!("{heads}.includes('lendo acertos…')")).await;
    page.command("Network.setBlockedURLs", json!({"urls": []})).await;
    page.until("document.querySelector('#asset figure svg') !== null").await;
    page.until("!document.querySelector('#asset').innerText.includes('lendo acertos…')").await;
    page.until(&format!("{heads}.includes('acerto ')")).await;
    page.complaints
        .retain(|complaint| !["/historico", "/models/"].iter().any(|path| complaint.contains(path)));
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generation_after_generation_takes_no_more_memory() {
    let Some(browser) = installed() else { return };
    let server = with_past(many(1, 300)).await;
    let mut page = opened(&server, browser, "/painel#/ativo/BTC", DESK).await;
    page.until(LIVE).await;
    let mut used = Vec::new();
    for generation in 2..=121 {
        server.publish(many(generation, 300)).await;
        page.until(&serves(generation)).await;
        if generation % 40 == 1 {
            page.until("document.querySelector('#asset figure svg') !== null").await;
            page.command("HeapProfiler.collectGarbage", json!({})).await;
            let heap = page.command("Runtime.getHeapUsage", json!({})).await["usedSize"].as_f64().unwrap();
            let nodes = page.command("Memory.getDOMCounters", json!({})).await["nodes"].as_u64().unwrap();
            used.push((heap / 1e6, nodes));
        }
    }
    eprintln!("MB of heap and nodes after 40, 80 and 120 generations: {used:?}");
    let [_, (before, nodes_before), (after, nodes_after)] = used[..] else { panic!("{used:?}") };
    assert!(after < before + 0.5, "{used:?}");
    // Forty generations of the rows in sight alone would be tens of thousands.
    assert!(nodes_after < nodes_before + 2000, "{used:?}");
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_in_the_background_holds_no_connection_and_catches_up_when_it_is_seen() {
    let Some(browser) = installed() else { return };
    let server = Server::serving(many(1, 10)).await;
    let mut page = opened(&server, browser, "/painel", DESK).await;
    page.until(LIVE).await;
    page.hide(true).await;
    server.publish(many(2, 11)).await;
    // Time for what must not happen. A slow machine may overlook it, and never invents it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(page.value(&serves(1)).await, true);
    page.hide(false).await;
    page.until(&serves(2)).await;
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_its_store_is_said_to_have() {
    let Some(browser) = installed() else { return };
    let server = Server::over(Arc::new(Distant::default()), None, Settings::default()).await;
    server.publish(many(1, 10)).await;
    let mut page = Page::open(browser, &format!("http://{}/painel", server.address), DESK).await;
    page.until(LIVE).await;
    let lack =
        "(document.querySelector('#lack').checkVisibility() && document.querySelector('#lack').textContent)";
    assert_eq!(page.value(lack).await, false);
    server.store.set_away(true);
    server.health(|health| health["status"] == "degraded").await;
    // Who looks again learns it at once, who keeps looking within a minute.
    page.hide(true).await;
    page.hide(false).await;
    page.until(&format!("String({lack}).startsWith('O servidor perdeu contato com as publicações ')")).await;
    assert_eq!(page.value(&format!("{SYMBOLS}.length")).await, 10);
    server.store.set_away(false);
    server.health(|health| health["status"] == "healthy").await;
    page.hide(true).await;
    page.hide(false).await;
    page.until(&format!("{lack} === false")).await;
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_first_predictions_and_without_any_model_the_page_says_so() {
    let Some(browser) = installed() else { return };
    let server = Server::empty().await;
    let mut page = Page::open(browser, &format!("http://{}/painel", server.address), DESK).await;
    let notice =
        "document.querySelector('#empty').checkVisibility() && document.querySelector('#empty').textContent";
    page.until(&format!("String({notice}).startsWith('Ainda não há previsões publicadas')")).await;
    page.until(LIVE).await;
    server.publish(without_predictions(1)).await;
    page.until(&format!("String({notice}).startsWith('Nada pôde ser previsto nesta publicação')")).await;
    page.value("location.hash = '#/modelos'").await;
    page.until("document.querySelector('#models').checkVisibility()").await;
    let models = page.value("document.querySelector('#models').innerText").await;
    for part in ["Nenhum modelo está em uso.", "SVR is not supported"] {
        assert!(models.as_str().unwrap().contains(part), "{models}");
    }
    page.value("location.hash = '#/'").await;
    server.publish(many(2, 10)).await;
    page.until(&format!("{SYMBOLS}.length === 10 && !document.querySelector('#empty').checkVisibility()"))
        .await;
    // That there were none is an answer of 503, which the browser tells.
    page.complaints.retain(|complaint| !complaint.contains("503"));
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_assets_are_too_many_for_a_table_models_and_single_assets_are_shown() {
    let Some(browser) = installed() else { return };
    let settings = Settings { memory_budget: 1_000, ..Settings::default() };
    let server = Server::over(Arc::new(Distant::default()), None, settings).await;
    server.publish(many(1, 10)).await;
    let mut page = Page::open(browser, &format!("http://{}/painel", server.address), DESK).await;
    let notice =
        "document.querySelector('#empty').checkVisibility() && document.querySelector('#empty').textContent";
    page.until(&format!("String({notice}).startsWith('Não foi possível ler as previsões: ')")).await;
    page.value("location.hash = '#/modelos'").await;
    page.until("document.querySelectorAll('#models article').length === 5").await;
    page.value("location.hash = '#/ativo/BTC'").await;
    page.until("document.querySelectorAll('#asset tbody tr').length === 5").await;
    page.complaints.retain(|complaint| !complaint.contains("503"));
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asset_that_there_is_not_is_said_not_to_be_whatever_its_name() {
    let Some(browser) = installed() else { return };
    let server = Server::serving(many(1, 10)).await;
    let mut page = opened(&server, browser, "/painel#/ativo/NADA", DESK).await;
    let notice = "document.querySelector('#asset .notice')?.textContent ?? ''";
    page.until(&format!("({notice}) === 'Este ativo não existe na publicação atual.'")).await;
    for (name, said) in [("%E0%A4%A", "Não foi possível ler"), ("<img src=x>", "Não foi possível ler")] {
        page.value(&format!("location.hash = '#/ativo/{name}'")).await;
        page.until(&format!("({notice}).startsWith('{said}')")).await;
        assert_eq!(page.value("document.images.length").await, 0);
    }
    page.complaints.retain(|complaint| !complaint.contains("/symbol/"));
    check(&page);
}
