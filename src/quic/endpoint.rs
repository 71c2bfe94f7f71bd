//! The process's one UDP socket: dialling, and letting in those who dial.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig,
    VarInt,
};
use rustls::pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::conn::{self, CloseCode, Closed, Connection, End};
use super::gate::{Gate, Guest, Verdict};
use super::tls::{self, Doors, Expectation};
use crate::id::PeerId;
use crate::keys::FeedKey;
use crate::limits;

/// Kernel buffers, best effort: with less, a burst at a gigabit overruns them while the process is elsewhere.
const SOCKET_BUFFER: usize = 4 << 20;
/// Data on the way on one stream: what 1 Gbit/s at 32 ms needs. Where the receiver is slower than the network it has so much in memory.
const STREAM_WINDOW: u32 = 4 << 20;
/// The first guess of a round trip, until it is measured. What is lost before is sent again after three of it.
const FIRST_RTT: Duration = Duration::from_millis(100);
/// How much earlier the best address is dialled than the rest: enough that on a local network one handshake is
/// made and not one for each address, too little to be felt where the best address is dead.
const HEAD_START: Duration = Duration::from_millis(10);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// Why no socket could be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Something else listens there; the next port may be free.
    #[error("UDP port {0} is in use")]
    InUse(u16),
    /// The operating system does not give us the socket.
    #[error("no UDP socket on port {port}: {source}")]
    Io {
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The cryptography could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// Called outside of a Tokio runtime.
    #[error("an endpoint needs a Tokio runtime")]
    NoRuntime,
}

/// Why a peer was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No address that could be dialled was given.
    #[error("no address to dial")]
    NoAddress,
    /// This side's own key or socket is of no use.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// None of the addresses worked.
    #[error("{}", told(.0))]
    Failed(Vec<(SocketAddr, DialFailure)>),
}

/// Why one address did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialFailure {
    /// Nothing came back within `limits::HANDSHAKE_TIMEOUT`.
    #[error("no answer")]
    NoAnswer,
    /// Another peer answers there.
    #[error("another peer ({}) answers there", .0.short())]
    WrongPeer(PeerId),
    /// A process answers that does not open to this server name.
    #[error("this project is not shared there")]
    NoSuchDoor,
    /// The address is not one that this machine can send to.
    #[error("this machine cannot send there")]
    NoRoute,
    /// The handshake ended early.
    #[error("{0}")]
    Closed(Closed),
}

impl DialError {
    /// What each address answered, where any was dialled.
    pub fn failures(&self) -> &[(SocketAddr, DialFailure)] {
        match self {
            Self::Failed(failures) => failures,
            Self::NoAddress | Self::Tls(_) => &[],
        }
    }
}

/// The failures in one line, silence last, since it says least.
fn told(failures: &[(SocketAddr, DialFailure)]) -> String {
    let mut ordered: Vec<_> = failures.iter().collect();
    ordered.sort_by_key(|(_, failure)| matches!(failure, DialFailure::NoAnswer | DialFailure::NoRoute));
    let told: Vec<String> = ordered.iter().map(|(addr, failure)| format!("{addr}: {failure}")).collect();
    told.join("; ")
}

/// One UDP socket for all nodes of a process. Cheap to clone; when the last clone is dropped nobody is let in
/// any more, and connections live on until they are closed.
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    quinn: quinn::Endpoint,
    port: u16,
    transport: Arc<TransportConfig>,
    accepted: Mutex<mpsc::Receiver<Connection>>,
}

