//! HTTP/1.1 out: one connection to one target, kept open from scrape to scrape.
//!
//! Bytes of pages are reserved as they arrive, from a budget that all targets share; a page that has to wait for it runs
//! into its own time limit.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, LOCATION, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use throughline_wire::{Compression, decompress};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::job::{Credentials, Secret};

/// How often a redirect is followed.
const REDIRECTS_MAX: usize = 10;
/// The most bytes of an answer's headers.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// What permits of the budget count.
const PERMIT_BYTES: usize = 1 << 10;
/// Who asks.
const AGENT: &str = concat!("Throughline/", env!("CARGO_PKG_VERSION"));

/// Memory for pages that are being read.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Budget {
        Budget(Arc::new(Semaphore::new(bytes / PERMIT_BYTES)))
    }

    async fn reserve(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).ok()?;
        Arc::clone(&self.0).acquire_many_owned(permits).await.ok()
    }
}

/// What is asked.
pub struct Request<'r> {
    pub url: &'r str,
    pub accept: &'r str,
    /// A header of its own.
    pub extra: (&'static str, &'r str),
    pub authorization: Option<&'r Credentials>,
    pub gzip: bool,
    pub redirects: bool,
    pub timeout: Duration,
    pub body_bytes_max: usize,
}

/// What was answered, with status 200.
pub struct Answer {
    pub content_type: String,
    pub body: Bytes,
    compression: Compression,
    _reserved: Option<OwnedSemaphorePermit>,
}

impl Answer {
    /// The decompressed body.
    pub fn plain(&self, bytes_max: usize) -> Result<Cow<'_, [u8]>, String> {
        decompress(&self.body, self.compression, bytes_max).map_err(|error| match error.is_too_large() {
            true => too_large(bytes_max),
            false => error.to_string(),
        })
    }
}

/// A client for one server at a time.
pub struct Client {
    budget: Budget,
    open: Option<(String, SendRequest<Empty<Bytes>>)>,
}

impl Client {
    /// A client without a connection.
    pub fn new(budget: Budget) -> Client {
        Client { budget, open: None }
    }

    /// Asks, within the time limit.
    pub async fn get(&mut self, request: &Request<'_>) -> Result<Answer, String> {
        let answer = tokio::time::timeout(request.timeout, self.follow(request)).await;
        answer.unwrap_or_else(|_| Err(format!("no whole answer within {:?}", request.timeout)))
    }

    async fn follow(&mut self, request: &Request<'_>) -> Result<Answer, String> {
        let authorization = match request.authorization {
            Some(credentials) => Some(header(credentials).await?),
            None => None,
        };
        let mut uri: Uri = request.url.parse().map_err(|error| format!("{:?}: {error}", request.url))?;
        for _ in 0..=REDIRECTS_MAX {
            let (response, connection) = self.exchange(&uri, request, authorization.as_ref()).await?;
            let status = response.status();
            if request.redirects && status.is_redirection() && response.headers().contains_key(LOCATION) {
                uri = redirected(&uri, response.headers())?;
                continue;
            }
            if status != StatusCode::OK {
                return Err(format!("the server answered with status {status}"));
            }
            let answer = self.read(response, request.body_bytes_max).await?;
            self.open = Some(connection);
            return Ok(answer);
        }
        Err(format!("more than {REDIRECTS_MAX} redirects"))
    }

