//! HTTP/1.1 over a unix socket, as blocking calls: the one file of this port that knows async types.
//!
//! One connection and one current-thread runtime per request: nothing is shared, no keep-alive connection can be stale,
//! a reader that pauses stalls its own connection only, and dropping a reply closes its socket. Knows nothing of JSON,
//! operations or instances. Invariants: a body that ends without its terminator or short of its length is an error,
//! never an end; an upload whose input fails is never terminated, so that the daemon discards it; memory is bounded by
//! the buffers of `limits`.

use std::future::Future;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderName, TRANSFER_ENCODING};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use hyperlocal::UnixConnector;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::error::Cause;
use crate::limits::{DAEMON_REPLY_SECONDS_MAX, DOWNLOAD_BUFFER_BYTES_MAX, UPLOAD_PIECE_BYTES, UPLOAD_QUEUE_PIECES_MAX};

/// How long a wait lasts before the stop flag is looked at again.
const STOP_LOOK: Duration = Duration::from_millis(200);

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// A request; `target` is path and query, percent-encoded.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub method: Method,
    pub target: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// What can go wrong below the protocol.
#[derive(Debug)]
pub(super) enum HttpError {
    /// No connection.
    Connect(io::Error),
    /// A name, a target or a header that cannot be sent.
    Unsendable(String),
    /// The stop flag was raised.
    Stopped,
    /// No answer for this long.
    Silent(Duration),
    /// A body that is larger than its reader allows.
    TooLarge(usize),
    /// A body that broke off after this many bytes.
    Cut { received: u64, source: Option<Cause> },
    /// The reader of an upload failed.
    Input(io::Error),
    /// Anything else between connection and reply.
    Exchange(Cause),
}

/// A daemon's socket and the patience to be had with it.
#[derive(Debug, Clone)]
pub(super) struct Socket {
    path: PathBuf,
    stop: Option<Arc<AtomicBool>>,
    reply_patience: Duration,
}

impl Socket {
    /// Talks to `path` until `stop` is raised.
    pub fn new(path: PathBuf, stop: Option<Arc<AtomicBool>>) -> Self {
        Self { path, stop, reply_patience: Duration::from_secs(DAEMON_REPLY_SECONDS_MAX) }
    }