impl Endpoint {
    /// Listens on `port` on all interfaces, with IPv6 and IPv4, or IPv4 alone where there is no IPv6. Port 0
    /// takes any that is free. `doors` says who is at home.
    ///
    /// # Errors
    /// [`BindError`] where there is no such socket; [`BindError::InUse`] where another port may do.
    pub fn bind(port: u16, doors: Arc<dyn Doors>) -> Result<Self, BindError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(BindError::NoRuntime);
        }
        let transport = Arc::new(transport());
        let mut server = ServerConfig::with_crypto(Arc::new(tls::accepting(doors)?));
        server.transport_config(transport.clone());
        server.max_incoming(256).incoming_buffer_size(64 * 1024).incoming_buffer_size_total(4 << 20);
        let mut config = EndpointConfig::default();
        // The fixed bit stays set, so that other packets on this port can be told apart by it.
        config.grease_quic_bit(false);
        config.cid_generator(|| Box::new(ShortIds::default()));
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(port),
            _ => BindError::Io { port, source },
        };
        let socket = socket(port).map_err(failed)?;
        let quinn =
            quinn::Endpoint::new(config, Some(server), socket, Arc::new(quinn::TokioRuntime)).map_err(failed)?;
        let port = quinn.local_addr().map_err(failed)?.port();
        let (sender, receiver) = mpsc::channel(limits::ACCEPT_QUEUE);
        tokio::spawn(let_in(quinn.clone(), sender));
        Ok(Self(Arc::new(Inner { quinn, port, transport, accepted: Mutex::new(receiver) })))
    }

    /// The UDP port.
    pub fn local_port(&self) -> u16 {
        self.0.port
    }

    /// Dials all `addrs` at once, the first a moment earlier, and takes what answers first. With `expected`
    /// only that peer will do; without, any peer, which [`Connection::peer`] then names.
    ///
    /// A peer that refuses us may do so only after this has returned: a connection counts once the peer has
    /// answered on a stream.
    ///
    /// # Errors
    /// [`DialError`] with what each address answered, after at most `limits::HANDSHAKE_TIMEOUT` and a moment.
    pub async fn dial(
        &self,
        key: &FeedKey,
        expected: Option<PeerId>,
        server_name: &str,
        addrs: &[SocketAddr],
    ) -> Result<Connection, DialError> {
        let mut seen = BTreeSet::new();
        let usable = |addr: &SocketAddr| addr.port() != 0 && !addr.ip().is_unspecified() && !addr.ip().is_multicast();
        let candidates = addrs.iter().map(|addr| conn::plain(*addr)).filter(|addr| usable(addr) && seen.insert(*addr));
        let mut dials = JoinSet::new();
        for (at, addr) in candidates.take(limits::ADDRESSES).enumerate() {
            let expectation = Arc::new(Expectation::new(expected));
            let mut config = ClientConfig::new(Arc::new(tls::dialling(key, expectation.clone())?));
            config.transport_config(self.0.transport.clone());
            let dial = Dial { config, addr, server_name: server_name.to_owned(), expectation };
            let quinn = self.0.quinn.clone();
            dials.spawn(async move {
                if at > 0 {
                    sleep(HEAD_START).await;
                }
                dial.run(&quinn).await.map_err(|failure| (addr, failure))
            });
        }
        let mut failures = Vec::new();
        while let Some(dialled) = dials.join_next().await {
            match dialled {
                // The others are dropped with the set, and their handshakes with them.
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(failure)) => failures.push(failure),
                Err(error) => tracing::error!(%error, "a dial ended abnormally"),
            }
        }
        if failures.is_empty() { Err(DialError::NoAddress) } else { Err(DialError::Failed(failures)) }
    }

    /// The next peer that has dialled us and proven its key; `None` once the endpoint is closed. Handshakes go
    /// on beside this, so a slow one holds up nobody.
    pub async fn accept(&self) -> Option<Connection> {
        self.0.accepted.lock().await.recv().await
    }

    /// Says goodbye on all connections and lets nobody in any more. Takes at most half a second.
    pub async fn close(&self) {
        self.0.quinn.close(CloseCode::Bye.number(), b"not shared any more");
        // Who has not acknowledged by now is gone, or will see it when nothing comes any more.
        let _ = timeout(GOODBYE, self.0.quinn.wait_idle()).await;
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint(port {})", self.0.port)
    }
}

/// Makes the ids of connections, which stand in every packet that comes here. A process has some thousands of them at most, and
/// takes none that it has already, so the usual eight bytes would only be sent.
#[derive(Default)]
struct ShortIds {
    made: u32,
}

