//! Announcing by mDNS, and hearing of others.
//!
//! The library cuts off a listener that is slow. So one task here takes everything at once and keeps what is
//! the case; listeners are told of differences, each instance's latest, whenever they ask.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use mdns_sd::{Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::addrs::in_order;
use super::announcement::Announcement;
use super::interfaces::{self, Interfaces};
use crate::id::{self, PeerId};
use crate::limits;

/// The thread of the library that speaks mDNS.
pub(super) type Responder = ServiceDaemon;

const SERVICE: &str = "_lansync._udp.local.";
/// mDNS says a goodbye twice, this far apart.
const SECOND_GOODBYE: Duration = Duration::from_millis(150);
/// Wait for an answer of the mDNS thread.
const ANSWER: Duration = Duration::from_millis(300);

/// Why there is no discovery.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// mDNS refused.
    #[error("mDNS: {0}")]
    Mdns(#[from] mdns_sd::Error),
    /// The operating system gives no random bytes.
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// Called outside of a Tokio runtime.
    #[error("discovery needs a Tokio runtime")]
    NoRuntime,
}

/// An instance that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name, random and new each time it starts.
    pub instance: String,
    /// What it says of itself.
    pub announcement: Announcement,
    /// Where it is, the likeliest first.
    pub addrs: Vec<SocketAddr>,
}

/// What has changed on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An instance is here, or says something else than before, or is at other addresses.
    Found(Found),
    /// An instance said goodbye, or was not heard for long. A hint: its connections may be well.
    Lost {
        /// The instance's name.
        instance: String,
    },
}

/// Changes for one listener, beginning with all that is here. A slow listener misses none: of each instance it
/// is told the latest.
#[derive(Debug)]
pub struct Changes(Arc<Listener>);

impl Changes {
    /// The next change; `None` once discovery has been shut down. Cancel-safe.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            let told = self.0.told.notified();
            {
                let mut pending = lock(&self.0.pending);
                if let Some((_, change)) = pending.changes.pop_first() {
                    return Some(change);
                }
                if pending.closed {
                    return None;
                }
            }
            told.await;
        }
    }
}

#[derive(Debug, Default)]
struct Listener {
    pending: Mutex<Pending>,
    told: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    changes: BTreeMap<String, Change>,
    closed: bool,
}

/// Announces nodes and hears of others. One for a process; it ends with [`Discovery::shutdown`] or when dropped,
/// without a goodbye then.
#[derive(Debug)]
pub struct Discovery {
    mdns: Mdns,
    shared: Arc<Mutex<Shared>>,
    stopped: Arc<AtomicBool>,
}

/// The library's handle, which cannot be printed.
#[derive(Clone)]
struct Mdns(ServiceDaemon);

impl std::fmt::Debug for Mdns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mdns")
    }
}

#[derive(Debug, Default)]
struct Shared {
    /// Others, by full name.
    here: BTreeMap<String, Found>,
    /// Own nodes' full names.
    own: BTreeMap<PeerId, String>,
    /// All own full names since the start: an own goodbye comes back too.
    ever_own: BTreeSet<String>,
    listeners: Vec<Weak<Listener>>,
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Discovery {
    /// Begins to listen on `interfaces`. Nothing is announced yet.
    ///
    /// # Errors
    /// [`DiscoveryError`] where mDNS cannot be started. No usable interface is no error: one may come.
    pub fn start(interfaces: &Interfaces) -> Result<Self, DiscoveryError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| DiscoveryError::NoRuntime)?;
        let mdns = ServiceDaemon::new()?;
        interfaces.apply(&mdns)?;
        let stopped = Arc::new(AtomicBool::new(false));
        interfaces::watch(mdns.clone(), stopped.clone())?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let heard = mdns.browse(SERVICE)?;
        runtime.spawn(listen(mdns.clone(), heard, shared.clone(), stopped.clone()));
        Ok(Self { mdns: Mdns(mdns), shared, stopped })
    }

    /// Announces the node of `node` at `port`, or announces it anew with something else to say.
    ///
    /// # Errors
    /// [`DiscoveryError`] where mDNS refuses.
    pub fn announce(&self, node: PeerId, announcement: &Announcement, port: u16) -> Result<(), DiscoveryError> {
        let mut shared = lock(&self.shared);
        let instance = match shared.own.get(&node).and_then(|name| name.strip_suffix(SERVICE)) {
            Some(instance) => instance.trim_end_matches('.').to_owned(),
            None => {
                let mut random = [0; 8];
                getrandom::fill(&mut random)?;
                id::hex(&random)
            }
        };
        // The host name is the instance's own, neither the machine's, which would name it to all, nor one for
        // several instances, whose addresses would go with the first goodbye.
        let host = format!("{instance}.local.");
        let mut info =
            ServiceInfo::new(SERVICE, &instance, &host, "", port, &announcement.to_txt()[..])?.enable_addr_auto();
        info.set_requires_probe(false);
        let name = info.get_fullname().to_owned();
        shared.ever_own.insert(name.clone());
        shared.own.insert(node, name);
        Ok(self.mdns.0.register(info)?)
    }

    /// Says goodbye for the node of `node`, if it is announced.
    pub fn withdraw(&self, node: &PeerId) {
        let Some(name) = lock(&self.shared).own.remove(node) else { return };
        if let Err(error) = self.mdns.0.unregister(&name) {
            tracing::debug!(%error, "no goodbye was said");
        }
    }

    /// Changes from now on, after all that is here now.
    pub fn changes(&self) -> Changes {
        let mut shared = lock(&self.shared);
        let found = |(name, found): (&String, &Found)| (name.clone(), Change::Found(found.clone()));
        let pending = Pending { changes: shared.here.iter().map(found).collect(), closed: shared.closed };
        let listener = Arc::new(Listener { pending: Mutex::new(pending), told: Notify::new() });
        shared.listeners.push(Arc::downgrade(&listener));
        Changes(listener)
    }

    /// Says goodbye for all nodes and ends. Takes less than a second.
    pub async fn shutdown(self) {
        let own: Vec<String> = std::mem::take(&mut lock(&self.shared).own).into_values().collect();
        let mut said = false;
        for name in &own {
            if let Ok(answer) = self.mdns.0.unregister(name) {
                said |= matches!(timeout(ANSWER, answer.recv_async()).await, Ok(Ok(_)));
            }
        }
        if said {
            sleep(SECOND_GOODBYE).await;
        }
        self.stopped.store(true, Ordering::Relaxed);
        if let Ok(answer) = self.mdns.0.shutdown() {
            let _ = timeout(ANSWER, answer.recv_async()).await;
        }
        lock(&self.shared).close();
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Ended already where it was shut down.
        let _ = self.mdns.0.shutdown();
    }
}

