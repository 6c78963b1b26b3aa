//! One tab of one browser, as calls that wait: each has a deadline, and the browser ends with it, whatever happens.

use super::harness::cluster::free_ports;
use super::harness::{Client, until};
use super::tools::Tools;
use fantoccini::error::CmdError;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::runtime::Runtime;
use url::{ParseError, Url};

/// The longest that one call may take; a browser's first start is the slowest.
const CALL_WITHIN: Duration = Duration::from_secs(30);
const DRIVER_WITHIN: Duration = Duration::from_secs(20);

pub const TAB: &str = "\u{E004}";
pub const ENTER: &str = "\u{E007}";
pub const ESCAPE: &str = "\u{E00C}";
pub const LEFT: &str = "\u{E012}";

pub struct Tab {
    runtime: Runtime,
    client: Option<fantoccini::Client>,
    driver: Child,
    /// Its path is in the command line of every process of this browser.
    profile: tempfile::TempDir,
}

/// A command of chromedriver's own.
#[derive(Debug)]
struct Own {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Own {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

impl Tab {
    pub fn open(tools: &Tools) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let port = free_ports(1)[0];
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let log = File::create(tools.folder.join("driver.log")).unwrap();
        let driver = Command::new(&tools.driver)
            .arg(format!("--port={port}"))
            .env("TZ", "UTC") // days are those of this process, too
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        // From here on whatever fails ends the driver, too.
        let mut tab = Self {
            runtime,
            client: None,
            driver,
            profile,
        };
        until("the driver listens", DRIVER_WITHIN, || {
            let answer = Client::new(address).send("GET", "/status", &[], b"").ok()?;
            (answer.status == 200).then_some(())
        });
        let capabilities = capabilities(tools, tab.profile.path());
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(serde_json::from_value(capabilities).unwrap());
        let connected = tab.runtime.block_on(async {
            let address = format!("http://{address}");
            let connecting = builder.connect(&address);
            tokio::time::timeout(CALL_WITHIN, connecting).await.unwrap().unwrap()
        });
        tab.client = Some(connected);
        tab.chrome("Browser.setDownloadBehavior", json!({"behavior": "deny"}));
        tab
    }

    fn call<T>(&self, what: &str, call: impl AsyncFnOnce(fantoccini::Client) -> Result<T, CmdError>) -> T {
        self.try_call(call).unwrap_or_else(|why| panic!("{what}: {why}"))
    }

    fn try_call<T>(&self, call: impl AsyncFnOnce(fantoccini::Client) -> Result<T, CmdError>) -> Result<T, String> {
        let client = self.client.clone().ok_or("there is no session")?;
        self.runtime.block_on(async {
            let done = tokio::time::timeout(CALL_WITHIN, call(client)).await;
            let done = done.map_err(|_| format!("not within {CALL_WITHIN:?}"))?;
            done.map_err(|error| error.to_string())
        })
    }

    pub fn goto(&self, address: &str) {
        self.call(address, async |client| client.goto(address).await);
    }

    /// What a script's `return` gives; the arguments are `arguments[0]` and so on.
    pub fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.call(script, async |client| client.execute(script, arguments.to_vec()).await)
    }

    /// The same with a callback as the last argument.
    pub fn run_until_called(&self, script: &str, arguments: &[Value]) -> Value {
        self.call(script, async |client| {
            client.execute_async(script, arguments.to_vec()).await
        })
    }

    /// The texts of all that are shown and match, with single spaces.
    pub fn texts(&self, selector: &str) -> Vec<String> {
        let script = "return [...document.querySelectorAll(arguments[0])]\
                      .filter((found) => found.checkVisibility())\
                      .map((found) => found.innerText.replace(/\\s+/g, ' ').trim())";
        let texts = self.run(script, &[json!(selector)]);
        serde_json::from_value(texts).unwrap()
    }

    pub fn text(&self, selector: &str) -> String {
        self.texts(selector).into_iter().next().unwrap_or_default()
    }

    pub fn is_shown(&self, selector: &str) -> bool {
        !self.texts(selector).is_empty()
    }

    /// Clicks as a mouse does: what lies over it gets it.
    pub fn click(&self, selector: &str) {
        self.call(selector, async |client| {
            client.find(Locator::Css(selector)).await?.click().await
        });
    }

    /// Types into a field.
    pub fn fill(&self, selector: &str, text: &str) {
        self.call(selector, async |client| {
            client.find(Locator::Css(selector)).await?.send_keys(text).await
        });
    }

    /// Types into whatever has the focus.
    pub fn press(&self, keys: &str) {
        self.call("keys", async |client| {
            client.active_element().await?.send_keys(keys).await
        });
    }

    /// A command of Chrome's own protocol.
    pub fn chrome(&self, name: &str, parameters: Value) -> Value {
        let body = json!({"cmd": name, "params": parameters});
        let path = "goog/cdp/execute";
        self.call(name, async |client| client.issue_cmd(Own { path, body }).await)
    }

    /// What the console said since the last time, the grave ones: source and text.
    pub fn complaints(&self) -> Vec<(String, String)> {
        let body = json!({"type": "browser"});
        let path = "se/log";
        let lines = self.call("the console", async |client| client.issue_cmd(Own { path, body }).await);
        let grave = lines.as_array().into_iter().flatten();
        let grave = grave.filter(|line| line["level"] == "SEVERE");
        let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        grave
            .map(|line| (text(line, "source"), text(line, "message")))
            .collect()
    }

    /// A window of this size; below 500 wide it is a phone.
    pub fn resize(&self, width: u32, height: u32) {
        let is_phone = width < 500;
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone});
        self.chrome("Emulation.setDeviceMetricsOverride", size);
    }

    pub fn prefer(&self, scheme: &str) {
        let wanted = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.chrome("Emulation.setEmulatedMedia", wanted);
    }
}

fn capabilities(tools: &Tools, profile: &Path) -> Value {
    json!({
        "browserName": "chrome",
        "goog:loggingPrefs": {"browser": "ALL"},
        "goog:chromeOptions": {
            "binary": tools.browser,
            "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--hide-scrollbars", "--lang=en-GB", "--window-size=1280,900", "--force-prefers-reduced-motion",
                format!("--user-data-dir={}", profile.display()),
            ],
        },
    })
}

impl Drop for Tab {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            let closing = async { tokio::time::timeout(Duration::from_secs(5), client.close()).await };
            drop(self.runtime.block_on(closing));
        }
        drop(self.driver.kill());
        drop(self.driver.wait());
        kill_of(self.profile.path());
    }
}

/// Ends what a driver that had to be killed has left of its browser: those processes name our own folder.
fn kill_of(profile: &Path) {
    let mark = format!("--user-data-dir={}", profile.display());
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in all {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|text| text.parse().ok()) else {
            continue;
        };
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&mark)
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