    /// The same socket for cleaning up: without stop flag and with less patience.
    pub fn for_cleanup(&self, patience: Duration) -> Self {
        Self { path: self.path.clone(), stop: None, reply_patience: patience }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the user wants to stop.
    pub fn stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// Sends a request whose body is in memory and waits for the head of the reply.
    pub fn send(&self, request: &Request) -> Result<Reply, HttpError> {
        let message = self.message(request, Full::new(Bytes::from(request.body.clone())))?;
        let runtime = runtime()?;
        let response = runtime.block_on(async {
            let response = client().request(message);
            self.heed(pin!(response), Some(self.reply_patience)).await
        })?;
        Ok(self.reply(runtime, response.map_err(exchange_error)?))
    }

    /// Sends a request whose body is read from `input`, in chunks and without a length, and waits for the head of the
    /// reply. `sent` hears how many bytes have been handed to the socket. `request.body` is not sent.
    ///
    /// An error of `input` or a raised stop flag closes the connection without the final chunk.
    pub fn upload(
        &self,
        request: &Request,
        input: &mut (dyn Read + Send),
        sent: &mut dyn FnMut(u64),
    ) -> Result<Reply, HttpError> {
        let (pieces, body) = Upload::channel();
        let message = self.message(request, body)?;
        let runtime = runtime()?;
        let response = runtime.block_on(self.feed(message, pieces, input, sent))?;
        Ok(self.reply(runtime, response))
    }

    /// Alternates between reading the input and letting the connection send. Reading blocks the connection, which is
    /// the only thing that this runtime serves.
    async fn feed(
        &self,
        message: hyper::Request<Upload>,
        pieces: mpsc::Sender<Piece>,
        input: &mut (dyn Read + Send),
        sent: &mut dyn FnMut(u64),
    ) -> Result<hyper::Response<Incoming>, HttpError> {
        let client = client();
        let mut response = pin!(client.request(message));
        let (mut feeding, mut total, mut waited) = (true, 0u64, Duration::ZERO);
        loop {
            if self.stopped() {
                return Err(HttpError::Stopped);
            }
            tokio::select! {
                biased;
                response = &mut response => return response.map_err(exchange_error),
                permit = pieces.reserve(), if feeding => {
                    waited = Duration::ZERO;
                    // A closed queue means that the connection takes no more; its response or error follows.
                    let Ok(permit) = permit else { feeding = false; continue };
                    match read_piece(input) {
                        Ok(Some(piece)) => {
                            total += piece.len() as u64;
                            permit.send(Piece::Data(piece));
                            sent(total);
                        }
                        Ok(None) => {
                            permit.send(Piece::End);
                            feeding = false;
                        }
                        Err(error) => return Err(HttpError::Input(error)),
                    }
                }
                () = tokio::time::sleep(STOP_LOOK) => {
                    // While the daemon does not take the next piece it may be short of disk speed; while it has all of
                    // them it only owes the reply.
                    waited += STOP_LOOK;
                    if !feeding && waited >= self.reply_patience {
                        return Err(HttpError::Silent(self.reply_patience));
                    }
                }
            }
        }
    }

    /// Waits for a future, looking at the stop flag now and then, for as long as `patience` says.
    async fn heed<F: Future>(
        &self,
        mut future: Pin<&mut F>,
        patience: Option<Duration>,
    ) -> Result<F::Output, HttpError> {
        let mut waited = Duration::ZERO;
        loop {
            if self.stopped() {
                return Err(HttpError::Stopped);
            }
            if let Ok(output) = tokio::time::timeout(STOP_LOOK, future.as_mut()).await {
                return Ok(output);
            }
            waited += STOP_LOOK;
            if let Some(patience) = patience.filter(|patience| waited >= *patience) {
                return Err(HttpError::Silent(patience));
            }
        }
    }

    fn message<B>(&self, request: &Request, body: B) -> Result<hyper::Request<B>, HttpError> {
        // The connector takes the path as text, so that another would be looked for where the name is not UTF-8.
        let path =
            self.path.to_str().ok_or_else(|| HttpError::Unsendable("the socket's path is not UTF-8".to_owned()))?;
        let mut parts = hyper::Uri::from(hyperlocal::Uri::new(path, "/")).into_parts();
        parts.path_and_query = Some(request.target.parse().map_err(unsendable)?);
        let uri = hyper::Uri::from_parts(parts).map_err(unsendable)?;
        let method = match request.method {
            Method::Get => hyper::Method::GET,
            Method::Post => hyper::Method::POST,
            Method::Put => hyper::Method::PUT,
            Method::Patch => hyper::Method::PATCH,
            Method::Delete => hyper::Method::DELETE,
        };
        let mut message = hyper::Request::builder().method(method).uri(uri).header(HOST, "localhost");
        for (name, value) in &request.headers {
            message = message.header(*name, value);
        }
        message.body(body).map_err(unsendable)
    }

    fn reply(&self, runtime: Runtime, response: hyper::Response<Incoming>) -> Reply {
        let (head, incoming) = response.into_parts();
        let text = |name: HeaderName| header(&head.headers, &name);
        let length = incoming.size_hint().exact();
        let chunked = text(TRANSFER_ENCODING).is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"));
        Reply {
            status: head.status.as_u16(),
            content_type: text(CONTENT_TYPE),
            etag: text(ETAG),
            delimited: length.is_some() || chunked,
            body: Body {
                incoming,
                runtime,
                socket: self.clone(),
                piece: Bytes::new(),
                length,
                received: 0,
                patience: None,
                ended: false,
            },
        }
    }
}

/// The head of a reply, with its body still to be read.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: u16,
    pub content_type: Option<String>,
    pub etag: Option<String>,
    /// Whether the end of the body can be told from a cut: it has a length or is chunked.
    pub delimited: bool,
    pub body: Body,
}

