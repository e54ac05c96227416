//! One URL into one file, however often the connection is cut.
//!
//! What has arrived lies in the part file; beside it a small JSON file names the URL and the validator (a strong ETag, or
//! Last-Modified) of the representation it belongs to. A later attempt, in this run or another, asks for the rest with
//! `Range` and `If-Range` (RFC 9110, sections 13.1.5 and 14.2): a server whose file changed, or that knows no ranges,
//! answers 200 with the whole, and the part starts anew. Without a validator there is no resuming.
//!
//! A download can be called off at any time, see `patient.rs`.
//!
//! Cut connections, silence and the statuses 408, 429 and 5xx are tried again, with growing pauses, until several
//! attempts in a row brought nothing; so the number of requests is bounded by the file's size. Any other status is final.

mod error;
mod patient;

pub use error::FetchError;
pub(crate) use patient::POLL;

use crate::files;
use patient::CalledOff;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

/// An attempt that brought this much starts the count of vain ones anew.
const WORTHWHILE: u64 = 1 << 20;
/// Checksum files are a few KiB; more is something else.
const MAX_SMALL: u64 = 4 << 20;

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes there, those of an earlier attempt included.
    pub bytes: u64,
    /// The whole, when the server tells.
    pub total: Option<u64>,
}

/// How patient a [`Downloader`] is.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Attempts in a row that bring nothing before it gives up; at least one is made.
    pub attempts: u32,
    /// The pause after the first of them; it doubles each time.
    pub pause: Duration,
    /// How long a connection or a read may take.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 5,
            pause: Duration::from_secs(1),
            silence: Duration::from_secs(30),
        }
    }
}

/// Fetches files over HTTP.
#[derive(Debug, Clone)]
pub struct Downloader {
    agent: Agent,
    patience: Patience,
    called_off: Arc<AtomicBool>,
}

/// What the part file is a part of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    url: String,
    validator: String,
}

/// Why one attempt ended early.
enum Setback {
    /// Worth another attempt.
    Again(String),
    /// Not.
    Final(FetchError),
}

impl From<CalledOff> for Setback {
    fn from(_: CalledOff) -> Self {
        Self::Final(FetchError::CalledOff)
    }
}

