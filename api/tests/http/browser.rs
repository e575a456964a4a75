use std::{env, ffi::OsString, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::process::Command;

use crate::server::{Server, snapshot};

/// Debian's name, Ubuntu's, and those of Google's own packages.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

pub(crate) fn browser() -> Option<OsString> {
    let found = NAMES.iter().find(|name| {
        let probe = std::process::Command::new(name).arg("--version").stdout(Stdio::null()).status();
        probe.is_ok_and(|status| status.success())
    });
    let required = env::var_os("CRIPTO_REQUIRE_BROWSER").is_some_and(|value| value == "1");
    assert!(found.is_some() || !required, "CRIPTO_REQUIRE_BROWSER=1, but none of {NAMES:?} can be started");
    found.map(OsString::from)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documentation_page_shows_every_endpoint_and_asks_no_other_host() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no browser (one of {NAMES:?}) on this machine");
        return;
    };
    let server = Server::serving(snapshot(1)).await;
    let folder = tempfile::tempdir().unwrap();
    let network_log = folder.path().join("network.json");
    let origin = format!("http://{}", server.address);
    let run = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        // What the browser wants for itself ends here; the loopback needs no proxy.
        .arg("--proxy-server=http://127.0.0.1:9")
        .args(["--virtual-time-budget=20000", "--enable-logging=stderr"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("--log-net-log={}", network_log.display()))
        .args(["--dump-dom", &format!("{origin}/docs")])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), run).await.unwrap().unwrap();
    let (page, console) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));

    let document: Value = serde_json::from_str(api::OPENAPI).unwrap();
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("data-path=\"{path}\"")), "{path} is not shown:\n{page}\n{console}");
    }
    // The page's own policy forbids other hosts, and a browser that has to forbid something says so here.
    let complaints: Vec<&str> = console.lines().filter(|line| line.contains(":CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    let requested = requested_by_pages(&network_log);
    assert!(requested.iter().any(|url| url.ends_with("/openapi.json")), "{requested:#?}");
    for url in requested {
        assert!(url.starts_with(&origin), "the page asked for {url}");
    }
}

/// The addresses that pages asked for, without what the browser asked for on its own account.
fn requested_by_pages(network_log: &std::path::Path) -> Vec<String> {
    let log: Value = serde_json::from_slice(&std::fs::read(network_log).unwrap()).unwrap();
    let start = &log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"];
    log["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["type"] == *start)
        .map(|event| &event["params"])
        .filter(|request| request["initiator"].as_str().is_some_and(|origin| origin.starts_with("http")))
        .map(|request| request["url"].as_str().unwrap().to_owned())
        .collect()
}
