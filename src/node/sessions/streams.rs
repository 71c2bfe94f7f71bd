//! The control stream of a session, each direction in a task of its own.

use tokio::sync::mpsc;

use super::ENOUGH;
use crate::eventlog::Event;
use crate::id::PeerId;
use crate::keys::Verifier;
use crate::limits;
use crate::node::run::Wake;
use crate::quic::{CloseCode, Connection, FrameError, RecvStream, SendStream};
use crate::sync::Message;

/// A frame for a neighbour; is it to be told when it has left?
pub(in crate::node) type Outgoing = (Vec<u8>, bool);

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node) struct SessionEnd {
    pub(in crate::node) why: String,
    /// It said goodbye, or another connection took over.
    pub(super) orderly: bool,
    /// It says that we are no member.
    pub(in crate::node) turned_away: bool,
    /// It has enough neighbours without us: it is there, so nobody need be told.
    pub(super) let_go: bool,
}

impl SessionEnd {
    fn new(why: String, orderly: bool) -> Self {
        Self { why, orderly, turned_away: false, let_go: false }
    }
}

pub(in crate::node) async fn write_session(
    wake: mpsc::Sender<Wake>,
    peer: PeerId,
    session: u64,
    mut send: SendStream,
    mut outbox: mpsc::Receiver<Outgoing>,
) {
    while let Some((bytes, flush)) = outbox.recv().await {
        if send.write_frame(&bytes).await.is_err() {
            // The reader notices the end and says why.
            return;
        }
        if flush {
            let _ = wake.send(Wake::Flushed { peer, session }).await;
        }
    }
}

pub(in crate::node) async fn read_session(
    wake: mpsc::Sender<Wake>,
    peer: PeerId,
    session: u64,
    connection: Connection,
    recv: RecvStream,
) {
    let (mut recv, mut verifier) = (recv, Verifier::default());
    let end = loop {
        let bytes = match recv.read_frame(limits::FRAME_BYTES).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break SessionEnd::new("its control stream ended".to_owned(), true),
            Err(error) => {
                if let Some(closed) = connection.close_reason() {
                    let turned_away = closed.by_peer && closed.code == Some(CloseCode::NotAMember);
                    let let_go = closed.by_peer && closed.code == Some(CloseCode::Busy) && closed.why == ENOUGH;
                    let orderly = closed.code == Some(CloseCode::Bye);
                    break SessionEnd { orderly, why: closed.why, turned_away, let_go };
                }
                let code = match error {
                    FrameError::TooLarge { .. } => CloseCode::TooLarge,
                    _ => CloseCode::Protocol,
                };
                connection.close(code, &error.to_string());
                break SessionEnd::new(error.to_string(), false);
            }
        };
        let message = match Message::decode(&bytes) {
            Ok(message) => message,
            Err(error) => {
                connection.close(CloseCode::Protocol, &error.to_string());
                break SessionEnd::new(error.to_string(), false);
            }
        };
        let said = match message {
            Message::Events(events) => {
                // Signatures are checked here, beside the loop, in the order in which events came.
                let mut by = std::mem::take(&mut verifier);
                let check = move || {
                    let mut checked = Vec::with_capacity(events.len());
                    for bytes in &events {
                        match Event::decode_by(bytes, &mut by) {
                            Ok(event) => checked.push(event),
                            Err(malformed) => return (checked, Some(malformed), by),
                        }
                    }
                    (checked, None, by)
                };
                let Ok((events, malformed, by)) = tokio::task::spawn_blocking(check).await else { return };
                verifier = by;
                Wake::Sent { peer, session, events, malformed }
            }
            message => Wake::Said { peer, session, message },
        };
        if wake.send(said).await.is_err() {
            return;
        }
    };
    let _ = wake.send(Wake::Ended { peer, session, end }).await;
}
