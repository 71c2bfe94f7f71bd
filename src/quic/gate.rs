//! How many strangers may be at the gate at once.
//!
//! A handshake costs this side two signatures and some memory, and anybody can begin one. Few are served at
//! once; beyond that a dialler has to show that it is where it says (a Retry), and beyond that it is not heard.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use super::conn::origin;
use crate::limits::{GATE as MOST, GATE_FREE as FREE, GATE_OF_ONE as PER_ORIGIN};

/// What to do with one who knocks.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Begin the handshake; the guest is counted until it is dropped.
    Enter(Guest),
    /// Ask it to prove its address first.
    Retry,
    /// Say nothing.
    Ignore,
}

/// Handshakes under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_origin: BTreeMap<IpAddr, usize>,
}

impl Gate {
    /// Judges a knock from `addr`, which is `proven` where it answered a Retry.
    pub(super) fn knock(&self, addr: SocketAddr, proven: bool) -> Verdict {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = origin(addr);
        let from_there = counts.by_origin.get(&origin).copied().unwrap_or(0);
        if counts.all >= MOST || from_there >= PER_ORIGIN {
            return Verdict::Ignore;
        }
        if counts.all >= FREE && !proven {
            return Verdict::Retry;
        }
        counts.all += 1;
        counts.by_origin.insert(origin, from_there + 1);
        Verdict::Enter(Guest { gate: self.clone(), origin })
    }
}

/// One handshake under way.
#[derive(Debug)]
pub(super) struct Guest {
    gate: Gate,
    origin: IpAddr,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.gate.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        if let Some(from_there) = counts.by_origin.get_mut(&self.origin) {
            *from_there = from_there.saturating_sub(1);
            if *from_there == 0 {
                counts.by_origin.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], port))
    }

    #[test]
    fn few_are_served_then_they_prove_themselves_then_none_is_heard() {
        let gate = Gate::default();
        let mut guests = Vec::new();
        let enter = |host, proven| match gate.knock(addr(host, 1), proven) {
            Verdict::Enter(guest) => guest,
            other => panic!("{other:?}"),
        };
        for host in 0..16 {
            guests.push(enter(host, false));
        }
        assert!(matches!(gate.knock(addr(16, 1), false), Verdict::Retry));
        for host in 16..64 {
            guests.push(enter(host, true));
        }
        assert!(matches!(gate.knock(addr(64, 1), true), Verdict::Ignore));
        guests.truncate(15);
        assert!(matches!(gate.knock(addr(64, 1), false), Verdict::Enter(_)));
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let gate = Gate::default();
        let guests: Vec<Verdict> = (0..16).map(|port| gate.knock(addr(1, port), true)).collect();
        assert!(guests.iter().all(|verdict| matches!(verdict, Verdict::Enter(_))));
        assert!(matches!(gate.knock(addr(1, 99), true), Verdict::Ignore));
        assert!(matches!(gate.knock(addr(2, 99), true), Verdict::Enter(_)));
        drop(guests);
        assert!(gate.0.lock().unwrap().by_origin.is_empty());
    }

    #[test]
    fn ipv6_addresses_of_one_network_are_one_origin() {
        let of = |text: &str| origin(text.parse().unwrap());
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::2]:1"));
        assert_ne!(of("[fe80::1]:1"), of("[fe80::2]:1"));
        assert_eq!(of("[::ffff:10.0.0.1]:1"), of("10.0.0.1:2"));
    }
}
