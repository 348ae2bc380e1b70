//! Requests to a Chroma server, and what is wrong where one fails.

use std::io;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use ureq::http::{Request, header};
use ureq::{Agent, Timeout};

use super::ChromaOptions;
use crate::DocqaError;
use crate::store::ChromaAddress;

/// The largest answer that is read.
const LARGEST: u64 = 1 << 30;

/// A server, and there a database.
pub(super) struct Client {
    agent: Agent,
    address: ChromaAddress,
    options: ChromaOptions,
}

/// A collection, as the server tells of it.
#[derive(Debug, Deserialize)]
pub(super) struct Collection {
    id: String,
    #[serde(default)]
    pub(super) metadata: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) dimension: Option<usize>,
}

/// How a request failed.
enum Failure {
    /// There was no answer.
    Silent(ureq::Error),
    /// It answered with this status, and this explanation.
    Refused(u16, String),
    /// The answer is not JSON.
    NotJson(String),
}

impl Client {
    pub(super) fn new(address: &ChromaAddress, options: &ChromaOptions) -> Self {
        let mut config = Agent::config_builder()
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .timeout_resolve(Some(options.connect))
            .timeout_connect(Some(options.connect))
            .timeout_global(Some(options.answer));
        if is_loopback(&address.server) {
            // A proxy would look for the server on its own machine.
            config = config.proxy(None);
        }
        Self { agent: config.build().new_agent(), address: address.clone(), options: options.clone() }
    }

    pub(super) fn server(&self) -> &str {
        &self.address.server
    }

    /// Asks for the server's heartbeat, which nothing else has.
    pub(super) fn greet(&self) -> Result<(), DocqaError> {
        let server = self.address.server.clone();
        let other = |reason: String| DocqaError::NotChroma { server, reason };
        match self.send("GET", "/api/v2/heartbeat", None) {
            Ok(answer) if answer.get("nanosecond heartbeat").is_some() => Ok(()),
            Ok(_) => Err(other("its heartbeat is not one".into())),
            Err(Failure::Refused(status @ 500.., explanation)) => {
                Err(self.fault(Failure::Refused(status, explanation)))
            }
            Err(Failure::Refused(status, _)) => {
                Err(other(format!("it answers {status} to GET /api/v2/heartbeat")))
            }
            Err(Failure::NotJson(_)) => {
                Err(other("it answers GET /api/v2/heartbeat, but not with JSON".into()))
            }
            Err(failure) => Err(self.fault(failure)),
        }
    }

    /// The collection, if it is there.
    pub(super) fn collection(&self) -> Result<Option<Collection>, DocqaError> {
        let path = format!("{}/{}", self.collections(), self.address.collection);
        match self.send("GET", &path, None) {
            Ok(answer) => Ok(Some(self.read(answer)?)),
            Err(Failure::Refused(404, explanation)) if self.is_collection_absent(&explanation) => Ok(None),
            Err(failure) => Err(self.fault(failure)),
        }
    }

    /// A missing tenant or database is refused with the same status.
    fn is_collection_absent(&self, explanation: &str) -> bool {
        !["tenant", "database"].iter().any(|what| explanation.to_lowercase().contains(what))
    }

    pub(super) fn create_collection(
        &self,
        metadata: &Map<String, Value>,
        configuration: &Value,
    ) -> Result<Collection, DocqaError> {
        let name = &self.address.collection;
        let body = json!({ "name": name, "metadata": metadata, "configuration": configuration });
        let answer = self.send("POST", &self.collections(), Some(&body)).map_err(|f| self.fault(f))?;
        self.read(answer)
    }

    pub(super) fn delete_collection(&self) -> Result<(), DocqaError> {
        let path = format!("{}/{}", self.collections(), self.address.collection);
        self.send("DELETE", &path, None).map(drop).map_err(|failure| self.fault(failure))
    }

