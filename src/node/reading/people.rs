//! Members, peers, who I am, and what `doctor` finds in one repository.

use std::path::PathBuf;

use crate::api::{Check, Doctor, Machine, Me, Member, MemberPeer, Peer, ProjectName, Whoami};
use crate::id::{IdentityId, MemberId, PeerId};
use crate::node::clock::rfc3339;
use crate::node::settings::clip;
use crate::node::snapshot::Snapshot;

impl Snapshot {
    pub(super) fn project_name(&self) -> ProjectName {
        let name = self.state.genesis().map_or_else(String::new, |(_, genesis)| clip(&genesis.name));
        ProjectName { id: self.state.project().to_string(), name }
    }

    pub(super) fn my_member(&self) -> Option<crate::id::MemberId> {
        let by_feed = || self.state.member_of_feed(&self.me);
        self.identity.and_then(|identity| self.state.member_of_identity(&identity)).or_else(by_feed)
    }

    pub(super) fn me(&self) -> Me {
        let member = self.my_member().and_then(|member| self.state.member(&member));
        Me {
            peer: self.me.to_string(),
            role: member.as_ref().and_then(|member| member.role).map_or("none", crate::eventlog::Role::name).to_owned(),
            member: member.map_or_else(|| self.handle.clone(), |member| member.handle),
        }
    }

    fn seen(&self, peer: &PeerId) -> Option<String> {
        self.last_seen.get(peer).map(|at| rfc3339(*at))
    }

    pub(super) fn members(&self) -> Vec<Member> {
        let me = self.my_member();
        let mut members = self.state.everybody();
        members.sort_by_key(|member| member.since);
        let mut all: Vec<Member> = members
            .into_iter()
            .map(|member| Member {
                peers: member
                    .peers
                    .iter()
                    .map(|peer| MemberPeer {
                        peer: peer.to_string(),
                        connected: self.sessions.contains_key(peer) || (self.running && *peer == self.me),
                        last_seen: self.seen(peer),
                    })
                    .collect(),
                name: if member.name.is_empty() { member.handle.clone() } else { clip(&member.name) },
                role: member.role.map(|role| role.name().to_owned()),
                state: if member.role.is_some() { "active" } else { "revoked" }.to_owned(),
                words: None,
                machines: self.machines(&member.id),
                me: Some(member.id) == me,
                member: member.handle,
            })
            .collect();
        all.extend(self.asking());
        all
    }

    fn machines(&self, member: &MemberId) -> Vec<Machine> {
        let clones = |identity: &IdentityId| {
            self.state.feeds().filter(|feed| self.state.identity_of_feed(feed).as_ref() == Some(identity)).count()
                as u64
        };
        let machine = |(identity, name): (IdentityId, String)| Machine {
            identity: identity.to_string(),
            name: clip(&name),
            this: self.identity == Some(identity),
            clones: clones(&identity),
        };
        self.state.machines(member).into_iter().map(machine).collect()
    }

    pub(super) fn asking(&self) -> Vec<Member> {
        let asking = |ask: &crate::node::snapshot::AskInfo| Member {
            member: ask.handle.clone(),
            name: if ask.name.is_empty() { ask.handle.clone() } else { ask.name.clone() },
            role: None,
            state: "asking".to_owned(),
            words: None,
            peers: Vec::new(),
            machines: Vec::new(),
            me: false,
        };
        self.asks.iter().map(asking).collect()
    }

    /// Every other clone of every member, those with a session first.
    pub(super) fn peers(&self) -> Vec<Peer> {
        if self.at.is_some() {
            // Nobody noted who was here then.
            return Vec::new();
        }
        let mut peers: Vec<PeerId> = self.state.feeds().filter(|feed| **feed != self.me).copied().collect();
        peers.extend(self.sessions.keys().filter(|peer| self.state.member_of_feed(peer).is_none()));
        let mut all: Vec<Peer> = peers.iter().map(|peer| self.peer(peer)).collect();
        all.sort_by(|a, b| (!a.connected, &a.member, &a.peer).cmp(&(!b.connected, &b.member, &b.peer)));
        all
    }

    fn peer(&self, peer: &PeerId) -> Peer {
        let session = self.sessions.get(peer);
        let member = self
            .state
            .member_of_feed(peer)
            .or_else(|| session.and_then(|session| self.state.member_of_identity(&session.identity)));
        Peer {
            peer: peer.to_string(),
            member: member.map_or_else(|| peer.short(), |member| self.state.handle(&member)),
            connected: session.is_some(),
            path: session.map(|session| path_of(session.addr.ip()).to_owned()),
            rtt_ms: session.map(|session| (session.rtt.as_secs_f64() * 1e5).round() / 100.0),
            version: session.map(|session| clip(&session.version)),
            addr: session.map(|session| session.addr.to_string()),
            last_seen: if session.is_some() { None } else { self.seen(peer) },
            up_to_date: session.and_then(|session| session.up_to_date),
        }
    }

    pub(super) fn whoami(&self) -> Whoami {
        Whoami {
            identity: self.identity.map_or_else(String::new, |identity| identity.to_string()),
            home: PathBuf::new(),
            project: Some(self.project_name()),
            me: Some(self.me()),
        }
    }

    /// What can be told from inside one repository; the service adds what concerns the process.
    pub(super) fn doctor(&self) -> Doctor {
        let here = self.sessions.len();
        let others = self.peers().len();
        let mut checks = vec![
            Check {
                name: "sharing".to_owned(),
                ok: self.running,
                found: if self.running {
                    "this repository is shared".to_owned()
                } else {
                    "it is not shared".to_owned()
                },
                hint: (!self.running).then(|| "lansync up".to_owned()),
            },
            Check {
                name: "membership".to_owned(),
                ok: self.my_member().is_some(),
                found: format!("you are {} ({})", self.me().member, self.me().role),
                hint: None,
            },
        ];
        if others == 0 {
            let found = "nobody else is in this project yet".to_owned();
            let hint = Some("lansync invite".to_owned());
            checks.push(Check { name: "peers".to_owned(), ok: true, found, hint });
        } else {
            let hint = (here == 0).then(|| "lansync connect ADDRESS".to_owned());
            let found = format!("{here} of {others} other clones are here");
            checks.push(Check { name: "peers".to_owned(), ok: here > 0, found, hint });
        }
        let problems = self.problems.iter().map(|problem| Check {
            name: problem.code.clone(),
            ok: false,
            found: problem.message.clone(),
            hint: problem.hint.clone(),
        });
        checks.extend(problems);
        Doctor { checks }
    }
}

/// Is an address on a network of one's own (private, link-local, loopback), or elsewhere?
fn path_of(ip: std::net::IpAddr) -> &'static str {
    let local = match ip {
        std::net::IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        std::net::IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
            None => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
        },
    };
    if local { "lan" } else { "direct" }
}