impl Shared {
    fn tell(&mut self, name: &str, change: &Change) {
        self.listeners.retain(|listener| {
            let Some(listener) = listener.upgrade() else { return false };
            lock(&listener.pending).changes.insert(name.to_owned(), change.clone());
            listener.told.notify_one();
            true
        });
    }

    fn close(&mut self) {
        self.closed = true;
        for listener in self.listeners.drain(..).filter_map(|listener| listener.upgrade()) {
            lock(&listener.pending).closed = true;
            listener.told.notify_one();
        }
    }

    fn resolved(&mut self, service: &ResolvedService) {
        let name = service.get_fullname();
        if self.ever_own.contains(name) || (self.here.len() >= limits::INSTANCES && !self.here.contains_key(name)) {
            return;
        }
        let Some(found) = found(service) else { return };
        if self.here.get(name) != Some(&found) {
            self.here.insert(name.to_owned(), found.clone());
            self.tell(name, &Change::Found(found));
        }
    }

    fn forget(&mut self) {
        let names: Vec<String> = self.here.keys().cloned().collect();
        names.iter().for_each(|name| self.removed(name));
    }

    fn removed(&mut self, name: &str) {
        if let Some(Found { instance, .. }) = self.here.remove(name) {
            self.tell(name, &Change::Lost { instance });
        }
    }
}

fn found(service: &ResolvedService) -> Option<Found> {
    let txt = service.get_properties().iter().filter_map(|property| Some((property.key(), property.val()?)));
    let announcement = Announcement::from_txt(txt)?;
    let instance = service.get_fullname().strip_suffix(SERVICE)?.trim_end_matches('.').to_owned();
    let mut heard: Vec<SocketAddr> =
        service.get_addresses().iter().filter_map(|ip| addr(ip, service.get_port())).collect();
    // A set has no order of its own; with one, equal sets are equal lists.
    heard.sort_unstable();
    let mut addrs = in_order(heard);
    addrs.truncate(limits::ADDRESSES);
    (!addrs.is_empty()).then_some(Found { instance, announcement, addrs })
}

/// An address that can be dialled: one that holds on a link only needs to say on which.
fn addr(ip: &ScopedIp, port: u16) -> Option<SocketAddr> {
    match ip {
        ScopedIp::V6(v6) if v6.addr().is_unicast_link_local() => {
            Some(SocketAddrV6::new(*v6.addr(), port, 0, v6.scope_id().index).into())
        }
        ScopedIp::V4(v4) => Some(SocketAddr::new(IpAddr::V4(*v4.addr()), port)),
        ScopedIp::V6(v6) => Some(SocketAddr::new(IpAddr::V6(*v6.addr()), port)),
        _ => None,
    }
}

/// Takes in what mDNS hears, and begins again where it was cut off.
async fn listen(
    mdns: ServiceDaemon,
    mut heard: Receiver<ServiceEvent>,
    shared: Arc<Mutex<Shared>>,
    stopped: Arc<AtomicBool>,
) {
    loop {
        while let Ok(event) = heard.recv_async().await {
            match event {
                ServiceEvent::ServiceResolved(service) => lock(&shared).resolved(&service),
                ServiceEvent::ServiceRemoved(_, name) => lock(&shared).removed(&name),
                _ => {}
            }
        }
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        sleep(ANSWER).await;
        // What went away in between was missed; who is still here is heard again at once.
        lock(&shared).forget();
        match mdns.browse(SERVICE) {
            Ok(again) => heard = again,
            Err(mdns_sd::Error::DaemonShutdown) => break,
            Err(error) => tracing::debug!(%error, "cannot listen yet"),
        }
    }
    lock(&shared).close();
}