    /// Sends a request over the open connection, or a new one. An open one may have been closed by the other side since
    /// it was used, which only shows now: then, and only then, it is sent a second time.
    async fn exchange(
        &mut self,
        uri: &Uri,
        request: &Request<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<(Response<Incoming>, (String, SendRequest<Empty<Bytes>>)), String> {
        let authority = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        let kept = self.open.take().filter(|(open_to, sender)| *open_to == authority && !sender.is_closed());
        if let Some((_, mut sender)) = kept
            && sender.ready().await.is_ok()
            && let Ok(response) = sender.send_request(message(uri, request, authorization)?).await
        {
            return Ok((response, (authority, sender)));
        }
        let mut sender = connect(uri).await?;
        let response = sender
            .send_request(message(uri, request, authorization)?)
            .await
            .map_err(|error| format!("ask {authority}: {}", causes(&error)))?;
        Ok((response, (authority, sender)))
    }

    async fn read(&self, response: Response<Incoming>, bytes_max: usize) -> Result<Answer, String> {
        let (head, mut incoming) = response.into_parts();
        let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let encoding = text(&CONTENT_ENCODING);
        let compression = match encoding {
            "" => Compression::Identity,
            name => {
                Compression::from_name(name).ok_or_else(|| format!("the answer is encoded as {name:?}"))?
            }
        };
        let mut body = Vec::new();
        let mut reserved: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| format!("read the answer: {}", causes(&error)))?;
            let Ok(data) = frame.into_data() else { continue };
            if body.len() + data.len() > bytes_max {
                return Err(too_large(bytes_max));
            }
            let more = self.budget.reserve(data.len()).await;
            match (&mut reserved, more) {
                (Some(all), Some(more)) => all.merge(more),
                (none, more) => *none = more,
            }
            body.extend_from_slice(&data);
        }
        let content_type = text(&CONTENT_TYPE).to_owned();
        Ok(Answer { content_type, body: body.into(), compression, _reserved: reserved })
    }
}

fn too_large(bytes_max: usize) -> String {
    format!("the page is larger than body_size_limit: {bytes_max} bytes")
}

async fn connect(uri: &Uri) -> Result<SendRequest<Empty<Bytes>>, String> {
    if uri.scheme_str() != Some("http") {
        return Err(format!("scheme {:?} is not supported, only http", uri.scheme_str().unwrap_or_default()));
    }
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(80);
    let failed = |error: &dyn std::error::Error| format!("connect to {host}:{port}: {}", causes(error));
    let stream = TcpStream::connect((host, port)).await.map_err(|error| failed(&error))?;
    stream.set_nodelay(true).map_err(|error| failed(&error))?;
    let mut builder = Builder::new();
    builder.max_buf_size(HEADER_BYTES_MAX);
    let (sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    // It ends with the sender; what went wrong shows there.
    tokio::spawn(async move { _ = connection.await });
    Ok(sender)
}

fn message(
    uri: &Uri,
    request: &Request<'_>,
    authorization: Option<&HeaderValue>,
) -> Result<http::Request<Empty<Bytes>>, String> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let (name, value) = request.extra;
    let mut builder = http::Request::get(path)
        .header(HOST, authority)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, request.accept)
        .header(ACCEPT_ENCODING, if request.gzip { "gzip" } else { "identity" })
        .header(name, value);
    if let Some(authorization) = authorization {
        builder = builder.header(AUTHORIZATION, authorization);
    }
    builder.body(Empty::new()).map_err(|error| error.to_string())
}

fn redirected(from: &Uri, headers: &HeaderMap) -> Result<Uri, String> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let absolute = if location.starts_with('/') && !location.starts_with("//") {
        format!("http://{}{location}", from.authority().map_or("", |authority| authority.as_str()))
    } else {
        location.to_owned()
    };
    absolute.parse().map_err(|error| format!("redirect to {location:?}: {error}"))
}

/// The value of `Authorization`.
async fn header(credentials: &Credentials) -> Result<HeaderValue, String> {
    let text = match credentials {
        Credentials::Basic(user, secret) => {
            let pair = format!("{user}:{}", read_secret(secret).await?);
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
        Credentials::Other(scheme, secret) => format!("{scheme} {}", read_secret(secret).await?),
    };
    let mut value =
        HeaderValue::from_str(&text).map_err(|_| "the credentials fit in no header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

async fn read_secret(secret: &Secret) -> Result<String, String> {
    match secret {
        Secret::Text(text) => Ok(text.clone()),
        Secret::File(path) => {
            let text = tokio::fs::read_to_string(path).await;
            let text = text.map_err(|error| format!("read {}: {error}", path.display()))?;
            Ok(text.trim().to_owned())
        }
    }
}

/// An error with what caused it, as one line.
fn causes(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
