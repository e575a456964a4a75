//! Compares what the API says with what its OpenAPI document says that it says.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
};

use hyper::StatusCode;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::server::{Answer, Server, snapshot};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(api::OPENAPI).unwrap());

/// The schemas, closed: fields that are not documented are allowed to clients but not to us.
static CLOSED_COMPONENTS: LazyLock<Value> = LazyLock::new(|| {
    let mut components = DOCUMENT["components"].clone();
    close(&mut components["schemas"]);
    components
});

fn close(schema: &mut Value) {
    if let Value::Object(object) = schema {
        if object.contains_key("properties") {
            object.entry("additionalProperties").or_insert(json!(false));
        }
        object.values_mut().for_each(close);
    } else if let Value::Array(array) = schema {
        array.iter_mut().for_each(close);
    }
}

/// Panics unless `answer` is documented: its status, its headers, its media type, and every field of its body.
pub(crate) fn check(method: &str, path: &str, answer: &Answer) {
    let what = format!("{method} {path} ({})", answer.status);
    let path = path.split('?').next().unwrap();
    let template = match path.strip_prefix("/symbol/") {
        Some(rest) if rest.split_once('/').is_some_and(|(_, rest)| rest == "historico") => {
            "/symbol/{ativo}/historico"
        }
        Some(symbol) if !symbol.is_empty() && !symbol.contains('/') => "/symbol/{ativo}",
        _ if path.starts_with("/models/") => "/models/{nome}",
        _ => path,
    };
    let documented = if method == "HEAD" { "get" } else { &*method.to_lowercase() };
    let operation = &DOCUMENT["paths"][template][documented];
    if operation.is_null() {
        if answer.status.is_client_error() && method != "HEAD" {
            check_schema(&json!({"$ref": "#/components/schemas/Error"}), &answer.json(), &what);
        }
        return;
    }
    let response = resolve(&operation["responses"][answer.status.as_str()]);
    assert!(!response.is_null(), "{what}: the status is not documented");
    for name in response["headers"].as_object().unwrap_or(&Map::new()).keys() {
        assert!(answer.header(name).is_some(), "{what}: no {name}");
    }
    let Some(content) = response["content"].as_object() else {
        assert!(answer.body.is_empty(), "{what}: a body");
        return;
    };
    let media_type = answer.header("content-type").unwrap().split(';').next().unwrap();
    let documented =
        content.get(media_type).unwrap_or_else(|| panic!("{what}: {media_type} is not documented"));
    let is_readable = method != "HEAD" && answer.header("content-encoding").is_none();
    if media_type == "application/json" && is_readable {
        check_schema(&documented["schema"], &answer.json(), &what);
    }
}

fn resolve(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(reference.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

fn check_schema(schema: &Value, instance: &Value, what: &str) {
    // Compiling a schema takes longer than most requests do.
    static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let compile = || {
        let mut root = schema.clone();
        root["components"] = CLOSED_COMPONENTS.clone();
        Arc::new(jsonschema::options().should_validate_formats(true).build(&root).unwrap())
    };
    let validator = Arc::clone(VALIDATORS.lock().unwrap().entry(schema.to_string()).or_insert_with(compile));
    let errors: Vec<String> =
        validator.iter_errors(instance).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?} in {instance:#}");
}

#[test]
fn every_example_obeys_its_schema() {
    let mut examples = 0;
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        let operations = item.as_object().unwrap().values();
        let responses = operations.flat_map(|operation| operation["responses"].as_object().unwrap());
        for (status, response) in responses {
            let Some(content) = resolve(response)["content"].get("application/json") else { continue };
            let named = content["examples"].as_object().into_iter().flat_map(Map::values);
            for example in content.get("example").into_iter().chain(named.map(|named| &named["value"])) {
                check_schema(&content["schema"], example, &format!("the example of {path} ({status})"));
                examples += 1;
            }
        }
    }
    assert!(examples > 15, "only {examples} examples");
}

#[test]
fn every_answer_and_every_parameter_has_an_example() {
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let has_example =
                |value: &Value| value.get("example").is_some() || value.get("examples").is_some();
            for (status, response) in operation["responses"].as_object().unwrap() {
                for (media_type, content) in resolve(response)["content"].as_object().into_iter().flatten() {
                    assert!(has_example(content), "{method} {path}: {status} {media_type}");
                }
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten().map(resolve) {
                // One that is made up would only be sent by those who try the API in /docs, and be of no use to them.
                let is_validator = parameter["name"] == "If-None-Match";
                assert!(is_validator || has_example(parameter), "{method} {path}: {}", parameter["name"]);
            }
        }
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
    fn walk(value: &Value, names: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if object.contains_key("$ref") {
                    assert!(!resolve(value).is_null(), "{value}");
                }
                if let Some(name) = object.get("operationId") {
                    names.push(name.to_string());
                }
                object.values().for_each(|value| walk(value, names));
            }
            Value::Array(array) => array.iter().for_each(|value| walk(value, names)),
            _ => {}
        }
    }
    let mut names = Vec::new();
    walk(&DOCUMENT, &mut names);
    let all = names.len();
    names.sort();
    names.dedup();
    let operations = DOCUMENT["paths"].as_object().unwrap().values();
    let operations: usize = operations.map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!((all, names.len()), (operations, all));
}

#[tokio::test]
async fn the_document_is_served_and_every_path_in_it_exists() {
    let server = Server::serving(snapshot(1)).await;
    let served = server.get("/openapi.json").await;
    assert_eq!(served.json(), *DOCUMENT);
    for path in DOCUMENT["paths"].as_object().unwrap().keys() {
        let answer = match path.as_str() {
            "/ranking" => server.get("/ranking?modelo=regressor_rf").await,
            // It has no end.
            "/eventos" => server.send("HEAD", path, &[]).await,
            _ => server.get(&path.replace("{ativo}", "BTC").replace("{nome}", "regressor_rf")).await,
        };
        let expected = if path == "/reload" { StatusCode::NOT_IMPLEMENTED } else { StatusCode::OK };
        assert_eq!(answer.status, expected, "{path}");
    }
    assert_eq!(server.get("/").await.json()["version"], DOCUMENT["info"]["version"]);
}
