//! The side of the commands.

use std::io;
use std::path::{Path, PathBuf};

use interprocess::local_socket::tokio::Stream;
use serde::Serialize;
use tokio::io::{AsyncWriteExt as _, BufReader};

use super::lines::{LineError, Lines};
use super::platform::{self, Found};
use super::{PING_TIMEOUT, REPLY_BYTES};
use crate::api::{CONTROL_VERSION, Envelope, Pong, Reply, Request};
use crate::service::home::{Home, HomeError};

/// Why the service cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No service of this person runs.
    #[error("nothing is being shared now: no service runs")]
    NotRunning,
    /// Its socket is there and may not be used.
    #[error("cannot reach the service at {}: {source}", path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The place of its socket is not safe.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// It takes connections and does not answer.
    #[error("the service does not answer")]
    Silent,
    /// It hung up before the end: it was stopped, or it crashed.
    #[error("the service stopped before it had answered")]
    HungUp,
    /// It says what this program does not understand.
    #[error("the service answers in a way that this lansync does not understand")]
    Garbled,
}

impl ControlError {
    /// Stable, for docs/json.md.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotRunning => "not-running",
            Self::Refused { .. } => "socket-refused",
            Self::Home(error) => error.code(),
            Self::Silent => "service-silent",
            Self::HungUp => "service-stopped",
            Self::Garbled => "other-version",
        }
    }
}

impl From<io::Error> for ControlError {
    fn from(_: io::Error) -> Self {
        // Whatever breaks a connection on the same machine, the other end is gone.
        Self::HungUp
    }
}

impl From<LineError> for ControlError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::TooLong { .. } => Self::Garbled,
            LineError::Io(error) => error.into(),
        }
    }
}

/// A connection to the service that has asked nothing yet.
pub struct Control {
    stream: BufReader<Stream>,
}

impl Control {
    /// Connects to the service of this home.
    ///
    /// # Errors
    /// [`ControlError::NotRunning`], `Refused` or `Home`.
    pub async fn connect(home: &Home) -> Result<Self, ControlError> {
        home.check_socket_dir()?;
        let path = home.socket();
        match tokio::time::timeout(PING_TIMEOUT, platform::connect(path)).await {
            Err(_) => Err(ControlError::Silent),
            Ok(Ok(stream)) => Ok(Self { stream: BufReader::new(stream) }),
            Ok(Err(source)) => Err(match platform::connect_kind(&source) {
                Found::Nothing | Found::Stale => ControlError::NotRunning,
                Found::Barred => ControlError::Refused { path: path.to_owned(), source },
            }),
        }
    }

    /// Asks for `dir` (absolute).
    ///
    /// # Errors
    /// [`ControlError::HungUp`].
    pub async fn request(self, dir: &Path, request: Request) -> Result<Replies, ControlError> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.send(Envelope { v: CONTROL_VERSION, version, dir: dir.to_owned(), request }).await
    }

    /// Asks exactly this.
    ///
    /// # Errors
    /// [`ControlError::HungUp`].
    pub async fn send(self, envelope: Envelope) -> Result<Replies, ControlError> {
        let mut replies = Replies { lines: Lines::new(self.stream, REPLY_BYTES), ended: false };
        replies.write(&envelope).await?;
        Ok(replies)
    }
}

/// What the service answers, reply by reply.
pub struct Replies {
    lines: Lines<BufReader<Stream>>,
    ended: bool,
}

impl Replies {
    /// The next reply; `None` after `Done` or `Error`. May be cancelled without loss.
    ///
    /// # Errors
    /// [`ControlError::HungUp`] or `Garbled`.
    pub async fn next(&mut self) -> Result<Option<Reply>, ControlError> {
        if self.ended {
            return Ok(None);
        }
        let line = self.lines.next().await?.ok_or(ControlError::HungUp)?;
        let reply: Reply = serde_json::from_slice(&line).map_err(|_| ControlError::Garbled)?;
        self.ended = matches!(reply, Reply::Done { .. } | Reply::Error(_));
        Ok(Some(reply))
    }

    /// Answers [`Reply::Confirm`].
    ///
    /// # Errors
    /// [`ControlError::HungUp`].
    pub async fn answer(&mut self, yes: bool) -> Result<(), ControlError> {
        self.write(&Request::Answer { yes }).await
    }

    async fn write(&mut self, value: &impl Serialize) -> Result<(), ControlError> {
        let line = to_line(value).ok_or(ControlError::Garbled)?;
        let stream = self.lines.stream_mut();
        stream.write_all(&line).await?;
        stream.flush().await?;
        Ok(())
    }
}

/// A value as a line.
pub(super) fn to_line(value: &impl Serialize) -> Option<Vec<u8>> {
    let mut line = serde_json::to_vec(value).ok()?;
    line.push(b'\n');
    Some(line)
}

/// Is a service there, and which? Works across versions.
///
/// # Errors
/// [`ControlError`]; `Silent` where something takes the connection and says nothing in time.
pub async fn ping(home: &Home) -> Result<Pong, ControlError> {
    let asked = async {
        let mut replies = Control::connect(home).await?.request(home.dir(), Request::Ping).await?;
        match replies.next().await? {
            Some(Reply::Done { value }) => serde_json::from_value(value).map_err(|_| ControlError::Garbled),
            _ => Err(ControlError::Garbled),
        }
    };
    tokio::time::timeout(PING_TIMEOUT, asked).await.unwrap_or(Err(ControlError::Silent))
}
