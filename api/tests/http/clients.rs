//! Programs that know of the API only what its OpenAPI document says.
//!
//! `CRIPTO_CLIENTS` is a folder with `bin/python`, `bin/schemathesis`, `bin/openapi-python-client` and `bin/node`, and
//! `node_modules` with typescript, openapi-typescript and openapi-fetch; `test.sh` makes it.

use std::{env, fs, path::PathBuf, sync::Arc, time::Duration};

use api::{Reload, ReloadError, Settings};
use async_trait::async_trait;
use shared::{MemoryStore, PredictionStore};
use tokio::{process::Command, time::timeout};

use crate::server::{Server, snapshot};

const PATIENCE: Duration = Duration::from_secs(300);

/// Looks into a bucket in which nothing has changed.
struct Unchanged(Arc<MemoryStore>);

#[async_trait]
impl Reload for Unchanged {
    async fn reload(&self) -> Result<(), ReloadError> {
        let current = self.0.current().await.unwrap().unwrap();
        self.0.confirm(current.digest).await.unwrap();
        Ok(())
    }
}

/// A server for the programs, and where they are.
async fn installed() -> Option<(Server, PathBuf)> {
    let Some(tools) = env::var_os("CRIPTO_CLIENTS").map(PathBuf::from) else {
        eprintln!("skipped: CRIPTO_CLIENTS is not set");
        return None;
    };
    let server = Server::start(|store| Some(Arc::new(Unchanged(store))), Settings::default()).await;
    server.publish(snapshot(1)).await;
    Some((server, tools))
}

async fn run(command: &mut Command) {
    let output = timeout(PATIENCE, command.kill_on_drop(true).output()).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success(), "{command:?}\n{}\n{}", said[0], said[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_nothing() {
    let Some((server, tools)) = installed().await else { return };
    let folder = tempfile::tempdir().unwrap();
    run(Command::new(tools.join("bin/schemathesis"))
        .current_dir(&folder)
        .args(["run", &format!("http://{}/openapi.json", server.address)])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--generation-deterministic"])
        // It has no end, and what is asked for waits for that.
        .args(["--exclude-path", "/eventos"]))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_python_client_works() {
    let Some((server, tools)) = installed().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let [document, settings, generated] =
        ["openapi.json", "settings.json", "generated"].map(|name| folder.path().join(name));
    fs::write(&document, api::OPENAPI).unwrap();
    fs::write(&settings, r#"{"post_hooks": []}"#).unwrap();
    run(Command::new(tools.join("bin/openapi-python-client"))
        .args(["generate", "--meta", "none", "--fail-on-warning"])
        .arg("--path")
        .arg(document)
        .arg("--config")
        .arg(settings)
        .arg("--output-path")
        .arg(generated))
    .await;
    run(Command::new(tools.join("bin/python"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/clients/client.py"))
        .arg(folder.path())
        .arg(format!("http://{}", server.address)))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_typescript_client_works() {
    let Some((server, tools)) = installed().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    fs::write(place("openapi.json"), api::OPENAPI).unwrap();
    fs::write(place("client.ts"), include_str!("clients/client.ts")).unwrap();
    fs::write(place("package.json"), r#"{"type": "module"}"#).unwrap();
    std::os::unix::fs::symlink(tools.join("node_modules"), place("node_modules")).unwrap();
    let node = || {
        let mut command = Command::new(tools.join("bin/node"));
        command.current_dir(&folder);
        command
    };
    run(node().args(["node_modules/openapi-typescript/bin/cli.js", "openapi.json", "-o", "schema.d.ts"]))
        .await;
    run(node()
        .args(["node_modules/typescript/bin/tsc", "--strict", "--noUncheckedIndexedAccess", "--skipLibCheck"])
        .args(["--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler", "client.ts"]))
    .await;
    run(node().args(["client.js", &format!("http://{}", server.address)])).await;
}
