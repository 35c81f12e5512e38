//! A real browser, without a window of its own: Debian's chromium, by WebDriver.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use libtest_mimic::Failed;
use onehop_harness::tools::find_in_path;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The width and height of a window on a desk.
pub(crate) const DESK: (u32, u32) = (1280, 900);
/// Those of a telephone.
pub(crate) const TELEPHONE: (u32, u32) = (390, 844);

/// What it needs and this machine lacks.
pub(crate) fn missing() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut programs = ["chromium", "chromedriver"].into_iter();
    let program = programs.find(|program| find_in_path(program, &path).is_none())?;
    Some(format!("needs {program}, which is not on the PATH"))
}

/// A browser with a window, and its driver. Both end with it.
pub(crate) struct Browser {
    client: Client,
    base: String,
    driver: Child,
    _profile: TempDir,
}

impl Browser {
    /// Starts both.
    pub(crate) async fn start() -> Result<Self, Failed> {
        let profile = TempDir::new()?;
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            // What both leave behind goes with the profile.
            .env("TMPDIR", profile.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = driver.stdout.take().ok_or("a pipe")?;
        let mut lines = BufReader::new(output).lines();
        let port = lines.by_ref().find_map(|line| {
            let line = line.ok()?;
            let port = line.split_once("started successfully on port ")?.1;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        // Nobody reads what else it says, and it must not wait for that.
        std::thread::spawn(move || lines.for_each(drop));
        let base = format!(
            "http://127.0.0.1:{}",
            port.ok_or("chromedriver says no port")?
        );
        let capabilities = json!({
            "browserName": "chrome",
            "goog:chromeOptions": {"args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                format!("--user-data-dir={}", profile.path().display()),
            ]},
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let Value::Object(capabilities) = capabilities else {
            unreachable!("an object");
        };
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&base)
            .await?;
        let browser = Self {
            client,
            base,
            driver,
            _profile: profile,
        };
        browser.size(DESK).await?;
        Ok(browser)
    }

    /// Opens a file.
    pub(crate) async fn open(&self, page: &Path) -> Result<(), Failed> {
        Ok(self
            .client
            .goto(&format!("file://{}", page.display()))
            .await?)
    }

    /// Has the page take the window for one of this width and height.
    pub(crate) async fn size(&self, (width, height): (u32, u32)) -> Result<(), Failed> {
        // A window of a desk is not as narrow as a telephone: it is the page that is told.
        self.developer(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}),
        )
        .await
        .map(drop)
    }

    /// A command of the browser's own protocol.
    pub(crate) async fn developer(
        &self,
        command: &str,
        parameters: Value,
    ) -> Result<Value, Failed> {
        let body = json!({"cmd": command, "params": parameters});
        self.driver("goog/cdp/execute", &body).await
    }

    async fn driver(&self, path: &str, body: &Value) -> Result<Value, Failed> {
        let session = self.client.session_id().await?.ok_or("a session")?;
        let url = format!("{}/session/{session}/{path}", self.base);
        let answer = reqwest::Client::new().post(url).json(body).send().await?;
        let answer: Value = answer.error_for_status()?.json().await?;
        Ok(answer["value"].clone())
    }

    /// The value of a script.
    pub(crate) async fn value(&self, script: &str) -> Result<Value, Failed> {
        Ok(self
            .client
            .execute(&format!("return {script}"), Vec::new())
            .await?)
    }

    /// Asserts that a script's value is this one.
    pub(crate) async fn is(&self, script: &str, expected: Value) -> Result<(), Failed> {
        let got = self.value(script).await?;
        if got == expected {
            return Ok(());
        }
        Err(format!("{script} is {got}, not {expected}").into())
    }

    /// Clicks on what a selector finds.
    pub(crate) async fn click(&self, what: &str) -> Result<(), Failed> {
        Ok(self.client.find(Locator::Css(what)).await?.click().await?)
    }

    /// Types into a field.
    pub(crate) async fn type_into(&self, field: &str, text: &str) -> Result<(), Failed> {
        let field = self.client.find(Locator::Css(field)).await?;
        Ok(field.send_keys(text).await?)
    }

    /// Removes what is in a field.
    pub(crate) async fn empty(&self, field: &str) -> Result<(), Failed> {
        Ok(self.client.find(Locator::Css(field)).await?.clear().await?)
    }

    /// Presses a key, wherever the focus is.
    pub(crate) async fn press(&self, key: Key) -> Result<(), Failed> {
        let focus = self.client.active_element().await?;
        Ok(focus.send_keys(&char::from(key).to_string()).await?)
    }

    /// A picture of the window, as PNG.
    pub(crate) async fn picture(&self) -> Result<Vec<u8>, Failed> {
        Ok(self.client.screenshot().await?)
    }

    /// Ends it; the console must be empty.
    pub(crate) async fn end(mut self) -> Result<(), Failed> {
        let console = self.driver("se/log", &json!({"type": "browser"})).await?;
        self.client.clone().close().await?;
        self.driver.kill()?;
        self.driver.wait()?;
        // The page that a browser begins with has things to say of its own.
        let entries = console.as_array().ok_or("a list")?.iter();
        let about_ours = entries.filter(|entry| {
            let message = entry["message"].as_str();
            !message.is_some_and(|message| message.starts_with("chrome://"))
        });
        match about_ours.collect::<Vec<_>>()[..] {
            [] => Ok(()),
            _ => Err(format!("the console says {console}").into()),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // What has ended is ended.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
