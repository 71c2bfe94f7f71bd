//! One connection to one peer, and how it ends.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use quinn::VarInt;
use tokio::sync::OwnedSemaphorePermit;

use super::stream::{RecvStream, SendStream};
use crate::id::{self, PeerId};
use crate::limits::{STREAMS, WINDOW};

/// Longest reason given for a close, in bytes: it has to fit in one packet.
const REASON_BYTES: usize = 200;

/// Why one side ends a connection. The numbers travel and never change (docs/format.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseCode {
    /// Nothing is wrong: this side stops.
    Bye = 0,
    /// The peer is no member of the project, or not any more.
    NotAMember = 1,
    /// The peer does not keep to the protocol.
    Protocol = 2,
    /// A frame or a body is larger than this side takes.
    TooLarge = 3,
    /// There is another connection to the same peer, which is used instead.
    Duplicate = 4,
    /// This side has as many connections as it can bear; later is fine.
    Busy = 5,
    /// The two sides have no version of the protocol in common.
    Version = 6,
    /// What had to come did not come in time.
    TooLate = 7,
    /// A request to join was turned down.
    Declined = 8,
    /// This side has a fault of its own.
    Internal = 9,
}

impl CloseCode {
    pub(super) fn number(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    pub(super) fn of(number: VarInt) -> Option<Self> {
        Some(match number.into_inner() {
            0 => Self::Bye,
            1 => Self::NotAMember,
            2 => Self::Protocol,
            3 => Self::TooLarge,
            4 => Self::Duplicate,
            5 => Self::Busy,
            6 => Self::Version,
            7 => Self::TooLate,
            8 => Self::Declined,
            9 => Self::Internal,
            _ => return None,
        })
    }
}

/// The way in which a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// One side closed it, on purpose.
    Closed,
    /// Nothing was heard for `limits::IDLE_TIMEOUT`: a cut network, a peer that was killed or sleeps.
    Idle,
    /// The peer does not know the connection any more: it was started afresh.
    Reset,
    /// The handshake or the transport failed.
    Broken,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Closed {
    /// The way.
    pub end: End,
    /// Did the peer end it?
    pub by_peer: bool,
    /// The code that the side gave that closed it, where this version knows it.
    pub code: Option<CloseCode>,
    /// The reason in words, fit to be shown: what a peer wrote is without control characters.
    pub why: String,
}

impl Closed {
    pub(super) fn of(error: quinn::ConnectionError) -> Self {
        use quinn::ConnectionError as Error;
        let (end, by_peer, code, why) = match error {
            Error::ApplicationClosed(close) => {
                let code = CloseCode::of(close.error_code);
                let reason = shown(&close.reason);
                let why = match (reason.is_empty(), code) {
                    (false, _) => reason,
                    (true, Some(code)) => format!("closed by the other side: {code:?}"),
                    (true, None) => format!("closed by the other side with code {}", close.error_code),
                };
                (End::Closed, true, code, why)
            }
            Error::LocallyClosed => (End::Closed, false, None, "closed on this side".to_owned()),
            Error::TimedOut => (End::Idle, false, None, "nothing was heard any more".to_owned()),
            Error::Reset => (End::Reset, true, None, "the other side was started afresh".to_owned()),
            Error::ConnectionClosed(close) => {
                let reason = shown(&close.reason);
                (End::Broken, true, None, format!("refused by the other side: {} {reason}", close.error_code))
            }
            Error::TransportError(error) => (End::Broken, false, None, error.to_string()),
            Error::VersionMismatch | Error::CidsExhausted => (End::Broken, false, None, error.to_string()),
        };
        Self { end, by_peer, code, why }
    }
}

/// A peer's words as they may be shown: no control or direction characters, no more than a line.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|c| !c.is_control() && !id::is_bidi_override(*c)).take(REASON_BYTES).collect()
}

/// Of two connections between the same two peers, which dialled each other at once, is this the one to keep?
///
/// Both sides keep the one that the peer with the lower key dialled, so they agree without a word.
pub fn keep_dialled_by_lower(me: &PeerId, peer: &PeerId, dialled: bool) -> bool {
    (me < peer) == dialled
}

/// An authenticated connection. Cheap to clone; it is closed when the last clone and stream are dropped.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    quinn: quinn::Connection,
    peer: PeerId,
    server_name: Option<String>,
    dialled: bool,
    /// A stranger's place, given back when it is admitted or leaves.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    closed_here: OnceLock<(CloseCode, String)>,
}

impl Connection {
    pub(super) fn dialled_to(quinn: quinn::Connection, peer: PeerId) -> Self {
        Self::new(quinn, peer, None, true, None)
    }

    pub(super) fn accepted(
        quinn: quinn::Connection,
        peer: PeerId,
        server_name: Option<String>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self::new(quinn, peer, server_name, false, Some(place))
    }

