//! Who is on this network, and at which addresses.
//!
//! Nodes announce themselves by mDNS/DNS-SD under `_lansync._udp.local`. What an announcement says to strangers
//! and what only members can read in it is in `announcement`, the names by which a dialler finds the right node
//! behind an address in `names`, addresses in `addrs`. An announcement that goes away is a hint and no more:
//! whether a peer can be reached is known from its connection.

mod addrs;
mod announcement;
mod interfaces;
mod lookup;
mod mdns;
mod names;

pub use addrs::{BadPlace, DEFAULT_PORT, Host, Place, in_order};
pub use announcement::{Announcement, JoinCode, Joining, RootsTag};
pub use interfaces::Interfaces;
pub use lookup::{local_addrs, look_up};
pub use mdns::{Change, Changes, Discovery, DiscoveryError, Found};
pub use names::{ANY_PEER, is_member_name, join_name, member_name, parse_join_name};
