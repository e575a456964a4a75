//! The way of an upload: what is answered, when it takes effect, and what is said of what cannot.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::{
    process::{AtTheEnd, wait_until},
    system::{GBR, LIN, NEWER, NEWER_VERSION, System, TABLE, VERSION, expected, sample},
};

#[test]
fn every_model_answers_for_every_asset_with_the_numbers_of_scikit_learn() {
    let system = System::sample();
    let (worker, api) = system.running();
    let expected = expected();
    let assets = expected["predictions"].as_object().unwrap();
    assert_eq!(api.json("/symbols")["total_symbols"], assets.len());
    for (asset, models) in assets {
        let answer = api.json(&format!("/symbol/{}", asset.to_lowercase()));
        assert_eq!((&answer["ativo"], &answer["total_modelos"]), (&asset.as_str().into(), &5.into()));
        for (model, numbers) in models.as_object().unwrap() {
            let answered = &answer["modelos"][model];
            assert_eq!(answered["versao"], VERSION);
            for (field, number) in numbers.as_object().unwrap() {
                let (answered, number) = (answered[field].as_f64().unwrap(), number.as_f64().unwrap());
                assert!((answered - number).abs() <= 1e-9 * number.abs(), "{asset} {model} {field}");
            }
        }
    }
    let health = api.json("/health");
    assert_eq!((&health["status"], &health["total_models"]), (&"healthy".into(), &5.into()));
    // One piece of work has one name, from the worker's log to what the API serves.
    let trace = |process: &crate::process::Process, message: &str| {
        let lines = process.lines();
        let line =
            lines.iter().rfind(|line| line["message"] == message).unwrap_or_else(|| panic!("{process:?}"));
        line["trace_id"].as_str().or(line["span"]["trace_id"].as_str()).unwrap_or_default().to_owned()
    };
    let of_worker = trace(&worker, "published");
    assert_eq!(of_worker.len(), 32, "{of_worker}");
    assert_eq!(trace(&api, "serving a new generation"), of_worker);
    // Numbers for operators.
    assert!(worker.metric("cripto_scorer_models", "") == 5.0, "{}", worker.get("/metrics").1);
    assert!(api.metric("cripto_models_loaded", "") == 5.0, "{}", api.get("/metrics").1);
    assert_eq!(worker.get("/health").0, 200);
}

#[test]
fn uploads_overwrites_and_removals_take_effect() {
    let system = System::sample();
    let (_worker, api) = system.running();
    let close = || api.json("/symbol/BTC")["modelos"]["regressor_lin"]["predicao"].as_f64().unwrap();
    let of_lin = close();
    let of_gbr = api.json("/symbol/BTC")["modelos"]["regressor_gbr"]["predicao"].as_f64().unwrap();

    system.put(NEWER, &sample(GBR));
    wait_until("the newer version", || api.version("regressor_lin").as_deref() == Some(NEWER_VERSION));
    assert_eq!(close().to_bits(), of_gbr.to_bits());
    system.put(NEWER, &sample(LIN));
    wait_until("what it was overwritten with", || close().to_bits() == of_lin.to_bits());
    system.remove(NEWER);
    wait_until("the version before", || api.version("regressor_lin").as_deref() == Some(VERSION));

    system.put("models/regressor_new_20250801-0000.joblib", &sample(GBR));
    wait_until("another model", || api.version("regressor_new").is_some());
    system.remove("models/regressor_new_20250801-0000.joblib");
    wait_until("its end", || api.version("regressor_new").is_none());
    system.settled();
}

#[test]
fn what_can_never_become_a_model_is_named_with_its_reason_and_changes_nothing() {
    let system = System::sample();
    let (worker, api) = system.running();
    let before = api.json("/symbol/BTC")["modelos"].clone();
    system.put(NEWER, b"garbage");
    wait_until("its reason", || api.rejected(NEWER).is_some());
    // A name that needs escaping, in a notification and in a key.
    let odd = "models/ação + 100%.txt";
    system.put(odd, b"x");
    wait_until("the reason of the other", || api.rejected(odd).is_some());
    assert_eq!(api.json("/symbol/BTC")["modelos"], before);
    system.settled();
    assert_eq!(worker.metric("cripto_scorer_rejected", ""), 2.0);
    assert_eq!(system.dead_letters(), [""; 0]);
}

#[test]
fn nobody_sees_a_mixture_or_a_gap_while_generations_change() {
    let system = System::sample();
    let (_worker, api) = system.running();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = AtTheEnd(&stop);
        for _ in 0..2 {
            scope.spawn(|| {
                let mut newest = 0;
                while !stop.load(Ordering::Relaxed) {
                    let answer = api.json("/symbol/BTC");
                    let models = answer["modelos"].as_object().unwrap();
                    assert!(models.len() == 5 || models.len() == 6, "{answer}");
                    let generation = answer["geracao"].as_u64().unwrap();
                    assert!(generation >= newest, "a reader stepped back");
                    newest = generation;
                }
            });
        }
        for _ in 0..4 {
            system.put(NEWER, &sample(LIN));
            system.put("models/regressor_new_20250801-0000.joblib", &sample(GBR));
            wait_until("both", || api.version("regressor_new").is_some());
            system.remove("models/regressor_new_20250801-0000.joblib");
            system.remove(NEWER);
            wait_until("neither", || api.version("regressor_lin").as_deref() == Some(VERSION));
        }
    });
}

