//! `GET /reload`: a message to the worker, and its answer by way of Redis.

use std::thread;

use crate::{
    process::wait_until,
    system::{LIN, NEWER, NEWER_VERSION, System, sample},
};

#[test]
fn a_reload_is_done_by_the_worker_and_answered_as_documented() {
    let system = System::sample();
    let (_worker, api) = system.running();
    let reload = api.json("/reload");
    assert_eq!(reload["message"], "Modelos recarregados com sucesso");
    assert_eq!((&reload["total_models"], reload["models"].as_array().unwrap().len()), (&5.into(), 5));

    // An upload whose event is lost is found.
    system.put(NEWER, &sample(LIN));
    assert_eq!(api.get("/reload").0, 200);
    assert_eq!(api.version("regressor_lin").as_deref(), Some(NEWER_VERSION));
    // Many who ask at once share a few.
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(api.get("/reload").0, 200));
        }
    });
    system.settled();
}

#[test]
fn without_a_worker_a_reload_is_promised_and_then_done() {
    let system = System::sample();
    let (worker, _) = system.running();
    let api = system.api_with(&[("RELOAD_WAIT", "1".to_owned())]);
    wait_until("health", || api.get("/health").0 == 200);
    drop(worker);
    let (status, body) = api.get("/reload");
    assert_eq!(status, 202, "{body}");
    let _worker = system.worker();
    system.settled();
}

#[test]
fn only_who_knows_the_token_may_ask() {
    let system = System::sample();
    let (_worker, _) = system.running();
    let api = system.api_with(&[("RELOAD_TOKEN", "segredo".to_owned())]);
    wait_until("health", || api.get("/health").0 == 200);
    assert_eq!(api.get("/reload").0, 401);
    assert_eq!(api.request("/reload", "Authorization: Bearer outro\r\n").unwrap().0, 401);
    assert_eq!(api.request("/reload", "Authorization: Bearer segredo\r\n").unwrap().0, 200);
    assert_eq!(api.get("/symbol/BTC").0, 200);
}
