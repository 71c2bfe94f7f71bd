//! Which interfaces to announce on, and noticing at once when one comes or goes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use if_addrs::Interface;
use mdns_sd::{IfKind, IfPredicate};

use super::mdns::Responder;

/// Seconds between looks at all addresses while nothing happens: for what the system does not tell us.
const SLOW_LOOK: u32 = if cfg!(target_vendor = "apple") { 2 } else { 5 };
/// Seconds between looks after a cable was plugged or a network joined, while addresses are being handed out.
const FAST_LOOK: u32 = 1;
/// For how long to look fast.
const SETTLING: Duration = Duration::from_secs(20);
/// How often the watcher looks whether it is still wanted.
const WATCH_TURN: Duration = Duration::from_secs(10);

/// Interfaces of containers and virtual machines, by the start of their names: nobody is behind them who is not
/// on this machine, and the addresses on them mean nothing to others.
const INWARD: [&str; 14] = [
    "docker", "br-", "veth", "virbr", "vnet", "vmnet", "vboxnet", "lxc", "lxd", "cni", "flannel", "cali", "podman",
    "kube",
];

/// The interfaces to announce on and to listen on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Interfaces {
    /// All that may lead to others. Loopback only where there is nothing else.
    #[default]
    All,
    /// Those of these names, such as `eth0`, and `lo` too where it is named.
    Only(Vec<String>),
}

impl Interfaces {
    /// Tells mDNS which interfaces to use, now and whenever they change.
    pub(super) fn apply(&self, mdns: &Responder) -> Result<(), mdns_sd::Error> {
        match self {
            Self::All => mdns.disable_interface(IfKind::Predicate(IfPredicate::new(is_unwanted))),
            Self::Only(names) => {
                let names = names.clone();
                let other = move |interface: &Interface| !names.contains(&interface.name);
                mdns.disable_interface(IfKind::Predicate(IfPredicate::new(other)))
            }
        }
    }
}

fn is_unwanted(interface: &Interface) -> bool {
    is_inward(&interface.name) || interface.is_loopback() && leads_outward()
}

/// Does nothing but this machine lie behind the interface?
pub(super) fn is_inward(name: &str) -> bool {
    INWARD.iter().any(|start| name.starts_with(start))
}

/// Is there any interface by which others can be reached?
fn leads_outward() -> bool {
    let outward = |interface: &Interface| {
        interface.is_oper_up() && !interface.is_loopback() && !interface.is_p2p() && !is_inward(&interface.name)
    };
    if_addrs::get_if_addrs().is_ok_and(|interfaces| interfaces.iter().any(outward))
}

/// Keeps mDNS abreast of interfaces in a thread of its own until `stopped` is set, and a while longer.
pub(super) fn watch(mdns: Responder, stopped: Arc<AtomicBool>) -> Result<(), mdns_sd::Error> {
    mdns.set_ip_check_interval(SLOW_LOOK)?;
    let watching = std::thread::Builder::new().name("lansync-interfaces".to_owned());
    let turn = move || {
        if let Err(error) = follow(&mdns, &stopped) {
            tracing::warn!(%error, "interfaces are not watched, a change is seen after {SLOW_LOOK} seconds");
        }
    };
    if let Err(error) = watching.spawn(turn) {
        tracing::warn!(%error, "interfaces are not watched, a change is seen after {SLOW_LOOK} seconds");
    }
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "android", windows))]
fn follow(mdns: &Responder, stopped: &AtomicBool) -> io::Result<()> {
    let mut notifier = if_addrs::IfChangeNotifier::new()?;
    let mut settling: Option<Instant> = None;
    while !stopped.load(Ordering::Relaxed) {
        let changed = match notifier.wait(Some(WATCH_TURN)) {
            Ok(_) => true,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
            Err(error) => return Err(error),
        };
        let done = settling.is_some_and(|since| since.elapsed() > SETTLING);
        let told = if changed {
            settling = Some(Instant::now());
            // Choosing no further interfaces makes mDNS take in those that are new at once; those that are gone
            // it notices at its next look.
            mdns.enable_interface(Vec::<IfKind>::new()).and_then(|()| mdns.set_ip_check_interval(FAST_LOOK))
        } else if done {
            settling = None;
            mdns.set_ip_check_interval(SLOW_LOOK)
        } else {
            Ok(())
        };
        if let Err(error) = told {
            tracing::debug!(%error, "mDNS was not told of a change of interfaces");
        }
    }
    Ok(())
}

/// Elsewhere the system is asked every `SLOW_LOOK` seconds.
#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
fn follow(_mdns: &Responder, _stopped: &AtomicBool) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_of_containers_lead_nowhere() {
        for name in ["docker0", "br-12ab", "veth99", "virbr0"] {
            assert!(is_inward(name), "{name}");
        }
        for name in ["eth0", "wlan0", "en0", "enp3s0", "br0", "lo", "Ethernet"] {
            assert!(!is_inward(name), "{name}");
        }
    }
}