    fn new(
        quinn: quinn::Connection,
        peer: PeerId,
        server_name: Option<String>,
        dialled: bool,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let (place, closed_here) = (Mutex::new(place), OnceLock::new());
        Self(Arc::new(Inner { quinn, peer, server_name, dialled, place, closed_here }))
    }

    /// The peer at the other end. TLS has proven that it holds this key, and nothing more.
    pub fn peer(&self) -> PeerId {
        self.0.peer
    }

    /// The server name that the dialler gave; `None` on the dialling side.
    pub fn server_name(&self) -> Option<&str> {
        self.0.server_name.as_deref()
    }

    /// Was it dialled by this side?
    pub fn dialled(&self) -> bool {
        self.0.dialled
    }

    /// Where the peer is now; it may move.
    pub fn remote_addr(&self) -> SocketAddr {
        plain(self.0.quinn.remote_address())
    }

    /// The best estimate of a round trip.
    pub fn rtt(&self) -> Duration {
        self.0.quinn.rtt()
    }

    /// A number for this connection that no other open one in the process has.
    pub fn stable_id(&self) -> usize {
        self.0.quinn.stable_id()
    }

    /// 32 bytes that only the two ends of this very connection can know (RFC 5705), for binding what is signed
    /// or compared to it. Both ends get the same for the same `label` and `context`.
    pub fn exporter(&self, label: &[u8], context: &[u8]) -> [u8; 32] {
        let mut secret = [0; 32];
        let exported = self.0.quinn.export_keying_material(&mut secret, label, context);
        exported.expect("32 bytes are never too many for one hash block to give");
        secret
    }

    /// Lets the peer have more than a stranger: more streams, and more data on their way.
    pub fn admit(&self) {
        self.0.quinn.set_max_concurrent_bi_streams(VarInt::from_u32(STREAMS));
        self.0.quinn.set_receive_window(VarInt::from_u32(WINDOW));
        self.0.place.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Opens a stream. The peer hears of it with the first byte that is sent.
    ///
    /// # Errors
    /// [`Closed`] where the connection is gone.
    pub async fn open_bi(&self) -> Result<(SendStream, RecvStream), Closed> {
        let (send, recv) = self.0.quinn.open_bi().await.map_err(|error| self.ended(error))?;
        Ok((SendStream::new(send), RecvStream::new(recv)))
    }

    /// The next stream that the peer opens.
    ///
    /// # Errors
    /// [`Closed`] where the connection is gone.
    pub async fn accept_bi(&self) -> Result<(SendStream, RecvStream), Closed> {
        let (send, recv) = self.0.quinn.accept_bi().await.map_err(|error| self.ended(error))?;
        Ok((SendStream::new(send), RecvStream::new(recv)))
    }

    /// Closes the connection at once; data that the peer has not acknowledged may be lost. Only the first close
    /// counts. The reason is for people and is cut to 200 bytes.
    pub fn close(&self, code: CloseCode, reason: &str) {
        let end = (0..=reason.len().min(REASON_BYTES)).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
        let reason = &reason[..end];
        if self.0.quinn.close_reason().is_none() {
            let _ = self.0.closed_here.set((code, reason.to_owned()));
        }
        self.0.quinn.close(code.number(), reason.as_bytes());
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) -> Closed {
        let error = self.0.quinn.closed().await;
        self.ended(error)
    }

    /// How it ended, if it has.
    pub fn close_reason(&self) -> Option<Closed> {
        self.0.quinn.close_reason().map(|error| self.ended(error))
    }

    fn ended(&self, error: quinn::ConnectionError) -> Closed {
        let closed = Closed::of(error);
        match self.0.closed_here.get() {
            Some((code, why)) if !closed.by_peer && closed.end == End::Closed => {
                Closed { code: Some(*code), why: why.clone(), ..closed }
            }
            Some(_) | None => closed,
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.0.dialled { "to" } else { "from" };
        write!(f, "Connection({way} {} at {})", self.0.peer.short(), self.remote_addr())
    }
}

/// The address without the IPv6 form that a dual-stack socket gives IPv4 addresses.
pub(super) fn plain(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::V4(SocketAddrV4::new(v4, v6.port())),
            None => addr,
        },
        SocketAddr::V4(_) => addr,
    }
}

/// What one machine can be told by: its IPv4 address, or the /64 that it can pick IPv6 addresses from.
pub(super) fn origin(addr: SocketAddr) -> IpAddr {
    match plain(addr).ip() {
        IpAddr::V6(ip) if !ip.is_unicast_link_local() && !ip.is_loopback() => {
            IpAddr::V6((u128::from(ip) & !u128::from(u64::MAX)).into())
        }
        ip => ip,
    }
}