impl Downloader {
    /// One that follows redirects and the proxy variables of the environment.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("atoll/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_connect(Some(patience.silence))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            .build();
        Self {
            agent: config.new_agent(),
            patience,
            called_off: Arc::default(),
        }
    }

    /// The same for downloads that end soon after this is set.
    #[must_use]
    pub fn until(mut self, called_off: Arc<AtomicBool>) -> Self {
        self.called_off = called_off;
        self
    }

    /// Fetches `url` into the file `part`, going on from what is there of it.
    ///
    /// # Errors
    /// When the server says no or is out of reach, or the file cannot be written. What has arrived stays.
    pub fn fetch(
        &self,
        url: &str,
        part: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), FetchError> {
        self.persist(url, |this| {
            let before = length(part);
            let result = this.attempt(url, part, progress);
            (result, length(part).saturating_sub(before) >= WORTHWHILE)
        })
    }

    /// Fetches a small file.
    ///
    /// # Errors
    /// As [`Downloader::fetch`].
    pub fn fetch_bytes(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        self.persist(url, |this| (this.attempt_bytes(url), false))
    }

    fn persist<T>(
        &self,
        url: &str,
        mut attempt: impl FnMut(&Self) -> (Result<T, Setback>, bool),
    ) -> Result<T, FetchError> {
        let mut attempts = 0_u32;
        loop {
            let (result, worthwhile) = attempt(self);
            attempts = if worthwhile { 1 } else { attempts.saturating_add(1) };
            let reason = match result {
                Ok(done) => return Ok(done),
                Err(Setback::Final(error)) => return Err(error),
                Err(Setback::Again(reason)) => reason,
            };
            tracing::debug!(url, attempts, reason, "download interrupted");
            if attempts >= self.patience.attempts {
                return Err(FetchError::Unreachable {
                    url: url.to_owned(),
                    reason,
                    attempts,
                });
            }
            let pause = self.patience.pause.saturating_mul(1 << attempts.min(6)) / 2;
            patient::pause(&self.called_off, pause).map_err(|_| FetchError::CalledOff)?;
        }
    }

    /// What was asked for over TLS is not taken from where a redirect leads without it.
    fn get(&self, url: &str) -> RequestBuilder<WithoutBody> {
        let is_secure = url.starts_with("https://");
        self.agent.get(url).config().https_only(is_secure).build()
    }

    /// Waits for the head of the answer.
    fn call(&self, url: &str, request: RequestBuilder<WithoutBody>) -> Result<Response<Body>, Setback> {
        let called = patient::call(&self.called_off, move || request.call())?;
        let answered = called.map_err(|error| Setback::Again(error.to_string()))?;
        answered.map_err(|error| refused(url, &error))
    }

    fn attempt_bytes(&self, url: &str) -> Result<Vec<u8>, Setback> {
        let mut response = self.call(url, self.get(url))?;
        judge(url, response.status())?;
        let read = move || {
            let body = response.body_mut().with_config().limit(MAX_SMALL);
            body.read_to_vec()
        };
        let called = patient::call(&self.called_off, read)?;
        let bytes = called.map_err(|error| Setback::Again(error.to_string()))?;
        bytes.map_err(|error| Setback::Again(error.to_string()))
    }

    fn attempt(&self, url: &str, part: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(), Setback> {
        let file_error = |source| {
            Setback::Final(FetchError::File {
                path: part.to_owned(),
                source,
            })
        };
        let origin = Origin::load(part).filter(|origin| origin.url == url);
        let have = if origin.is_some() { length(part) } else { 0 };
        let mut request = self.get(url);
        if let Some(origin) = origin.filter(|_| have > 0) {
            request = request.header(header::RANGE, format!("bytes={have}-"));
            request = request.header(header::IF_RANGE, origin.validator);
        }
        let response = self.call(url, request)?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return finished_or_anew(part, have, response.headers()).map_err(file_error)?;
        }
        judge(url, response.status())?;
        let Some(start) = start_of(&response, have) else {
            discard(part).map_err(file_error)?;
            return Err(Setback::Again(
                "the server sent another part than was asked for".to_owned(),
            ));
        };
        Origin::store(part, url, response.headers()).map_err(file_error)?;
        let mut file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(part)
            .map_err(file_error)?;
        file.set_len(start).map_err(file_error)?;
        file.seek(SeekFrom::Start(start)).map_err(file_error)?;
        let called_off = &*self.called_off;
        let transfer = Transfer {
            url,
            part,
            start,
            called_off,
        };
        transfer.run(response, &mut file, progress)
    }
}

/// One response's body on its way into the part file.
struct Transfer<'a> {
    url: &'a str,
    part: &'a Path,
    start: u64,
    called_off: &'a AtomicBool,
}

