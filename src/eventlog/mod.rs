//! What a well-formed event, feed and frontier are: form, never meaning. What the events *mean* is `approval`.
//!
//! Everything here is pure but `store`, the driver that keeps the log in redb.

mod checkpoint;
pub mod compact;
mod event;
mod frontier;
mod gather;
#[cfg(test)]
mod golden;
mod intake;
mod kind;
mod payload;
mod people;
mod rights;
pub mod rows;
pub mod store;
mod work;

pub use checkpoint::{Checkpoint, Reached};
pub use event::{Body, Draft, Event, Malformed};
pub(crate) use frontier::short;
pub use frontier::{Frontier, FrontierEntry, Head, Lacking, Located};
pub use gather::Gather;
pub use intake::{Intake, Ration};
pub use kind::{Area, Kind};
pub use payload::{Extensions, Payload};
pub use people::{Certify, Genesis, Grant, Invite, Policy, Role};
pub use rights::{Ack, Link, Revoke, SetPolicy, Target, Vote};
pub use work::{Approve, Land, LandingContent, Propose, Reject, Tag, Withdraw};

/// A durable event with the strand it is held on.
pub type OnStrand = (u32, Durable<std::sync::Arc<Event>>);

/// Something that is fsynced. Only the store makes one, and only these are sent to others: *durable before
/// anyone hears of it* is a type.
#[derive(Debug, Clone)]
pub struct Durable<T>(T);

impl<T> Durable<T> {
    pub(in crate::eventlog) fn new(value: T) -> Self {
        Self(value)
    }

    /// For tests of what comes after the store.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn pretended(value: T) -> Self {
        Self(value)
    }

    /// What is durable.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// Takes it out.
    pub fn into_inner(self) -> T {
        self.0
    }
}
