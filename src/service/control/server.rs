//! The side of the service.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use interprocess::local_socket::tokio::prelude::*;
use interprocess::local_socket::tokio::{Listener, Stream};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

use super::client::{self, ControlError, to_line};
use super::lines::{LineError, Lines};
use super::platform;
use super::{REQUEST_BYTES, REQUEST_TIMEOUT, SEND_TIMEOUT, WAITING};
use crate::api::{CONTROL_VERSION, Envelope, Refusal, Reply, Request, codes};
use crate::service::home::{Home, HomeError};
use crate::service::modes;

/// Why no service can begin here.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// One of this person runs.
    #[error("a service of yours runs already{}", pid.map_or_else(String::new, |pid| format!(" (process {pid})")))]
    AlreadyRunning {
        /// Its process id, if it answered.
        pid: Option<u32>,
    },
    /// The directories of the person cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The socket cannot be made.
    #[error("cannot listen at {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl BindError {
    /// Stable, for docs/json.md.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AlreadyRunning { .. } => "already-running",
            Self::Home(error) => error.code(),
            Self::Io { .. } => "socket-refused",
        }
    }
}

/// The command has hung up: whatever it asked for is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the command has hung up")]
pub struct HungUp;

/// The control socket of a running service. Dropping it removes the socket.
pub struct Server {
    incoming: mpsc::Receiver<(Envelope, Session)>,
    accepting: JoinHandle<()>,
    path: PathBuf,
    number: Option<(u64, u64)>,
}

impl Server {
    /// Listens, unless a service of this home answers; what a dead one left behind is replaced.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(home: &Home) -> Result<Self, BindError> {
        home.create()?;
        let path = home.socket().to_owned();
        let io = |source| BindError::Io { path: path.clone(), source };
        // Held only while looking and replacing, so that two that start at once do not replace each other. Its
        // being there says nothing.
        let _turn = take_turn(&path.with_extension("lock")).await.map_err(io)?;
        match client::ping(home).await {
            Ok(pong) => return Err(BindError::AlreadyRunning { pid: Some(pong.pid) }),
            Err(ControlError::NotRunning) => platform::remove_stale(&path).map_err(io)?,
            Err(ControlError::Home(error)) => return Err(error.into()),
            Err(ControlError::Refused { source, .. }) => return Err(io(source)),
            // Somebody took the connection.
            Err(ControlError::Silent | ControlError::Garbled | ControlError::HungUp) => {
                return Err(BindError::AlreadyRunning { pid: None });
            }
        }
        let listener = platform::listen(&path).map_err(io)?;
        // A file that we just made is owned by us.
        let owner = std::fs::symlink_metadata(&path).ok().and_then(|metadata| modes::owner(&metadata));
        let number = platform::file_number(&path);
        let (sender, incoming) = mpsc::channel(WAITING);
        let accepting = tokio::spawn(accept_all(listener, owner, sender));
        Ok(Self { incoming, accepting, path, number })
    }

    /// The next command. Malformed requests and those of another version are refused before this sees them,
    /// [`Request::Ping`] and `Down` of all excepted, which are understood across versions. May be cancelled
    /// without loss.
    pub async fn accept(&mut self) -> (Envelope, Session) {
        match self.incoming.recv().await {
            Some(next) => next,
            // The accepting task ends only with this value.
            None => std::future::pending().await,
        }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        platform::remove_if_same(&self.path, self.number);
    }
}

/// Waits for the lock beside the socket; a process that ends gives it back.
async fn take_turn(path: &Path) -> io::Result<File> {
    let file = modes::append(path)?;
    for _ in 0..500 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "another service has been starting for 10 s"))
}