impl Reply {
    /// Reads the whole body, at most `limit` bytes of it.
    pub fn read_all(mut self, limit: usize) -> Result<Vec<u8>, HttpError> {
        self.body.patience = Some(self.body.socket.reply_patience);
        let mut all = Vec::new();
        while let Some(piece) = self.body.next()? {
            if all.len() + piece.len() > limit {
                return Err(HttpError::TooLarge(limit));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}

/// The body of a reply, to be read in pieces.
#[derive(Debug)]
pub(super) struct Body {
    // Declared, and so dropped, before the runtime that its connection lives in.
    incoming: Incoming,
    runtime: Runtime,
    socket: Socket,
    piece: Bytes,
    length: Option<u64>,
    received: u64,
    patience: Option<Duration>,
    ended: bool,
}

impl Body {
    /// Bytes that the daemon announced, if it did.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Bytes that have come.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Reads what is there; 0 only at a proper end: the final chunk was seen, or all announced bytes have come.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, HttpError> {
        if self.piece.is_empty() {
            match self.next()? {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let taken = self.piece.split_to(self.piece.len().min(buffer.len()));
        if let Some(target) = buffer.get_mut(..taken.len()) {
            target.copy_from_slice(&taken);
        }
        Ok(taken.len())
    }

    /// The next piece as it came from the socket, never empty; `None` at a proper end.
    fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        if !self.piece.is_empty() {
            return Ok(Some(std::mem::take(&mut self.piece)));
        }
        while !self.ended {
            let frame = self.runtime.block_on(async {
                let frame = self.incoming.frame();
                self.socket.heed(pin!(frame), self.patience).await
            })?;
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data()
                        && !piece.is_empty()
                    {
                        self.received += piece.len() as u64;
                        return Ok(Some(piece));
                    }
                }
                Some(Err(error)) => {
                    return Err(HttpError::Cut { received: self.received, source: Some(error.into()) });
                }
                None if self.length.is_some_and(|length| length != self.received) => {
                    return Err(HttpError::Cut { received: self.received, source: None });
                }
                None => self.ended = true,
            }
        }
        Ok(None)
    }
}

/// What goes through the queue of an upload. The end is said aloud, so that a queue whose feeder is gone is no end.
#[derive(Debug)]
enum Piece {
    Data(Bytes),
    End,
}

/// The body of an upload: pieces from a queue.
struct Upload {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

impl Upload {
    fn channel() -> (mpsc::Sender<Piece>, Self) {
        let (sender, pieces) = mpsc::channel(UPLOAD_QUEUE_PIECES_MAX);
        (sender, Self { pieces, ended: false })
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(context).map(|piece| match piece {
            Some(Piece::Data(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => Some(Err(io::Error::other("the upload was broken off"))),
        })
    }
}

/// The next piece of an upload, full unless it is the last.
fn read_piece(input: &mut (dyn Read + Send)) -> io::Result<Option<Bytes>> {
    let mut piece = vec![0; UPLOAD_PIECE_BYTES];
    let mut filled = 0;
    while let Some(space) = piece.get_mut(filled..).filter(|space| !space.is_empty()) {
        match input.read(space) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    piece.truncate(filled);
    Ok((filled > 0).then(|| Bytes::from(piece)))
}

fn runtime() -> Result<Runtime, HttpError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| HttpError::Exchange(error.into()))
}

fn client<B>() -> Client<UnixConnector, B>
where
    B: HttpBody + Send + 'static + Unpin,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .retry_canceled_requests(false)
        .http1_max_buf_size(DOWNLOAD_BUFFER_BYTES_MAX)
        .build(UnixConnector)
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn unsendable(error: impl std::fmt::Display) -> HttpError {
    HttpError::Unsendable(error.to_string())
}

fn exchange_error(error: hyper_util::client::legacy::Error) -> HttpError {
    if error.is_connect() {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(current) = cause {
            if let Some(inner) = current.downcast_ref::<io::Error>() {
                return HttpError::Connect(match inner.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(inner.kind(), inner.to_string()),
                });
            }
            cause = current.source();
        }
    }
    HttpError::Exchange(error.into())
}
