//! What to send, ask and forward, per neighbour: a pure machine. Also the messages, and how strangers join.
//!
//! [`Sync`] is driven by inputs and drained of outputs: *one input, then all outputs, then the next input*.
//! It never sends what a neighbour's frontier shows it has, and only what is durable here.

mod clock;
mod fetch;
mod hearing;
mod media;
mod mesh;
mod message;
mod pairing;
mod pieces;
mod serving;
mod session;
mod ticket;

pub use clock::{Clocks, Verdict, ask_again_at};
pub use fetch::{Fetch, Fetches, takes_long};
pub use hearing::Hearing;
pub use media::{MEDIA, MediaFetch, MediaFetches, MediaReply, MediaRequest};
pub use mesh::Mesh;
pub(crate) use message::join_proof;
pub use message::{
    FetchReply, FetchRequest, Hello, JoinMessage, JoinRefusal, Message, MessageError, PackPortion, PackPrefix, VERSION,
};
pub use pairing::{Asker, AskerStep, Greeter, GreeterStep, PairingError, Words};
pub use pieces::{AskPiece, Given, PieceReply, PieceRequest, PieceSet, Taking};
pub use serving::{Plan, Serving};
pub use session::{Input, Output, Sync};
pub use ticket::{Ticket, TicketError};

#[cfg(test)]
mod tests;
