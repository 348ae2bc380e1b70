//! A light client of the Hugging Face hub: one file over HTTPS, resumed where it broke off, checked, then renamed.
//!
//! The `hf-hub` crate (0.5) is not used: it knows neither `HF_TOKEN` nor `HF_HUB_OFFLINE`, appends to a part file
//! whatever the server answers, and checks no digest.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{Response, header};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

use super::StoreConfig;
use super::catalogue::{Entry, Length, PinnedFile, Repository};
use super::digest;
use crate::error::ModelError;

/// How often a transfer that breaks off is taken up again.
const ATTEMPTS: u32 = 4;

/// How many times in a row a repository may have been renamed.
const RENAMES: u32 = 5;

/// The hub as one configuration reaches it.
pub(super) struct Hub {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    /// How long to wait before the second attempt; twice as long before the third, and so on.
    pause: Duration,
}

/// How one attempt failed.
enum Failure {
    /// What is in the part file is good, more may come.
    Broken(ModelError),
    /// Asking again would not help.
    Final(ModelError),
}

impl Hub {
    pub(super) fn new(config: &StoreConfig) -> Hub {
        let mut builder = Agent::config_builder()
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .redirect_auth_headers(ureq::config::RedirectAuthHeaders::SameHost)
            .timeout_resolve(Some(Duration::from_secs(15)))
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)));
        if !config.proxy_from_env {
            builder = builder.proxy(None);
        }
        Hub {
            agent: builder.build().new_agent(),
            endpoint: config.hf_endpoint.clone(),
            token: config.hf_token.clone(),
            pause: Duration::from_secs(1),
        }
    }

    /// Waits less between attempts, for tests.
    #[cfg(test)]
    pub(super) fn with_pause(mut self, pause: Duration) -> Hub {
        self.pause = pause;
        self
    }

    /// The SHA-256 digest of a file of a model: the pinned one, or where there is none, the one that the hub declares
    /// for the file in the pinned revision.
    pub(super) fn digest(&self, entry: &Entry, file: &PinnedFile) -> Result<String, ModelError> {
        match file.sha256 {
            Some(sha256) => Ok(sha256.to_owned()),
            None => self.persist(|| self.declared(entry, file)),
        }
    }

    /// Downloads a file of a model, whose [`digest`](Self::digest) is given, to `target`, whose directory exists.
    ///
    /// Until the file is whole and its digest is right it is called `target.part`; a part that is already there is
    /// continued. `progress` gets the number of bytes that are there so far.
    pub(super) fn download(
        &self,
        entry: &Entry,
        file: &PinnedFile,
        sha256: &str,
        target: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ModelError> {
        let part = part_of(target);
        let url = self.url(entry, file);
        let mut resumed = length(&part) > 0;
        loop {
            self.persist(|| self.attempt(&url, file.bytes, &part, progress))?;
            let actual = digest::of_file(&part)?;
            if actual == sha256 {
                break;
            }
            fs::remove_file(&part).map_err(|source| ModelError::io(&part, source))?;
            if !resumed {
                return Err(ModelError::Checksum { file: url, expected: sha256.to_owned(), actual });
            }
            log::warn!("{url}: the part from an earlier download was wrong, starting clean");
            resumed = false;
        }
        fs::rename(&part, target).map_err(|source| ModelError::io(target, source))
    }

    fn url(&self, entry: &Entry, file: &PinnedFile) -> String {
        let Repository { name, revision } = repository(entry);
        format!("{}/{name}/resolve/{revision}/{}", self.endpoint, file.name)
    }

    /// Tries several times while that may help.
    fn persist<T>(&self, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, ModelError> {
        let mut count = 1;
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Broken(error)) if count == ATTEMPTS => return Err(error),
                Err(Failure::Broken(error)) => log::warn!("{error}; attempt {count} of {ATTEMPTS}"),
            }
            std::thread::sleep(self.pause * count);
            count += 1;
        }
    }

    /// What the hub says of a large file before it redirects to where that is stored: its commit (`X-Repo-Commit`),
    /// its length (`X-Linked-Size`) and its SHA-256 (`X-Linked-Etag`). Other files have a digest of another kind.
    fn declared(&self, entry: &Entry, file: &PinnedFile) -> Result<String, Failure> {
        let url = self.url(entry, file);
        let failed = |message: String| ModelError::Download { url: url.clone(), message };
        let refuse = |message: String| Err(Failure::Final(failed(message)));
        let mut at = url.clone();
        let mut renamed = 0;
        let response = loop {
            let request = self.authorized(self.agent.head(&at));
            let request = request.config().max_redirects(0).max_redirects_will_error(false).build();
            let response = request.call();
            let response =
                response.map_err(|error| Failure::Final(failed(describe(&error, &self.endpoint))))?;
            // To a path of its own the hub redirects where a repository was renamed.
            let location =
                response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
            match location.filter(|path| path.starts_with('/') && !path.starts_with("//")) {
                Some(path) if renamed < RENAMES => at = format!("{}{path}", self.endpoint),
                _ => break response,
            }
            renamed += 1;
        };
        let status = response.status().as_u16();
        if !matches!(status, 200..=399) {
            return Err(self.refusal(status, failed));
        }
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::trim);
        let revision = repository(entry).revision;
        if let Some(commit) = header("x-repo-commit").filter(|commit| *commit != revision) {
            return refuse(format!("expected commit {revision}, the server has {commit}"));
        }
        let length = header("x-linked-size").and_then(|length| length.parse().ok());
        if let Some(length) = length.filter(|length| !file.bytes.admits(*length)) {
            return refuse(format!("expected {} bytes, the server has {length}", file.bytes));
        }
        let digest = header("x-linked-etag").map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
        match digest.filter(|digest| digest::is_digest(digest)) {
            Some(digest) => Ok(digest.to_owned()),
            None => refuse("Kiln knows no checksum of it, and the server declares none".to_owned()),
        }
    }

    fn attempt(
        &self,
        url: &str,
        expected: Length,
        part: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let failed = |message: String| ModelError::Download { url: url.to_owned(), message };
        let io = |source| Failure::Final(ModelError::io(part, source));
        if length(part) > expected.bytes() && !expected.admits(length(part)) {
            fs::remove_file(part).map_err(io)?;
        }
        let mut done = length(part);
        progress(done);
        if matches!(expected, Length::Exact(bytes) if bytes == done) && part.exists() {
            return Ok(());
        }
        let response =
            self.get(url, done).map_err(|error| Failure::Final(failed(describe(&error, &self.endpoint))))?;
        let status = response.status().as_u16();
        match status {
            200 => done = 0,
            206 if range_start(&response) == Some(done) => {}
            // The server does not want to continue there: start clean.
            206 | 416 => {
                fs::remove_file(part).map_err(io)?;
                return Err(Failure::Broken(failed(format!("the server cannot resume at byte {done}"))));
            }
            _ => return Err(self.refusal(status, failed)),
        }
        let bytes = match expected {
            Length::Exact(bytes) => bytes,
            Length::About(_) => match response.body().content_length().map(|rest| done + rest) {
                Some(bytes) if expected.admits(bytes) => bytes,
                bytes => {
                    let bytes =
                        bytes.map_or("does not tell how many".to_owned(), |bytes| format!("has {bytes}"));
                    return Err(Failure::Final(failed(format!(
                        "expected {expected} bytes, the server {bytes}"
                    ))));
                }
            },
        };
        let mut out = File::options().create(true).append(true).open(part).map_err(io)?;
        out.set_len(done).map_err(io)?;
        let mut body = response.into_body().into_reader();
        let mut window = vec![0; 64 << 10];
        loop {
            let count = body.read(&mut window).map_err(|error| {
                Failure::Broken(failed(format!("broke off after {done} of {bytes} bytes: {error}")))
            })?;
            if count == 0 {
                break;
            }
            done += count as u64;
            if done > bytes {
                drop(out);
                fs::remove_file(part).map_err(io)?;
                let message = format!("expected {bytes} bytes, the server sends more");
                return Err(Failure::Final(failed(message)));
            }
            out.write_all(&window[..count]).map_err(io)?;
            progress(done);
        }
        if done < bytes {
            return Err(Failure::Broken(failed(format!("broke off after {done} of {bytes} bytes"))));
        }
        out.sync_all().map_err(io)
    }

    fn get(&self, url: &str, from: u64) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.authorized(self.agent.get(url));
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        request.call()
    }

    fn authorized(&self, request: RequestBuilder<WithoutBody>) -> RequestBuilder<WithoutBody> {
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    /// A status that is no answer: some may be another one later.
    fn refusal(&self, status: u16, failed: impl Fn(String) -> ModelError) -> Failure {
        match status {
            408 | 429 | 500..=599 => {
                Failure::Broken(failed(format!("the server answered {status}, try again later")))
            }
            _ => Failure::Final(failed(self.refused(status))),
        }
    }

    /// What a status that refuses means, and what to do.
    fn refused(&self, status: u16) -> String {
        match (status, &self.token) {
            (401 | 403, None) => {
                format!("access refused ({status}): set HF_TOKEN to a token that may read it")
            }
            (401 | 403, Some(_)) => {
                format!("access refused ({status}): the token in HF_TOKEN may not read it")
            }
            (404, _) => format!("not found (404): is {} a Hugging Face hub (HF_ENDPOINT)?", self.endpoint),
            _ => format!("the server answered {status}"),
        }
    }
}

/// Where the hub has a model.
fn repository(entry: &Entry) -> Repository {
    entry.hub.expect("only what the hub has should be downloaded")
}

/// `model.safetensors.part` beside `model.safetensors`.
fn part_of(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// The length of a file, 0 where there is none.
fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The first byte of a 206 answer: `Content-Range: bytes 100-199/200`.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

fn describe(error: &ureq::Error, endpoint: &str) -> String {
    match error {
        ureq::Error::HostNotFound => format!("no host {endpoint}; is there a network?"),
        ureq::Error::Io(error) => format!("no connection ({error}); is there a network?"),
        ureq::Error::BadUri(uri) => format!("not an address: {uri} (HF_ENDPOINT)"),
        error => error.to_string(),
    }
}
