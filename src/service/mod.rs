//! The process: one background service of one person on one machine, for all their repositories.

mod answer;
pub mod control;
pub mod home;
mod joining;
pub mod keyfile;
pub(crate) mod modes;
mod network;
mod open;
pub(crate) mod passphrase;
mod registry;
mod sealed;
mod sharing;
mod unfinished;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify};

use crate::api::Refusal;
use crate::discovery::Interfaces;
use crate::id::IdentityId;
use crate::keys::IdentityKey;
use crate::node::keyring::Keyring;
use control::{BindError, Server};
use home::{Home, HomeError};
use network::Network;
use registry::Registry;
use sharing::Shared;

/// The UDP port where no other is set (`lansync.port`).
pub const PORT: u16 = 7483;

/// What may be told to a service when it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// It was started by a command and has no terminal: it ends once it shares nothing any more.
    pub detached: bool,
}

/// Why a service could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Its control socket cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Its directories cannot be had.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The identity key cannot be had.
    #[error(transparent)]
    Key(#[from] keyfile::KeyFileError),
    /// There is no UDP port for it.
    #[error(transparent)]
    Port(#[from] crate::quic::BindError),
}

impl ServiceError {
    /// The refusal to show: code, message, hint.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Bind(error @ BindError::AlreadyRunning { .. }) => {
                Refusal::new(error.code(), error.to_string(), "lansync up")
            }
            Self::Bind(BindError::Home(error)) | Self::Home(error) => {
                Refusal::new(error.code(), error.to_string(), error.hint())
            }
            Self::Bind(error @ BindError::Io { .. }) => Refusal::plain(error.code(), error.to_string()),
            Self::Key(error) => open::key_refusal(error),
            Self::Port(error) => Refusal::new("port", error.to_string(), "git config --global lansync.port 7600"),
        }
    }
}

/// A running service.
struct Service {
    home: Home,
    identity: Arc<Keyring>,
    network: Arc<Network>,
    registry: Mutex<Registry>,
    /// By git common directory.
    shared: Mutex<BTreeMap<PathBuf, Shared>>,
    /// What was found when repositories were opened, until an `up` has told it; by git common directory.
    untold: Mutex<BTreeMap<PathBuf, Vec<String>>>,
    /// Held while a log is opened or made: the service itself and a command may want the same one at once.
    opening: Mutex<()>,
    /// End.
    end: Notify,
}

/// Runs the service of `home` until `down --all` is asked or `stop` is ready.
///
/// # Errors
/// [`ServiceError`] where it cannot begin.
pub async fn run(home: Home, options: Options, stop: impl Future<Output = ()>) -> Result<(), ServiceError> {
    home.create()?;
    let mut server = Server::bind(&home).await?;
    let identity = Arc::new(match keyfile::load_identity(&home.identity_key())? {
        keyfile::Kept::Open(secret) => Keyring::open(IdentityKey(secret)),
        sealed @ keyfile::Kept::Sealed(_) => Keyring::locked(IdentityId(sealed.public())),
    });
    let setting = |key: &str| crate::git::global_config(key);
    let port = setting("lansync.port").and_then(|port| port.parse().ok()).unwrap_or(PORT);
    let interfaces = match setting("lansync.interfaces") {
        Some(names) => Interfaces::Only(names.split([',', ' ']).filter(|n| !n.is_empty()).map(str::to_owned).collect()),
        None => Interfaces::All,
    };
    let network = Network::start(port, interfaces)?;
    let registry = Mutex::new(Registry::load(home.registry()));
    let service = Arc::new(Service {
        home,
        identity,
        network,
        registry,
        shared: Mutex::default(),
        untold: Mutex::default(),
        opening: Mutex::default(),
        end: Notify::new(),
    });
    tracing::info!(port = service.network.endpoint.local_port(), detached = options.detached, "the service is ready");
    let resuming = service.clone();
    tokio::spawn(async move { resuming.resume().await });
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            (envelope, session) = server.accept() => {
                let service = service.clone();
                tokio::spawn(async move { service.answer(envelope, session).await });
            }
            () = service.end.notified() => break,
            () = &mut stop => break,
        }
    }
    service.stop_all().await;
    // The last replies have been handed to the system; let it deliver them.
    let _ = tokio::time::timeout(Duration::from_secs(2), service.network.shutdown()).await;
    Ok(())
}