async fn accept_all(listener: Listener, owner: Option<u32>, sender: mpsc::Sender<(Envelope, Session)>) {
    loop {
        match listener.accept().await {
            Ok(stream) if platform::is_allowed(&stream, owner) => {
                tokio::spawn(greet(stream, sender.clone()));
            }
            Ok(_) => tracing::warn!("somebody else tried to use the control socket"),
            Err(error) => {
                // Out of file handles, mostly: they come back.
                tracing::warn!(%error, "cannot take a command");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// An envelope of any version: what is the same in all of them.
#[derive(Deserialize)]
struct AnyEnvelope {
    v: u32,
    #[serde(default)]
    version: String,
    request: serde_json::Value,
}

/// Reads the first line and hands the command on, or refuses it.
async fn greet(stream: Stream, sender: mpsc::Sender<(Envelope, Session)>) {
    let stream = Arc::new(stream);
    let mut lines = Lines::new(BufReader::new(Shared(Arc::clone(&stream))), REQUEST_BYTES);
    let line = tokio::time::timeout(REQUEST_TIMEOUT, lines.next()).await;
    let read = match line {
        Ok(Ok(Some(line))) => read_envelope(&line),
        Ok(Err(LineError::TooLong { limit })) => {
            Err(Refusal::plain(codes::BAD_REQUEST, format!("a request has at most {limit} bytes")))
        }
        Ok(Ok(None) | Err(LineError::Io(_))) => return,
        Err(_) => Err(Refusal::plain(codes::BAD_REQUEST, "no request came")),
    };
    let session = Session::new(stream, lines);
    match read {
        // The service is ending where this fails, and the command sees the connection close.
        Ok(envelope) => drop(sender.send((envelope, session)).await),
        Err(refusal) => drop(session.refuse(refusal).await),
    }
}

/// Reads the first line of a command.
pub(crate) fn read_envelope(line: &[u8]) -> Result<Envelope, Refusal> {
    let malformed = || Refusal::plain(codes::BAD_REQUEST, "the request is malformed");
    let any: AnyEnvelope = serde_json::from_slice(line).map_err(|_| malformed())?;
    if any.v == CONTROL_VERSION {
        return serde_json::from_slice(line).map_err(|_| malformed());
    }
    let request: Option<Request> = serde_json::from_value(any.request).ok();
    match request {
        Some(request @ (Request::Ping | Request::Down { all: true })) => {
            Ok(Envelope { v: any.v, version: any.version, dir: PathBuf::new(), request })
        }
        _ => Err(Refusal::new(
            codes::OTHER_VERSION,
            format!("the service is lansync {}, this is {}", env!("CARGO_PKG_VERSION"), any.version),
            "lansync down --all",
        )),
    }
}

/// The reading half of a stream that others write to.
struct Shared(Arc<Stream>);

impl tokio::io::AsyncRead for Shared {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut &*self.0).poll_read(context, buffer)
    }
}

/// One command that waits for its replies. Dropping it hangs up.
pub struct Session {
    stream: Mutex<Arc<Stream>>,
    answers: Mutex<mpsc::Receiver<bool>>,
    closed: watch::Receiver<bool>,
    listening: JoinHandle<()>,
}

impl Session {
    fn new(stream: Arc<Stream>, mut lines: Lines<BufReader<Shared>>) -> Self {
        let (answer, answers) = mpsc::channel(1);
        let (close, closed) = watch::channel(false);
        let listening = tokio::spawn(async move {
            // Anything but an answer, and a second one that nobody asked for, ends the session.
            while let Ok(Some(line)) = lines.next().await {
                match serde_json::from_slice(&line) {
                    Ok(Request::Answer { yes }) if answer.try_send(yes).is_ok() => {}
                    _ => break,
                }
            }
            close.send_replace(true);
        });
        Self { stream: Mutex::new(stream), answers: Mutex::new(answers), closed, listening }
    }

    /// Sends one reply. Several tasks may do so at once.
    ///
    /// # Errors
    /// [`HungUp`], also where the command has read nothing for a minute.
    pub async fn send(&self, reply: Reply) -> Result<(), HungUp> {
        let line = to_line(&reply).ok_or(HungUp)?;
        let stream = self.stream.lock().await;
        let mut writer: &Stream = &stream;
        match tokio::time::timeout(SEND_TIMEOUT, writer.write_all(&line)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(HungUp),
        }
    }

    /// Sends the last reply: it went well.
    ///
    /// # Errors
    /// [`HungUp`].
    pub async fn done(&self, value: &impl Serialize) -> Result<(), HungUp> {
        let value = serde_json::to_value(value).map_err(|_| HungUp)?;
        self.send(Reply::Done { value }).await
    }

    /// Sends the last reply: it did not.
    ///
    /// # Errors
    /// [`HungUp`].
    pub async fn refuse(&self, refusal: Refusal) -> Result<(), HungUp> {
        self.send(Reply::Error(refusal)).await
    }

    /// The answer to a [`Reply::Confirm`]; `None` where the command hangs up instead.
    pub async fn answer(&self) -> Option<bool> {
        self.answers.lock().await.recv().await
    }

    /// Returns once the command has hung up.
    pub async fn closed(&self) {
        // The task that holds the other end ends only with a last word, or with this value.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.listening.abort();
    }
}
