//! The clocks of this machine and of its neighbours: whether anything may be written, and what to tell people.

use super::clock;
use super::core::Core;
use super::sessions::millis;
use crate::api::Refusal;
use crate::hlc::Millis;
use crate::id::PeerId;
use crate::limits;
use crate::sync::{Clocks, Input, Message, Verdict};

/// What is known of clocks.
#[derive(Debug, Default)]
pub(super) struct ClockState {
    /// What neighbours' clocks show.
    pub(super) told: Clocks,
    /// What was wrong when it was last looked at.
    trouble: Option<Refusal>,
    /// The wall clock minus the steady one, when last looked at.
    lead: Option<i128>,
    /// When to look again.
    again: Option<Millis>,
}

impl ClockState {
    pub(super) fn next_wake(&self) -> Option<Millis> {
        self.again
    }
}

/// What is held of a neighbour: an event whose time has not come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// In whose feed.
    pub(super) author: PeerId,
    /// The wall time from which it counts as received.
    pub(super) due: Millis,
}

/// How to set a clock right.
const HINT: &str = if cfg!(target_os = "linux") { "timedatectl set-ntp true" } else { "date" };

impl Core {
    /// May events be written at wall time `wall`? Reading, receiving and serving never stop for the clock.
    ///
    /// # Errors
    /// Where it stands before this program was built, or is far from those of several other members: an event with a
    /// wrong time would wait on their machines, and so would all that comes after it in this feed.
    pub(super) fn clock_is_right(&self, now: Millis, wall: Millis) -> Result<(), Refusal> {
        if wall < limits::BUILD_MILLIS {
            let message = "this machine's clock stands before lansync was built, so nothing is written";
            return Err(Refusal::new("clock", message, HINT));
        }
        match self.judge_clock(now, wall) {
            Verdict::Wrong { ahead, voices } => {
                let message = format!(
                    "this machine's clock is {} those of {voices} other members, so nothing is written",
                    apart(ahead)
                );
                Err(Refusal::new("clock", message, HINT))
            }
            Verdict::Right | Verdict::Differs { .. } => Ok(()),
        }
    }

    fn judge_clock(&self, now: Millis, wall: Millis) -> Verdict {
        let me = self.my_member();
        let member_of = |peer: &PeerId| {
            let session = self.sessions.get(peer)?;
            self.state.member_of_identity(&session.hello.certificate.identity).filter(|member| Some(*member) != me)
        };
        self.clocks.told.judge(wall, now, member_of)
    }

    /// Do other members' clocks say, as far as any do, that this one is right? `false` where nobody says anything.
    pub(super) fn others_agree(&self, now: Millis, wall: Millis) -> bool {
        let others = self.clocks.told.peers().filter_map(|peer| self.sessions.get(peer));
        let mut members = others.filter_map(|one| self.state.member_of_identity(&one.hello.certificate.identity));
        let heard = members.any(|member| Some(member) != self.my_member());
        heard && wall >= limits::BUILD_MILLIS && matches!(self.judge_clock(now, wall), Verdict::Right)
    }

    /// What is wrong with clocks now, for people.
    pub(super) fn clock_problems(&self) -> Vec<Refusal> {
        let (now, wall) = (self.clock.steady(), self.clock.wall());
        let mut problems: Vec<Refusal> = self.clock_trouble(now, wall).into_iter().collect();
        let horizon = wall.saturating_add(millis(limits::CLOCK_DRIFT));
        for held in self.sessions.values().filter_map(|session| session.held).filter(|held| held.due > horizon) {
            let who = self.peer_name(&held.author);
            let message = format!("an event of {who} waits until {}, when its time comes", clock::rfc3339(held.due));
            let refusal = Refusal::new("held", message, HINT);
            if !problems.contains(&refusal) {
                problems.push(refusal);
            }
        }
        problems
    }

    fn clock_trouble(&self, now: Millis, wall: Millis) -> Option<Refusal> {
        if let Err(refusal) = self.clock_is_right(now, wall) {
            return Some(refusal);
        }
        if let Verdict::Differs { member, ahead } = self.judge_clock(now, wall) {
            let who = self.state.handle(&member);
            let message = format!("this machine's clock is {} that of {who}; one of the two is wrong", apart(ahead));
            return Some(Refusal::new("clock", message, HINT));
        }
        let newest = self.state.latest().millis();
        (newest > wall.saturating_add(millis(limits::CLOCK_DRIFT))).then(|| {
            let ahead = i64::try_from(newest - wall).unwrap_or(i64::MAX);
            let message = format!(
                "the newest event here is {} this machine's clock; what is written now reaches others only then",
                apart(ahead)
            );
            Refusal::new("clock", message, HINT)
        })
    }

    /// Looks at the clock: tells people when something came to be wrong with it or right again, and neighbours when it
    /// was set.
    pub(super) fn watch_clock(&mut self, now: Millis) {
        let wall = self.clock.wall();
        let lead = i128::from(wall) - i128::from(now);
        let set = self.clocks.lead.is_some_and(|last| last.abs_diff(lead) > limits::CLOCK_SET.as_millis());
        if set || self.clocks.lead.is_none() {
            self.clocks.lead = Some(lead);
        }
        if set {
            tracing::info!("the wall clock was set");
            let peers: Vec<PeerId> = self.sessions.keys().copied().collect();
            for peer in peers {
                self.say(now, peer, Message::Clock(wall).encode(), false);
            }
            // What is held may be due now.
            self.sync.handle(now, Input::AskAgain);
            self.drain(now);
        }
        self.leave_what_is_ahead(now, wall);
        let trouble = self.clock_trouble(now, wall);
        // Nothing wakes a node when its clock is set right.
        self.clocks.again = trouble.is_some().then(|| now + millis(limits::CLOCK_LOOK));
        // How far it is off changes all the time; that something is wrong is said once.
        if trouble.is_some() == self.clocks.trouble.is_some() {
            self.clocks.trouble = trouble;
            return;
        }
        match &trouble {
            Some(refusal) => {
                let text = format!("{}; try: {HINT}", refusal.message);
                self.notice("clock", None, None, None, text);
            }
            None => {
                self.notice("clock", None, None, None, "this machine's clock is right again".to_owned());
                // What could not be offered is offered now.
                self.look_again = true;
            }
        }
        self.clocks.trouble = trouble;
        self.changed = true;
    }
}

/// How far one clock is from another, for people: `3 h ahead of`.
fn apart(ahead: i64) -> String {
    let minutes = ahead.unsigned_abs().saturating_add(30_000) / 60_000;
    let span = match minutes {
        0..120 => format!("{minutes} min"),
        120..2_880 => format!("{} h", (minutes + 30) / 60),
        _ => format!("{} days", (minutes + 720) / 1_440),
    };
    format!("{span} {}", if ahead > 0 { "ahead of" } else { "behind" })
}

#[cfg(test)]
mod tests {
    #[test]
    fn spans_are_said_in_words_that_fit() {
        let said = [(660_000, "11 min ahead of"), (-3 * 3_600_000, "3 h behind"), (864_000_000, "10 days ahead of")];
        for (ahead, words) in said {
            assert_eq!(super::apart(ahead), words);
        }
    }
}