impl ConnectionIdGenerator for ShortIds {
    fn generate_cid(&mut self) -> ConnectionId {
        self.made = self.made.wrapping_add(1);
        let mut id = [0; 4];
        if getrandom::fill(&mut id).is_err() {
            // No secret is in it; it only has to be another each time.
            id = self.made.to_le_bytes();
        }
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        4
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn transport() -> TransportConfig {
    let idle = IdleTimeout::try_from(limits::IDLE_TIMEOUT).expect("a few seconds fit");
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(limits::STRANGER_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .receive_window(VarInt::from_u32(limits::STRANGER_WINDOW))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(u64::from(STREAM_WINDOW))
        .initial_rtt(FIRST_RTT)
        .keep_alive_interval(Some(limits::KEEP_ALIVE))
        .max_idle_timeout(Some(idle));
    transport
}

fn socket(port: u16) -> io::Result<std::net::UdpSocket> {
    let six = || {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_only_v6(false)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
        Ok(socket)
    };
    let four = || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
        Ok(socket)
    };
    let socket = six().or_else(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => Err(error),
        _ => four(),
    })?;
    // A kernel that gives less than was asked for costs throughput and nothing else.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// One address of one dial.
struct Dial {
    config: ClientConfig,
    addr: SocketAddr,
    server_name: String,
    expectation: Arc<Expectation>,
}

impl Dial {
    async fn run(self, quinn: &quinn::Endpoint) -> Result<Connection, DialFailure> {
        let connecting = quinn.connect_with(self.config, self.addr, &self.server_name).map_err(|error| {
            tracing::debug!(addr = %self.addr, %error, "not dialled");
            DialFailure::NoRoute
        })?;
        let connection = match timeout(limits::HANDSHAKE_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                return Err(self.expectation.wrong().map_or_else(|| failure(error), DialFailure::WrongPeer));
            }
            Err(_) => return Err(DialFailure::NoAnswer),
        };
        let peer = peer(&connection).ok_or(DialFailure::NoAnswer)?;
        Ok(Connection::dialled_to(connection, peer))
    }
}

fn failure(error: quinn::ConnectionError) -> DialFailure {
    // What rustls says where no key answers to a server name.
    const ACCESS_DENIED: u64 = 0x100 + 49;
    if let quinn::ConnectionError::ConnectionClosed(close) = &error
        && u64::from(close.error_code) == ACCESS_DENIED
    {
        return DialFailure::NoSuchDoor;
    }
    let closed = Closed::of(error);
    if closed.end == End::Idle { DialFailure::NoAnswer } else { DialFailure::Closed(closed) }
}

/// Whom the handshake has proven to be at the other end.
fn peer(connection: &quinn::Connection) -> Option<PeerId> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let (certificate, others) = identity.split_first()?;
    tls::peer_of(certificate, others).ok()
}

/// Lets in those who dial, each handshake in a task of its own, until nobody wants them any more.
async fn let_in(quinn: quinn::Endpoint, accepted: mpsc::Sender<Connection>) {
    let gate = Gate::default();
    let strangers = Arc::new(Semaphore::new(limits::STRANGERS));
    loop {
        let incoming = tokio::select! {
            incoming = quinn.accept() => incoming,
            () = accepted.closed() => return,
        };
        let Some(incoming) = incoming else { return };
        let addr = conn::plain(incoming.remote_address());
        match gate.knock(addr, incoming.remote_address_validated()) {
            Verdict::Enter(guest) => {
                let (strangers, accepted) = (strangers.clone(), accepted.clone());
                tokio::spawn(greet(incoming, addr, guest, strangers, accepted));
            }
            Verdict::Retry => {
                if let Err(error) = incoming.retry() {
                    error.into_incoming().ignore();
                }
            }
            Verdict::Ignore => {
                tracing::debug!(%addr, "too many handshakes at once, not heard");
                incoming.ignore();
            }
        }
    }
}

/// One handshake with one who dials us.
async fn greet(
    incoming: quinn::Incoming,
    addr: SocketAddr,
    guest: Guest,
    strangers: Arc<Semaphore>,
    accepted: mpsc::Sender<Connection>,
) {
    let Ok(place) = strangers.try_acquire_owned() else {
        tracing::debug!(%addr, "too many strangers at once, refused");
        return incoming.refuse();
    };
    match timeout(limits::HANDSHAKE_TIMEOUT, incoming).await {
        Ok(Ok(connection)) => {
            drop(guest);
            hand_over(connection, addr, place, &accepted);
        }
        Ok(Err(error)) => tracing::debug!(%addr, %error, "handshake refused"),
        Err(_) => tracing::debug!(%addr, "handshake not done in time"),
    }
}

fn hand_over(
    connection: quinn::Connection,
    addr: SocketAddr,
    place: OwnedSemaphorePermit,
    accepted: &mpsc::Sender<Connection>,
) {
    let Some(peer) = peer(&connection) else {
        tracing::debug!(%addr, "no key in a handshake");
        return connection.close(CloseCode::Protocol.number(), b"no key");
    };
    let data =
        connection.handshake_data().and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok());
    let server_name = data.and_then(|data| data.server_name);
    let connection = Connection::accepted(connection, peer, server_name, place);
    if let Err(mpsc::error::TrySendError::Full(connection)) = accepted.try_send(connection) {
        tracing::debug!(%addr, "nobody takes connections, refused");
        connection.close(CloseCode::Busy, "busy");
    }
}
