//! The client of the native API: what the query commands ask a running server with.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

/// Where a server is when neither `--server` nor the environment says.
pub const SERVER_DEFAULT: &str = "http://127.0.0.1:4319";
/// The variable that says where the server is.
pub const SERVER_VARIABLE: &str = "THROUGHLINE_SERVER";
/// A little more than the server gives a query.
const TIMEOUT: Duration = Duration::from_secs(40);
/// The largest answer that is taken: the largest the server gives is below.
const ANSWER_BYTES_MAX: u64 = 512 << 20;

/// A parameter of a question; without a value it is left out.
pub type Parameter<'a> = (&'a str, Option<String>);

/// Asks one server.
pub struct Client {
    agent: ureq::Agent,
    base: String,
}

/// An answer, or that there is none of that id.
pub enum Answer {
    /// The server's JSON.
    Found(Json),
    /// 404: the server's JSON says why.
    NotFound(Json),
}

impl Answer {
    /// What a status and a body come to. A refusal is an error with the server's sentence, which the native API has under
    /// `message` and Prometheus's under `error`.
    pub fn of(status: u16, json: Json) -> Result<Answer> {
        let text = |key: &str| json.get(key).and_then(Json::as_str);
        match status {
            200 => Ok(Answer::Found(json)),
            404 => Ok(Answer::NotFound(json)),
            _ => bail!(
                "{}",
                text("message").or_else(|| text("error")).unwrap_or("the server refused without a reason")
            ),
        }
    }
}

impl Client {
    /// For `--server`, else the environment, else the default.
    pub fn new(server: Option<&str>) -> Client {
        let base = server
            .map(str::to_owned)
            .or_else(|| std::env::var(SERVER_VARIABLE).ok().filter(|text| !text.is_empty()))
            .unwrap_or_else(|| SERVER_DEFAULT.to_owned());
        let base = if base.contains("://") { base } else { format!("http://{base}") };
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            // A proxy of the environment is for other machines; the server is here or named.
            .proxy(None)
            .build();
        Client { agent: config.into(), base: base.trim_end_matches('/').to_owned() }
    }

    /// Asks for a path below the native API's prefix.
    pub fn get(&self, path: &str, parameters: &[Parameter<'_>]) -> Result<Answer> {
        self.get_at(&format!("{}{path}", throughline_api::PREFIX), parameters)
    }

    /// Asks for any path.
    pub fn get_at(&self, path: &str, parameters: &[Parameter<'_>]) -> Result<Answer> {
        let url = self.url(path, parameters);
        self.answer(&url, self.agent.get(&url).call())
    }

    /// Changes something at a path below the native API's prefix.
    pub fn post(&self, path: &str, parameters: &[Parameter<'_>]) -> Result<Answer> {
        let url = self.url(&format!("{}{path}", throughline_api::PREFIX), parameters);
        self.answer(&url, self.agent.post(&url).send_empty())
    }

    /// Posts JSON to any path.
    pub fn post_at(&self, path: &str, body: &Json) -> Result<Answer> {
        let url = format!("{}{path}", self.base);
        let request = self.agent.post(&url).header("content-type", "application/json");
        self.answer(&url, request.send(body.to_string()))
    }

    /// Takes something away at a path below the native API's prefix.
    pub fn delete(&self, path: &str, parameters: &[Parameter<'_>]) -> Result<Answer> {
        let url = self.url(&format!("{}{path}", throughline_api::PREFIX), parameters);
        self.answer(&url, self.agent.delete(&url).call())
    }

    fn url(&self, path: &str, parameters: &[Parameter<'_>]) -> String {
        let mut url = format!("{}{path}", self.base);
        let given = parameters.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        for (number, (name, value)) in given.enumerate() {
            url += &format!("{}{name}={}", if number == 0 { '?' } else { '&' }, segment(value));
        }
        url
    }

    fn answer(
        &self,
        url: &str,
        response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Answer> {
        let hint = || {
            let base = &self.base;
            format!(
                "ask {base}: is throughline serve running? --server or {SERVER_VARIABLE} name another address"
            )
        };
        let mut response = response.with_context(hint)?;
        let status = response.status().as_u16();
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .context("read the answer")?;
        let json: Json = serde_json::from_str(&body)
            .with_context(|| format!("{url} answered {status} with something that is not JSON"))?;
        Answer::of(status, json)
    }

    /// Asks with a body in JSON below the native API's prefix; the answer as text, whatever its type.
    pub fn post_json(&self, path: &str, body: &Json) -> Result<String> {
        let url = format!("{}{}{path}", self.base, throughline_api::PREFIX);
        let base = &self.base;
        let hint = || {
            format!(
                "ask {base}: is throughline serve running? --server or {SERVER_VARIABLE} name another address"
            )
        };
        let request = self.agent.post(&url).header("content-type", "application/json");
        let mut response = request.send(body.to_string()).with_context(hint)?;
        let status = response.status().as_u16();
        let answer = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .context("read the answer")?;
        if status == 200 {
            return Ok(answer);
        }
        let json: Json = serde_json::from_str(&answer).unwrap_or_default();
        bail!(
            "{}",
            json.get("message").and_then(Json::as_str).unwrap_or("the server refused without a reason")
        )
    }

    /// Asks for something that is always there.
    pub fn get_as<T: DeserializeOwned>(&self, path: &str, parameters: &[Parameter<'_>]) -> Result<T> {
        match self.get(path, parameters)? {
            Answer::Found(json) => serde_json::from_value(json).context("understand the answer"),
            Answer::NotFound(json) => bail!("{path}: {json}"),
        }
    }
}

/// Text as one segment of a path.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
