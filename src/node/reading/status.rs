//! `status`: where everything stands.

use std::collections::BTreeSet;

use crate::api::{BranchStatus, LastLanding, LocalBranch, LogStatus, ProposalCounts, Status, Waiting};
use crate::id::{BranchName, hex};
use crate::node::clock::rfc3339;
use crate::node::snapshot::Snapshot;

impl Snapshot {
    pub(super) fn status(&self) -> Status {
        let open = self.proposals(false);
        let me = self.me();
        let lagging: BTreeSet<String> =
            self.peers().into_iter().filter(|peer| peer.up_to_date != Some(true)).map(|peer| peer.member).collect();
        let still_open = || open.iter().filter(|proposal| proposal.state == "open");
        Status {
            at: self.at.map(rfc3339),
            project: self.project_name(),
            running: self.running,
            log: LogStatus {
                events: self.state.log_events(),
                feeds: self.state.frontier().feeds() as u64,
                digest: hex(&self.state.frontier().digest()),
            },
            branches: self.state.canonical().iter().map(|(branch, _)| self.branch(branch)).collect(),
            peers: self.peers(),
            proposals: ProposalCounts {
                open: still_open().count() as u64,
                mine: still_open().filter(|proposal| proposal.author == me.member).count() as u64,
                my_turn: still_open().filter(|proposal| proposal.my_turn).count() as u64,
            },
            waiting: Waiting {
                events: self.unsent,
                unsent: self.unsent,
                objects: still_open().filter(|proposal| !proposal.here && self.at.is_none()).count() as u64,
                members: lagging.len() as u64,
            },
            not_shared: self.not_shared.clone(),
            problems: self.all_problems(),
            votes: self.ballots(),
            last_landing: self.last_landing(),
            asking: self.asking(),
            open,
            me,
        }
    }

    fn branch(&self, name: &BranchName) -> BranchStatus {
        let heads = self.state.branch(name);
        let tip = heads.as_ref().and_then(|heads| heads.tip());
        let lids = heads.as_ref().map_or_else(Vec::new, |heads| heads.lids());
        let conflict =
            self.conflicts.keys().any(|(branch, heads, _)| branch == name && *heads == lids && lids.len() > 1);
        let state = match &heads {
            Some(heads) if heads.needs_upgrade => "needs-upgrade",
            Some(heads) if heads.heads.len() > 1 && conflict => "diverged",
            Some(heads) if heads.heads.len() > 1 => "joining",
            Some(heads) if heads.unknown => "catching-up",
            Some(_) if tip.is_some_and(|tip| !self.held.contains(&tip) && !self.repo.has(&tip)) => "catching-up",
            Some(_) | None => "ok",
        };
        // Where refs stood at an earlier time is not known.
        let now = self.at.is_none();
        let tracking = if now { self.repo.tracking(name).ok().flatten() } else { None };
        let branches = if now { self.repo.branches().ok() } else { None };
        let local = branches.and_then(|found| found.branches.get(name).copied());
        let moved = self.moves.tracking.get(name).filter(|(commit, at)| Some(*commit) == tracking && *at > 0);
        let landed = heads.as_ref().and_then(|heads| heads.heads.first()).map(|(_, head)| head.first.0.millis());
        BranchStatus {
            name: name.to_string(),
            tip: tip.map(|tip| tip.to_string()),
            state: state.to_owned(),
            heads: heads.map(|heads| heads.commits().iter().map(ToString::to_string).collect()).unwrap_or_default(),
            tracking: tracking.map(|commit| commit.to_string()),
            rewound: false,
            local: local.map(|local| {
                let distance = tracking.and_then(|at| self.repo.ahead_behind(local, at).ok());
                let (ahead, behind) = distance.map_or((0, 0), |by| (by.ahead as u64, by.behind as u64));
                LocalBranch { tip: local.to_string(), ahead, behind }
            }),
            moved_at: moved.map(|(_, at)| *at).or(landed).filter(|at| *at > 0).map(rfc3339),
            not_pulled: self.moves.not_pulled.get(name).cloned(),
        }
    }

    /// The newest landing that a head of the default branch carries.
    fn last_landing(&self) -> Option<LastLanding> {
        let (branch, _) = self.state.canonical().first()?;
        let heads = self.state.branch(branch)?;
        let (_, landing) = heads.heads.iter().max_by_key(|(_, landing)| landing.first)?;
        if landing.content.heads.is_empty() {
            return None;
        }
        let revision = landing.revision.and_then(|id| self.state.revision(&id));
        let approved_by = revision.as_ref().map(|revision| {
            let proposal = self.state.proposal(&revision.proposal);
            let approvals = proposal.map(|proposal| proposal.approvals).unwrap_or_default();
            let of_landing = approvals.into_iter().filter(|one| landing.approvals.contains(&one.id));
            of_landing.map(|one| self.state.handle(&one.member)).collect::<BTreeSet<_>>()
        });
        let moved = self.moves.tracking.get(branch);
        let moved = moved.filter(|(commit, at)| *commit == landing.content.new && *at > 0).map(|(_, at)| *at);
        Some(LastLanding {
            branch: branch.to_string(),
            commit: landing.content.new.to_string(),
            at: rfc3339(moved.unwrap_or_else(|| landing.first.0.millis())),
            proposal: revision.map(|revision| format!("{}/{}", self.state.handle(&revision.member), revision.branch)),
            approved_by: approved_by.unwrap_or_default().into_iter().collect(),
        })
    }
}
