//! A page as a user meets it: Chromium without a window, steered through `chromedriver` by the W3C's WebDriver protocol.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::report;

/// How long a page may take for what a test waits for. Software drivers are slow, and machines busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// How Chromium may be called, by whoever packages it.
const CHROMIUM: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// One browser with one page.
#[derive(Debug)]
pub struct Browser {
    agent: ureq::Agent,
    /// The session's URL.
    session: String,
    driver: Child,
    /// What the browser keeps, until it goes.
    _profile: TempDir,
}

/// Ends the driver, and with it the browser.
impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    /// Starts one. `None`, and the test is reported as skipped, where Chromium or its driver is missing: then the test
    /// returns.
    ///
    /// # Panics
    /// Where they are there and do not start.
    #[track_caller]
    pub fn open() -> Option<Browser> {
        let chromium = CHROMIUM.iter().find_map(|name| on_path(name));
        let (Some(chromium), Some(driver)) = (chromium, on_path("chromedriver")) else {
            report::skip("needs Chromium and chromedriver, Debian's packages chromium and chromium-driver");
            return None;
        };
        let profile = tempfile::tempdir().expect("a folder should be made");
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver should start");
        let lines = BufReader::new(driver.stdout.take().expect("its output is a pipe")).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = port.expect("chromedriver should tell its port");
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        let agent = ureq::Agent::new_with_config(config.build());
        let mut browser =
            Browser { agent, session: format!("http://127.0.0.1:{port}/session"), driver, _profile: profile };
        let options = json!({
            "binary": chromium,
            "args": [
                "--headless=new",
                // Root, as which CI runs, has no sandbox; and containers may have little shared memory.
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--disable-gpu",
                "--hide-scrollbars",
                "--window-size=1000,900",
                format!("--user-data-dir={}", browser._profile.path().display()),
            ],
        });
        let wanted = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let session = browser.post("", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        let id = session["sessionId"].as_str().expect("a session has a name").to_owned();
        browser.session = format!("{}/{id}", browser.session);
        Some(browser)
    }

    /// Goes to a page.
    ///
    /// # Panics
    /// As all that follow: where the browser refuses, or what is waited for does not come.
    #[track_caller]
    pub fn go(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// Runs the body of a function in the page.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub fn wait(&self, expression: &str) {
        let begun = Instant::now();
        loop {
            if self.run(&format!("return Boolean({expression})")) == true {
                return;
            }
            if begun.elapsed() > PATIENCE {
                let page = self.run("return document.body.innerText");
                panic!(
                    "{expression} should come true; the page says:\n{}",
                    page.as_str().unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The text that an element shows.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let text = self.get(&format!("/element/{}/text", self.find(selector)));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks on an element.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        self.post(&format!("/element/{}/click", self.find(selector)), &json!({}));
    }

    /// Types into an element; for a file input, the path of a file. `\u{e007}` is Enter.
    #[track_caller]
    pub fn type_into(&self, selector: &str, text: &str) {
        self.post(&format!("/element/{}/value", self.find(selector)), &json!({ "text": text }));
    }

    /// Makes the page as wide and high as a screen, in CSS pixels.
    #[track_caller]
    pub fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Asks for the page in dark or light colours.
    #[track_caller]
    pub fn prefer(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
    }

    /// What the console has shown since the last call: errors and warnings, requests that failed, and what the page's
    /// policy forbade.
    #[track_caller]
    pub fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().map(Vec::as_slice).unwrap_or_default();
        let bad = entries.iter().filter(|entry| entry["level"] != "INFO" && entry["level"] != "DEBUG");
        bad.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// A picture of what is in sight, as PNG. Where `KILN_SCREENSHOTS` names a folder, it is kept there under this name.
    #[track_caller]
    pub fn screenshot(&self, name: &str) -> Vec<u8> {
        let picture = self.get("/screenshot");
        let png = BASE64_STANDARD.decode(picture.as_str().unwrap_or_default());
        let png = png.expect("a screenshot should be base64");
        assert!(png.starts_with(b"\x89PNG"), "a screenshot should be a PNG file");
        if let Some(folder) = std::env::var_os("KILN_SCREENSHOTS").map(PathBuf::from) {
            std::fs::write(folder.join(format!("{name}.png")), &png).expect("the screenshot should be kept");
        }
        png
    }

    #[track_caller]
    fn devtools(&self, command: &str, options: &Value) {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": options }));
    }

    /// The name of an element; waits until there is one.
    #[track_caller]
    fn find(&self, selector: &str) -> String {
        self.wait(&format!("document.querySelector({})", Value::from(selector)));
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector }));
        // The one key is fixed by the protocol.
        let name = found.as_object().and_then(|element| element.values().next()?.as_str());
        name.unwrap_or_else(|| panic!("there should be an element {selector}")).to_owned()
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        self.answer(path, self.agent.get(format!("{}{path}", self.session)).call())
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.agent.post(format!("{}{path}", self.session));
        self.answer(path, request.content_type("application/json").send(body.to_string()))
    }

    #[track_caller]
    fn answer(&self, path: &str, response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
        let mut response = response.unwrap_or_else(|error| panic!("chromedriver{path}: {error}"));
        let body = response.body_mut().with_config().limit(64 << 20).read_to_string();
        let body = body.unwrap_or_else(|error| panic!("chromedriver{path}: {error}"));
        let mut answer: Value = serde_json::from_str(&body).unwrap_or_default();
        assert!(response.status().is_success(), "chromedriver{path}: {body}");
        answer["value"].take()
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let program = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path).map(|folder| folder.join(&program)).find(|path| path.is_file())
}