    pub(super) fn set_metadata(
        &self,
        collection: &Collection,
        metadata: &Map<String, Value>,
    ) -> Result<(), DocqaError> {
        let path = format!("{}/{}", self.collections(), collection.id);
        let body = json!({ "new_metadata": metadata });
        self.send("PUT", &path, Some(&body)).map(drop).map_err(|failure| self.fault(failure))
    }

    pub(super) fn count(&self, collection: &Collection) -> Result<usize, DocqaError> {
        let path = format!("{}/{}/count", self.collections(), collection.id);
        let answer = self.send("GET", &path, None).map_err(|failure| self.fault(failure))?;
        self.read(answer)
    }

    /// Calls a method of a collection: `get`, `query`, `upsert`, `delete`.
    pub(super) fn of_collection(
        &self,
        collection: &Collection,
        method: &str,
        body: &Value,
    ) -> Result<Value, DocqaError> {
        let path = format!("{}/{}/{method}", self.collections(), collection.id);
        self.send("POST", &path, Some(body)).map_err(|failure| self.fault(failure))
    }

    fn collections(&self) -> String {
        let ChromaAddress { tenant, database, .. } = &self.address;
        format!("/api/v2/tenants/{tenant}/databases/{database}/collections")
    }

    fn read<T: for<'a> Deserialize<'a>>(&self, answer: Value) -> Result<T, DocqaError> {
        serde_json::from_value(answer).map_err(|error| self.fault(Failure::NotJson(error.to_string())))
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.address.server))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map(Value::to_string).unwrap_or_default())
            .map_err(|error| Failure::Silent(error.into()))?;
        let mut response = self.agent.run(request).map_err(Failure::Silent)?;
        let status = response.status().as_u16();
        let text =
            response.body_mut().with_config().limit(LARGEST).read_to_string().map_err(Failure::Silent)?;
        if !response.status().is_success() {
            return Err(Failure::Refused(status, explanation(&text)));
        }
        serde_json::from_str(&text).map_err(|error| Failure::NotJson(error.to_string()))
    }

    /// What a failure means to the user.
    fn fault(&self, failure: Failure) -> DocqaError {
        let reason = match failure {
            Failure::Silent(error) => self.silence(&error),
            Failure::Refused(status, text) if text.is_empty() => {
                format!("the Chroma server answers {status}")
            }
            Failure::Refused(status, text) => format!("the Chroma server answers {status}: {text}"),
            Failure::NotJson(error) => format!("the Chroma server's answer is not understood: {error}"),
        };
        DocqaError::Server { server: self.address.server.clone(), reason }
    }

    fn silence(&self, error: &ureq::Error) -> String {
        let start = "is one running (`chroma run`)?";
        match error {
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                let seconds = self.options.connect.as_secs_f64();
                format!("no connection to a Chroma server within {seconds} s; {start}")
            }
            ureq::Error::Timeout(_) => {
                let seconds = self.options.answer.as_secs_f64();
                format!("the Chroma server has not answered within {seconds} s")
            }
            ureq::Error::HostNotFound => format!("there is no such host; {start}"),
            ureq::Error::ConnectionFailed => format!("no connection to a Chroma server; {start}"),
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                format!("no Chroma server answers (connection refused); {start}")
            }
            error => format!("no answer from the Chroma server: {error}"),
        }
    }
}

/// What a server says of an error: of `{"error": "…", "message": "…"}` the message, else the beginning of the text.
fn explanation(text: &str) -> String {
    const MOST: usize = 200;
    let message = serde_json::from_str::<Value>(text)
        .ok()
        .and_then(|json| json.get("message").or_else(|| json.get("error"))?.as_str().map(str::to_string));
    let message = message.unwrap_or_else(|| text.into());
    message
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(MOST)
        .collect()
}

/// Whether a server is on this machine.
fn is_loopback(server: &str) -> bool {
    let host = server.split("://").nth(1).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    host.starts_with("localhost") || host.starts_with("127.") || host.starts_with("[::1]")
}