impl Transfer<'_> {
    fn run(
        &self,
        response: Response<Body>,
        file: &mut File,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), Setback> {
        let rest = response.body().content_length();
        let total = rest.map(|rest| self.start.saturating_add(rest));
        self.check_space(rest.unwrap_or(0))?;
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let again = |error: io::Error| Setback::Again(error.to_string());
        let chunks = patient::chunks(body).map_err(again)?;
        let mut bytes = self.start;
        progress(Progress { bytes, total });
        while let Some(chunk) = patient::next(self.called_off, &chunks)? {
            let data = chunk.map_err(again)?;
            file.write_all(&data)
                .map_err(|source| self.unwritable(source, total.map(|total| total - bytes)))?;
            bytes = bytes.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            progress(Progress { bytes, total });
        }
        if total.is_some_and(|total| bytes < total) {
            return Err(Setback::Again(format!(
                "the connection was cut after {bytes} bytes"
            )));
        }
        file.sync_all().map_err(|source| self.unwritable(source, None))
    }

    fn folder(&self) -> &Path {
        self.part.parent().unwrap_or(self.part)
    }

    fn check_space(&self, needed: u64) -> Result<(), Setback> {
        match files::free_space(self.folder()) {
            Ok(free) if free < needed => Err(self.no_space(needed, free)),
            _ => Ok(()),
        }
    }

    fn unwritable(&self, source: io::Error, needed: Option<u64>) -> Setback {
        if source.kind() == io::ErrorKind::StorageFull {
            return self.no_space(needed.unwrap_or(0), files::free_space(self.folder()).unwrap_or(0));
        }
        Setback::Final(FetchError::File {
            path: self.part.to_owned(),
            source,
        })
    }

    fn no_space(&self, needed: u64, free: u64) -> Setback {
        let (url, folder) = (self.url.to_owned(), self.folder().to_owned());
        Setback::Final(FetchError::NoSpace {
            url,
            folder,
            needed,
            free,
        })
    }
}

impl Origin {
    fn path(part: &Path) -> PathBuf {
        part.with_extension("origin.json")
    }

    fn load(part: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(part)).ok()?).ok()
    }

    fn store(part: &Path, url: &str, headers: &HeaderMap) -> io::Result<()> {
        let Some(validator) = validator(headers) else {
            return files::remove_file(&Self::path(part));
        };
        let origin = Self {
            url: url.to_owned(),
            validator,
        };
        files::write_atomically(&Self::path(part), &serde_json::to_vec(&origin)?)
    }
}

/// Forgets a download: the part and what is known of it.
///
/// # Errors
/// When a file that is there cannot be removed.
pub fn discard(part: &Path) -> io::Result<()> {
    files::remove_file(&Origin::path(part))?;
    files::remove_file(part)
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// What `If-Range` may name: weak ETags do not promise equal bytes (RFC 9110, section 13.1.5).
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::to_owned);
    text(header::ETAG)
        .filter(|tag| !tag.starts_with("W/"))
        .or_else(|| text(header::LAST_MODIFIED))
}

/// The first byte's place in the whole: 0, or what was asked for; `None` for any other part.
fn start_of(response: &Response<Body>, have: u64) -> Option<u64> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Some(0);
    }
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let start = range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()?;
    (start == have).then_some(start)
}

/// "Range not satisfiable" is the answer too when nothing is missing.
fn finished_or_anew(part: &Path, have: u64, headers: &HeaderMap) -> io::Result<Result<(), Setback>> {
    let range = headers
        .get(header::CONTENT_RANGE)
        .and_then(|range| range.to_str().ok());
    let total = range
        .and_then(|range| range.strip_prefix("bytes */"))
        .and_then(|total| total.parse().ok());
    if total == Some(have) {
        return Ok(Ok(()));
    }
    discard(part)?;
    Ok(Err(Setback::Again(
        "the server has less than had arrived".to_owned(),
    )))
}

fn judge(url: &str, status: StatusCode) -> Result<(), Setback> {
    match status.as_u16() {
        200..=299 => Ok(()),
        status @ (408 | 429 | 500..) => Err(Setback::Again(format!("the server answered {status}"))),
        status => Err(Setback::Final(FetchError::Status {
            url: url.to_owned(),
            status,
        })),
    }
}

fn refused(url: &str, error: &ureq::Error) -> Setback {
    match error {
        ureq::Error::BadUri(reason) => Setback::Final(FetchError::BadUrl {
            url: url.to_owned(),
            reason: reason.clone(),
        }),
        ureq::Error::Http(reason) => Setback::Final(FetchError::BadUrl {
            url: url.to_owned(),
            reason: reason.to_string(),
        }),
        other => Setback::Again(other.to_string()),
    }
}
