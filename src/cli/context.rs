//! What every command is given, and how it asks: the service where one runs, the repository itself where none does.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{Failure, garbled};
use super::platform::{Signals, Stop};
use super::ui::Ui;
use crate::api::{Refusal, Reply, Request, codes};
use crate::limits;
use crate::service::control::{Control, ControlError, Replies};
use crate::service::home::Home;

/// Replies that are read from the repository before those before them are taken.
const OFFLINE_AHEAD: usize = 256;

/// Where a command runs and how it talks.
#[derive(Debug, Clone)]
pub(super) struct Context {
    /// The terminal.
    pub(super) ui: Ui,
    /// The directory it is about (absolute).
    pub(super) dir: PathBuf,
}

impl Context {
    /// The home of this person.
    pub(super) fn home(&self) -> Result<Home, Failure> {
        Ok(Home::from_env()?)
    }

    /// Asks the service; where that takes the passphrase of the identity key, asks for it and then again.
    pub(super) async fn ask(&self, request: Request) -> Result<Stream, Failure> {
        let control = Control::connect(&self.home()?).await?;
        let mut stream = Stream::live(control.request(&self.dir, request.clone()).await?)?;
        stream.again = Some((self.clone(), request));
        Ok(stream)
    }

    /// Gives the service the passphrase, and asks again.
    async fn ask_unlocked(&self, request: Request, refusal: Refusal) -> Result<Source, Failure> {
        let passphrase = super::passphrase::present(refusal)?;
        let (home, millis) = (self.home()?, limits::KEY_OPEN.as_millis() as u64);
        let unlock = Request::Unlock { passphrase, millis };
        let mut replies = Control::connect(&home).await?.request(&self.dir, unlock).await?;
        match replies.next().await? {
            Some(Reply::Error(refusal)) => return Err(refusal.into()),
            Some(_) => {}
            None => return Err(unfinished()),
        }
        Ok(Stream::live(Control::connect(&home).await?.request(&self.dir, request).await?)?.source)
    }

    /// Asks the service, or looks into the repository where no service shares it.
    pub(super) async fn read(&self, request: Request) -> Result<Stream, Failure> {
        let replies = match Home::from_env() {
            Err(_) => return self.offline(&request),
            Ok(home) => match Control::connect(&home).await {
                Ok(control) => control.request(&self.dir, request.clone()).await?,
                Err(ControlError::NotRunning) => return self.offline(&request),
                Err(error) => return Err(error.into()),
            },
        };
        let mut stream = Stream::live(replies)?;
        match stream.next().await {
            Err(Failure::Refused(refusal)) if refusal.code == codes::NOT_UP => self.offline(&request),
            first => {
                stream.first = first?;
                Ok(stream)
            }
        }
    }

    fn offline(&self, request: &Request) -> Result<Stream, Failure> {
        let (dir, request) = (self.dir.clone(), request.clone());
        let (send, replies) = std::sync::mpsc::sync_channel(OFFLINE_AHEAD);
        std::thread::spawn(move || {
            if let Err(refusal) = crate::node::offline(&dir, &request, &mut |reply| send.send(reply).is_ok()) {
                // Where nothing is read any more, this command is about to end.
                let _ = send.send(Reply::Error(refusal));
            }
        });
        let mut stream = Stream { first: None, again: None, source: Source::Offline(replies.into_iter()) };
        stream.first = stream.next_offline()?;
        Ok(stream)
    }

    /// Asks the service for one value.
    pub(super) async fn ask_value(&self, request: Request) -> Result<Value, Failure> {
        self.ask(request).await?.done().await
    }

    /// Reads one value.
    pub(super) async fn read_value(&self, request: Request) -> Result<Value, Failure> {
        self.read(request).await?.done().await
    }

    /// Prints a value as JSON, or what `lines` makes of it.
    pub(super) fn print<T: DeserializeOwned>(
        &self,
        value: Value,
        lines: impl FnOnce(T) -> Vec<String>,
    ) -> Result<(), Failure> {
        if self.ui.json { self.ui.json(&value) } else { self.ui.out_all(&lines(typed(value)?)) }
    }
}

/// A value as its type.
pub(super) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(garbled)
}

/// The replies to one request.
pub(super) struct Stream {
    first: Option<Reply>,
    /// What was asked, for once more with the passphrase.
    again: Option<(Context, Request)>,
    source: Source,
}

enum Source {
    Live { replies: Box<Replies>, signals: Signals },
    Offline(std::sync::mpsc::IntoIter<Reply>),
}

impl Stream {
    fn live(replies: Replies) -> Result<Self, Failure> {
        Ok(Self { first: None, again: None, source: Source::Live { replies: Box::new(replies), signals: signals()? } })
    }

    /// The next reply; `None` after the last. A refusal is an error, and so is being interrupted.
    pub(super) async fn next(&mut self) -> Result<Option<Reply>, Failure> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            let next = match &mut self.source {
                Source::Live { replies, signals } => tokio::select! {
                    next = replies.next() => next?,
                    stop = signals.next() => return Err(stopped(stop)),
                },
                Source::Offline(replies) => replies.next(),
            };
            match (next, self.again.take()) {
                (Some(Reply::Error(refusal)), Some((context, request))) if refusal.code == codes::PASSPHRASE => {
                    self.source = context.ask_unlocked(request, refusal).await?;
                }
                (Some(Reply::Error(refusal)), _) => return Err(refusal.into()),
                (next, _) => return Ok(next),
            }
        }
    }

    fn next_offline(&mut self) -> Result<Option<Reply>, Failure> {
        match &mut self.source {
            Source::Offline(replies) => match replies.next() {
                Some(Reply::Error(refusal)) => Err(refusal.into()),
                next => Ok(next),
            },
            Source::Live { .. } => Ok(None),
        }
    }

    /// Answers a question of the service.
    pub(super) async fn answer(&mut self, yes: bool) -> Result<(), Failure> {
        match &mut self.source {
            Source::Live { replies, .. } => Ok(replies.answer(yes).await?),
            Source::Offline(_) => Ok(()),
        }
    }

    /// The value of `Done`; what comes before it is passed over.
    pub(super) async fn done(mut self) -> Result<Value, Failure> {
        while let Some(reply) = self.next().await? {
            if let Reply::Done { value } = reply {
                return Ok(value);
            }
        }
        Err(unfinished())
    }

    /// Is nobody there who could tell of what happens later?
    pub(super) fn is_offline(&self) -> bool {
        matches!(self.source, Source::Offline(_))
    }
}

/// Starts to listen for the wish to end.
pub(super) fn signals() -> Result<Signals, Failure> {
    Signals::new().map_err(|error| Failure::plain("signals", format!("cannot listen for Ctrl-C: {error}")))
}

fn stopped(_: Stop) -> Failure {
    Failure::Interrupted(None)
}

/// The replies ended without an end.
pub(super) fn unfinished() -> Failure {
    let message = "the answer of the service has no end";
    Refusal::new(codes::OTHER_VERSION, message, "lansync down --all").into()
}
