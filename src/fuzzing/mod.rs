//! Everything that strangers send, as functions of any bytes that panic where something does not hold.
//!
//! The programs in `fuzz/` call them, and so do the tests, with every input kept in `fuzz/corpus/`: one function each
//! for both. Nothing of this is in a normal build.

mod bytes;
mod pairing;
mod script;
#[cfg(test)]
mod seeds;
mod sessions;
#[cfg(test)]
mod tests;

pub use bytes::{announcement, control, event, fetch, frame, hello, join, name, object, pack, payload, text, ticket};
pub use pairing::pairing;
pub use sessions::sessions;

/// What is called with one input.
pub type Target = fn(&[u8]);

/// All of them by name: each has a file in `fuzz/fuzz_targets/` and a directory in `fuzz/corpus/`.
pub const TARGETS: [(&str, Target); 15] = [
    ("announcement", announcement),
    ("control", control),
    ("event", event),
    ("fetch", fetch),
    ("frame", frame),
    ("hello", hello),
    ("join", join),
    ("name", name),
    ("object", object),
    ("pack", pack),
    ("pairing", pairing),
    ("payload", payload),
    ("sessions", sessions),
    ("text", text),
    ("ticket", ticket),
];