#[test]
fn a_thousand_uploads_are_a_few_generations() {
    let system = System::sample();
    let (worker, api) = system.running();
    let published = worker.metric("cripto_scorer_reloads_total", "published");
    let table = sample(TABLE);
    // All of them wait when the worker looks, however long the uploads take.
    worker.pause();
    for number in 0..1000_u32 {
        let key = match number % 100 {
            0 => format!("models/regressor_lin_20250801-{:04}.joblib", number / 100),
            1 => format!("features/cripto_features_2025080{}.parquet", number / 100),
            _ => format!("models/notes/{number}.txt"),
        };
        let content: &[u8] = match number % 100 {
            0 => &sample(LIN),
            1 => &table,
            _ => b"x",
        };
        system.put(&key, content);
    }
    worker.resume();
    wait_until("the last version", || api.version("regressor_lin").as_deref() == Some("20250801-0009"));
    system.settled();
    let published = worker.metric("cripto_scorer_reloads_total", "published") - published;
    let reloads = worker.metric("cripto_scorer_reloads_total", "");
    // A receive gives ten messages. On a machine so busy that one look takes all the time there is, a batch is two of them.
    assert!(reloads < 60.0, "{reloads} reloads, {published} generations");
    assert_eq!(worker.metric("cripto_scorer_reloads_total", "failed"), 0.0);
}

#[test]
fn a_hundred_megabytes_of_garbage_cost_neither_the_memory_nor_the_answers() {
    let system = System::sample();
    let (worker, api) = system.running();
    let before = worker.peak_memory();
    let mut garbage = vec![0_u8; 100 << 20];
    let mut state = 1_u32;
    for byte in &mut garbage {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    // It begins as a pickle does, and as an xz stream does.
    for (key, start) in [
        ("models/regressor_lin_20250801-0000.joblib", &b"\x80\x04\x95"[..]),
        ("models/regressor_lin_20250801-0001.joblib", b"\xfd7zXZ\0"),
    ] {
        garbage[..start.len()].copy_from_slice(start);
        system.put(key, &garbage);
        wait_until("its reason", || api.rejected(key).is_some());
    }
    assert_eq!(api.version("regressor_lin").as_deref(), Some(VERSION));
    let grown = worker.peak_memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes");
    system.settled();
}

#[test]
fn an_api_that_starts_before_anything_is_published_waits_and_then_answers() {
    let system = System::empty();
    let api = system.api();
    for path in ["/health", "/symbol/BTC", "/models"] {
        assert_eq!(api.get(path).0, 503, "{path}");
    }
    assert_eq!(api.get("/health/live").0, 200);
    let _worker = system.worker();
    for key in [LIN, TABLE] {
        system.put(key, &sample(key));
    }
    wait_until("the first answer", || api.get("/symbol/BTC").0 == 200);
    wait_until("health", || api.get("/health").0 == 200);
}

#[test]
fn events_that_come_twice_late_or_in_any_order_do_no_harm() {
    let system = System::sample();
    let (worker, api) = system.running();
    let event = |name: &str, key: &str, sequencer: u32| {
        format!(
            r#"{{"Records":[{{"eventVersion":"2.1","eventSource":"aws:s3","eventTime":"2025-07-29T21:30:00.000Z",
            "eventName":"{name}","s3":{{"bucket":{{"name":"{}"}},"object":{{"key":"{key}","size":1,"eTag":"x",
            "sequencer":"{sequencer:016X}"}}}}}}]}}"#,
            system.bucket.name
        )
    };
    let generation = || api.json("/health")["geracao"].clone();
    let before = generation();
    // Creations of what is there, many times; removals of what is there; creations of what is not.
    let mut bodies: Vec<String> =
        (0..20).map(|number| event("ObjectCreated:Put", LIN, 20 - number)).collect();
    bodies.extend((0..5).map(|number| event("ObjectRemoved:Delete", GBR, number)));
    bodies.push(event("ObjectCreated:Put", "models/regressor_lin_20250901-0000.joblib", 1));
    bodies.push("{}".to_owned());
    bodies.push(format!(
        r#"{{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"{}"}}"#,
        system.bucket.name
    ));
    system.send(&bodies);
    wait_until("a missing object", || worker.metric("cripto_scorer_missing_objects_total", "") == 1.0);
    // What nobody can read comes again until the queue moves it away.
    wait_until("all but the unreadable one", || system.messages() <= 1);
    assert_eq!((generation(), api.version("regressor_gbr").as_deref()), (before, Some(VERSION)));
}

#[test]
fn a_generation_that_was_taken_back_stays_away_until_something_new_comes() {
    let system = System::sample();
    let (_worker, api) = system.running();
    system.put(NEWER, &sample(GBR));
    wait_until("the newer version", || api.version("regressor_lin").as_deref() == Some(NEWER_VERSION));
    let mut variables = system.variables();
    variables.retain(|(name, _)| *name == "REDIS_URL");
    let program = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("scorer");
    let rollback = |flags: &[&str]| {
        let mut command = std::process::Command::new(&program);
        let output = command.arg("rollback").args(flags).envs(variables.clone()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    rollback(&[]);
    wait_until("the version before", || api.version("regressor_lin").as_deref() == Some(VERSION));
    // A look at the bucket does not undo it.
    assert_eq!(api.get("/reload").0, 200);
    assert_eq!(api.version("regressor_lin").as_deref(), Some(VERSION));
    system.put("models/regressor_new_20250801-0000.joblib", &sample(GBR));
    wait_until("something new", || api.version("regressor_lin").as_deref() == Some(NEWER_VERSION));

    rollback(&[]);
    wait_until("the generation before", || api.version("regressor_new").is_none());
    rollback(&["--undo"]);
    assert_eq!(api.get("/reload").0, 200);
    wait_until("the newer generation", || api.version("regressor_new").is_some());
}
