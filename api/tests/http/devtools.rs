//! A browser that does what a person does with a page, over the Chrome DevTools Protocol
//! (<https://chromedevtools.github.io/devtools-protocol/>).

use std::{ffi::OsString, process::Stdio, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

const PATIENCE: Duration = Duration::from_secs(60);

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) dark: bool,
    /// As in `Accept-Language`.
    pub(crate) language: &'static str,
}

pub(crate) const DESK: Look = Look { width: 1440, height: 900, dark: false, language: "pt-BR" };

/// One page of a browser that ends when this is dropped.
pub(crate) struct Page {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Option<String>,
    last: u64,
    /// What the browser complained of: exceptions, errors and warnings on the console, refused requests.
    pub(crate) complaints: Vec<String>,
    _browser: Child,
    _profile: TempDir,
}

impl Page {
    /// A page in a browser of its own.
    pub(crate) async fn open(browser: OsString, url: &str, look: Look) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--proxy-server=http://127.0.0.1:9", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(browser.stderr.take().unwrap()).lines();
        let address = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some(address) = line.strip_prefix("DevTools listening on ") {
                    return address.to_owned();
                }
            }
            panic!("the browser ended");
        };
        let address = timeout(PATIENCE, address).await.unwrap();
        // What it says later must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let (socket, _) = connect_async(address).await.unwrap();
        let (session, complaints) = (None, Vec::new());
        let mut page = Self { socket, session, last: 0, complaints, _browser: browser, _profile: profile };
        let target = page.command("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = page.command("Target.attachToTarget", attach).await;
        page.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            page.command(domain, json!({})).await;
        }
        page.speak(look.language).await;
        page.look(look).await;
        page.visit(url).await;
        page
    }

    /// Goes to another address, from nowhere.
    pub(crate) async fn visit(&mut self, url: &str) {
        for url in ["about:blank", url] {
            self.command("Page.navigate", json!({"url": url})).await;
        }
        if url != "about:blank" {
            self.until("location.href !== 'about:blank' && document.readyState !== 'loading'").await;
        }
    }

    /// Reads numbers and texts as people of other languages do, from the next page on.
    pub(crate) async fn speak(&mut self, language: &str) {
        let agent = self.command("Browser.getVersion", json!({})).await["userAgent"].clone();
        let agent = json!({"userAgent": agent, "acceptLanguage": language});
        self.command("Emulation.setUserAgentOverride", agent).await;
    }

    /// Changes size and colours.
    pub(crate) async fn look(&mut self, Look { width, height, dark, .. }: Look) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.command("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = json!({"name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" }});
        self.command("Emulation.setEmulatedMedia", json!({"features": [scheme]})).await;
    }

    /// Puts the page into the background, as another tab in front of it does, or back to the front.
    pub(crate) async fn hide(&mut self, hidden: bool) {
        self.value(&format!(
            "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}); \
             document.dispatchEvent(new Event('visibilitychange'))"
        ))
        .await;
    }

    /// Sends a command and gives its result.
    pub(crate) async fn command(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(message.to_string())).await.unwrap();
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.unwrap().unwrap().unwrap();
            let Message::Text(text) = message else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            if message["id"] == self.last {
                assert!(message.get("error").is_none(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => &params["exceptionDetails"],
            Some("Runtime.consoleAPICalled") if params["type"] != "log" => params,
            Some("Log.entryAdded") => &params["entry"],
            _ => return,
        };
        self.complaints.push(complaint.to_string());
    }

    /// What an expression is; a promise is waited for.
    pub(crate) async fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let result = self.command("Runtime.evaluate", params).await;
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {}", result["exceptionDetails"]);
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&mut self, expression: &str) {
        let begun = Instant::now();
        while self.value(expression).await != json!(true) {
            assert!(
                begun.elapsed() < PATIENCE,
                "never: {expression}\n{}\n{:#?}",
                self.value("document.body.innerText").await,
                self.complaints
            );
            // A pause between two looks; nothing depends on its length.
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Presses and releases a key, by its name.
    pub(crate) async fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "Backspace" => 8,
            "End" => 35,
            "Home" => 36,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            _ => panic!("{key} has no code here"),
        };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.command("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Presses and releases the key of a character.
    pub(crate) async fn key(&mut self, character: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { character } else { "" };
            self.command("Input.dispatchKeyEvent", json!({"type": kind, "key": character, "text": text}))
                .await;
        }
    }

    /// Types a text where the focus is.
    pub(crate) async fn write(&mut self, text: &str) {
        self.command("Input.insertText", json!({"text": text})).await;
    }
}
