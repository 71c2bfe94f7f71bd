//! Authenticated connections between peers: QUIC, TLS 1.3, raw public keys on both sides.
//!
//! One [`Endpoint`] per process carries the connections of all its nodes. A connection is known by the key of
//! the peer at its other end, which TLS has proven; whether that peer may do anything is decided above. What
//! travels is opaque here: frames on a stream ([`SendStream`], [`RecvStream`]), and long bodies such as packs
//! ([`BodyWriter`], [`BodyReader`]), which blocking code can write and read.
//!
//! A handshake shows who answers only to those who know a server name that one of our [`Doors`] opens to.

mod body;
mod conn;
mod endpoint;
mod frame;
mod gate;
mod stream;
mod tls;

#[cfg(test)]
mod tests;

pub use body::{BlockingReader, BlockingWriter, BodyError, BodyReader, BodyWriter};
pub use conn::{CloseCode, Closed, Connection, End, keep_dialled_by_lower};
pub use endpoint::{BindError, DialError, DialFailure, Endpoint};
pub use stream::{FrameError, RecvStream, SendStream};
pub use tls::Doors;

#[cfg(any(test, fuzzing))]
pub(crate) use {conn::shown, frame::Coming};
