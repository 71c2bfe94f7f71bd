//! A member that lies is refused with the reason, nothing is lost, and the honest others go on.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

mod common {
    pub mod hostile;
}

use common::hostile::{
    Clone, Raw, Session, Stage, body, branch, commit, far_future, git, keys, offer, pack, rev, run, until,
};
use lansync::api::Request;
use lansync::approval::State;
use lansync::eventlog::{Certify, Draft, Event, Extensions, Land, Payload, Role, Withdraw};
use lansync::hlc::Hlc;
use lansync::id::{EventId, ObjectId, ProjectId};
use lansync::limits;
use lansync::quic::CloseCode;
use lansync::sync::Message;

fn withdrawal(of: &Event) -> Payload {
    Payload::Withdraw(Withdraw { revision: of.id(), extensions: Extensions::default() })
}

fn some_tip() -> ObjectId {
    ObjectId::Sha1([0x77; 20])
}

/// Where the feed's signature begins, in an event whose identity does not sign.
fn signature_at(event: &Event) -> usize {
    let len = event.body().payload_len as usize;
    let varint = if len < 128 { 1 } else { 2 };
    event.bytes().len() - len - varint - 1 - 64
}

#[test]
fn an_event_with_a_bad_signature() {
    run(async {
        let stage = Stage::new().await;
        let event = stage.mallory.sign(stage.mallory.draft(offer("fix", some_tip()), vec![]));
        let mut bytes = event.bytes().to_vec();
        bytes[signature_at(&event) + 5] ^= 1;
        assert!(Event::decode_stored(&bytes).is_ok(), "in all else it is in order");
        stage.refuses(&[bytes], "what is no event: the signature does not hold").await;
    });
}

#[test]
fn a_grant_that_the_identity_did_not_sign() {
    run(async {
        let stage = Stage::new().await;
        let draft = stage.mallory.draft(keys("eve", 9).grant(Role::Maintainer), vec![]);
        let event = draft.sign(&stage.mallory.keys.feed, &keys("eve", 9).identity).expect("it is in form");
        stage.refuses(&[event.bytes().to_vec()], "the identity's signature does not hold").await;
    });
}

#[test]
fn an_event_that_is_not_canonical() {
    run(async {
        let stage = Stage::new().await;
        let event = stage.mallory.sign(stage.mallory.draft(offer("fix", some_tip()), vec![]));
        let mut longer = event.bytes().to_vec();
        assert_eq!(longer[65], 1, "its number, after format, project and author");
        longer.splice(65..66, [0x81, 0x00]);
        stage.refuses(&[longer], "what is no event: its bytes are not canonical").await;
        let stage = Stage::new().await;
        let event = stage.mallory.sign(stage.mallory.draft(offer("fix", some_tip()), vec![]));
        let trailing = [event.bytes(), &[0]].concat();
        stage.refuses(&[trailing], "what is no event: its bytes are not canonical").await;
    });
}

#[test]
fn an_event_that_is_too_large_or_of_another_format() {
    run(async {
        let stage = Stage::new().await;
        let mut large = vec![0; limits::EVENT_BYTES + 1];
        large[0] = 1;
        stage.refuses(&[large], "too large").await;
        let stage = Stage::new().await;
        let event = stage.mallory.sign(stage.mallory.draft(offer("fix", some_tip()), vec![]));
        let mut newer = event.bytes().to_vec();
        newer[0] = 2;
        stage.refuses(&[newer], "it has format 2, which needs a newer lansync").await;
    });
}

#[test]
fn a_gap() {
    run(async {
        let mut stage = Stage::new().await;
        stage.mallory.write(offer("fix", some_tip()), vec![]);
        let second = stage.mallory.write(offer("more", some_tip()), vec![]);
        stage.refuses(&[second.bytes().to_vec()], "events before it in its feed were not sent").await;
    });
}

#[test]
fn an_event_whose_past_was_never_sent() {
    run(async {
        let stage = Stage::new().await;
        let mut draft = stage.mallory.draft(offer("fix", some_tip()), vec![]);
        draft.seen = vec![EventId([9; 32])];
        let event = stage.mallory.sign(draft);
        stage.refuses(&[event.bytes().to_vec()], "in its past was not sent").await;
    });
}

#[test]
fn an_event_that_is_older_than_its_past() {
    run(async {
        let stage = Stage::new().await;
        let draft = Draft { hlc: Hlc::new(1, 0), ..stage.mallory.draft(offer("fix", some_tip()), vec![]) };
        let event = stage.mallory.sign(draft);
        stage.refuses(&[event.bytes().to_vec()], "its time is not after its past").await;
    });
}

#[test]
fn a_second_event_of_the_same_number_is_kept_as_proof_and_both_machines_say_so() {
    run(async {
        let mut stage = Stage::new().await;
        let draft = stage.mallory.draft(offer("one", some_tip()), vec![]);
        let other = stage.mallory.sign(Draft { payload: offer("other", some_tip()), ..draft.clone() });
        let first = stage.mallory.sign(draft);
        stage.session.send(&[&first]).await;
        stage.bo.told("proposal", "mallory offers mallory/one").await;
        let before = stage.ana.status().await.log.events;
        stage.session.send(&[&other]).await;
        for clone in [&stage.ana, &stage.bo] {
            let notice = clone.told("copied-key", "the key of a clone of mallory was used twice").await;
            assert_eq!(notice.member.as_deref(), Some("mallory"));
        }
        let same = || async {
            let logs = [stage.ana.status().await.log, stage.bo.status().await.log];
            logs[0].events == before + 1 && logs[0].digest == logs[1].digest
        };
        until("both events are in both logs", same).await;
        // Neither counts: nobody had built on either.
        for clone in [&stage.ana, &stage.bo] {
            let open = clone.ask(Request::List { all: false }).await.expect("it is read");
            assert_eq!(open.as_array().map(Vec::len), Some(0), "{open}");
        }
        stage.go_on().await;
    });
}

#[test]
fn an_event_of_somebody_who_is_no_member() {
    run(async {
        let stage = Stage::new().await;
        let mut eve = Raw::new(keys("eve", 9), &stage.ana);
        let certificate = eve.keys.identity.certify(&stage.ana.project(), &eve.keys.peer());
        let draft = eve.draft(Payload::Certify(Certify { certificate, extensions: Extensions::default() }), vec![]);
        let draft = Draft { seen: vec![stage.ana.events.last().expect("the last grant").id()], ..draft };
        let event = eve.sign(draft);
        assert!(eve.state.check(&event).is_err());
        eve.state = State::new(stage.ana.project());
        stage.refuses(&[event.bytes().to_vec()], "its author is no member in its own past").await;
    });
}

#[test]
fn a_certificate_that_the_identity_did_not_sign() {
    run(async {
        let stage = Stage::new().await;
        // A second feed for Ana's identity, by which Mallory would be a maintainer.
        let thief = keys("thief", 9);
        let mut certificate = thief.identity.certify(&stage.ana.project(), &thief.peer());
        certificate.identity = stage.ana.keys.identity.identity();
        let payload = Payload::Certify(Certify { certificate, extensions: Extensions::default() });
        let draft =
            Draft { seq: 0, prev: None, seen: vec![stage.ana.events[0].id()], ..stage.mallory.draft(payload, vec![]) };
        let event = draft.sign(&thief.feed, &thief.identity).expect("it is in form");
        stage.refuses(&[event.bytes().to_vec()], "the identity's signature does not hold").await;
    });
}

#[test]
fn an_event_of_another_project() {
    run(async {
        let stage = Stage::new().await;
        let draft = Draft { project: ProjectId([1; 32]), ..stage.mallory.draft(offer("fix", some_tip()), vec![]) };
        let event = stage.mallory.sign(draft);
        stage.refuses(&[event.bytes().to_vec()], "it belongs to another project").await;
    });
}

#[test]
fn an_approval_of_what_it_does_not_name() {
    run(async {
        let stage = Stage::new().await;
        let certificate = stage.ana.events[0].clone();
        // A withdrawal of what is no proposal.
        let event = stage.mallory.sign(stage.mallory.draft(withdrawal(&certificate), vec![certificate.id()]));
        stage.refuses(&[event.bytes().to_vec()], "its payload and its links do not agree").await;
    });
}

#[test]
fn an_event_from_the_far_future_waits_and_the_session_goes_on() {
    run(async {
        let mut stage = Stage::new().await;
        let before = stage.ana.status().await.log;
        let draft = Draft { hlc: far_future(), ..stage.mallory.draft(offer("tomorrow", some_tip()), vec![]) };
        let event = stage.mallory.sign(draft);
        for _ in 0..5 {
            stage.session.send(&[&event]).await;
        }
        let notice = stage.ana.told("clock", "ahead of this machine's clock and waits").await;
        assert_eq!(notice.member.as_deref(), Some("mallory"));
        // What she does in time arrives, on the same session, and she hears what others do.
        let offered = stage.mallory.write(offer("today", some_tip()), vec![]);
        stage.session.send(&[&offered]).await;
        stage.bo.told("proposal", "mallory offers mallory/today").await;
        for clone in [&stage.ana, &stage.bo] {
            assert_eq!(clone.status().await.log.events, before.events + 1);
        }
        stage.go_on().await;
        let landed = |state: &State| state.proposals().count() == 2;
        stage.mallory.learn(&mut stage.session, "Bo's proposal", landed).await;
        let told = stage.ana.notices().iter().filter(|notice| notice.notice == "clock").count();
        assert_eq!(told, 1, "once is enough");
    });
}

#[test]
fn a_grant_by_one_who_may_not_is_stored_and_gives_nothing() {
    run(async {
        let mut stage = Stage::new().await;
        let before = stage.ana.status().await.log.events;
        let (eve, own) = (keys("eve", 9), stage.mallory.keys.clone());
        let grants = [
            stage.mallory.write(eve.grant(Role::Maintainer), vec![]),
            stage.mallory.write(own.grant(Role::Maintainer), vec![]),
        ];
        stage.session.send(&[&grants[0], &grants[1]]).await;
        let both = || async {
            let logs = [stage.ana.status().await.log.events, stage.bo.status().await.log.events];
            logs == [before + 2; 2]
        };
        until("both hold the grants", both).await;
        for clone in [&stage.ana, &stage.bo] {
            assert_eq!(clone.members().await, ["ana", "bo", "mallory"]);
            let members = clone.ask(Request::Members).await.expect("it is read");
            let roles: Vec<_> = members.as_array().expect("a list").iter().map(|member| &member["role"]).collect();
            assert_eq!(roles, ["maintainer", "contributor", "contributor"]);
        }
        // Eve is still a stranger, and what she writes on top of it is refused.
        let mut evil = Raw::new(eve, &stage.ana);
        evil.state = stage.mallory.state.clone();
        let certificate = evil.keys.identity.certify(&stage.ana.project(), &evil.keys.peer());
        let payload = Payload::Certify(Certify { certificate, extensions: Extensions::default() });
        let event = evil.sign(Draft { seen: vec![grants[1].id()], ..evil.draft(payload, vec![]) });
        stage.refuses(&[event.bytes().to_vec()], "its author is no member in its own past").await;
    });
}

impl Stage {
    /// Mallory offers a good commit and Ana approves it: the branch moves to it everywhere.
    async fn good_commit_lands(&mut self) -> (EventId, ObjectId) {
        git(&self.mallory.dir, &["switch", "-q", "-c", "good"]);
        let tip = commit(&self.mallory.dir, "good", "yes\n");
        let ids = [tip, rev(&self.mallory.dir, "good^{tree}"), rev(&self.mallory.dir, "good:good")];
        self.session.serve(body(&pack(&self.mallory.dir, &ids)));
        let revision = self.mallory.write(offer("good", tip), vec![]);
        self.session.send(&[&revision]).await;
        let approved = self.ana.approve("mallory/good").await;
        assert_eq!(approved["landed"], tip.to_string());
        let landed = move |state: &State| {
            state.branch(&branch("main")).is_some() && state.proposals().any(|one| !one.approvals.is_empty())
        };
        self.mallory.learn(&mut self.session, "Ana's approval", landed).await;
        let moved = || async { self.ana.tracking() == Some(tip) && self.bo.tracking() == Some(tip) };
        until("the branch moves", moved).await;
        (revision.id(), tip)
    }

    /// A landing of `new` that rests on Ana's approval of another commit.
    fn land(&mut self, revision: EventId, tip: ObjectId, new: ObjectId, rules: u16) -> Event {
        let state = &self.mallory.state;
        let heads = state.branch(&branch("main")).expect("it is canonical").lids();
        let approvals: Vec<EventId> = {
            let proposal = state.revision(&revision).expect("her own").proposal;
            state.proposal(&proposal).expect("her own").approvals.iter().map(|one| one.id).collect()
        };
        let mut refs: Vec<EventId> = heads.iter().filter_map(|lid| state.carrier(lid)).collect();
        refs.push(revision);
        refs.extend(&approvals);
        let extensions = Extensions::default();
        let land =
            Land { branch: branch("main"), heads, revision: Some(revision), tip, approvals, new, rules, extensions };
        self.mallory.write(Payload::Land(land), refs)
    }
}

#[test]
fn a_landing_that_hides_a_change_moves_nothing() {
    run(async {
        let mut stage = Stage::new().await;
        let (revision, tip) = stage.good_commit_lands().await;
        let hidden = commit(&stage.mallory.dir, "good", "yes, and a back door\n");
        let land = stage.land(revision, tip, hidden, 1);
        stage.session.send(&[&land]).await;
        for clone in [&stage.ana, &stage.bo] {
            let notice = clone.told("problem", "a landing on main was refused").await;
            assert!(notice.text.contains(&hidden.short()), "{}", notice.text);
            assert_eq!(clone.tracking(), Some(tip));
            assert_eq!(clone.status().await.branches[0].tip, Some(tip.to_string()));
        }
        stage.go_on().await;
    });
}

#[test]
fn a_landing_of_what_nobody_has_does_not_keep_a_new_clone_waiting() {
    run(async {
        let mut stage = Stage::new().await;
        let (revision, tip) = stage.good_commit_lands().await;
        let land = stage.land(revision, tip, ObjectId::Sha1([0xee; 20]), 1);
        // And an offer whose objects are nowhere.
        let gone = stage.mallory.write(offer("gone", ObjectId::Sha1([1; 20])), vec![]);
        stage.session.send(&[&land, &gone]).await;
        stage.ana.told("problem", "a landing on main was refused").await;
        stage.session.connection.close(CloseCode::Bye, "she leaves");
        // Bo's second machine.
        let mut second = keys("bo", 2);
        second.feed = keys("bo", 7).feed;
        let second = Clone::join(&second, &stage.ana).await;
        assert_eq!(second.tracking(), Some(tip));
        second.fsck();
        stage.ana.works_with(&second).await;
    });
}

#[test]
fn requests_for_too_much_and_frontiers_without_end_end_the_session() {
    run(async {
        let stage = Stage::new().await;
        let many: Vec<ObjectId> = (0..=limits::FETCH_TIPS as u32)
            .map(|n| {
                let mut id = [0; 20];
                id[..4].copy_from_slice(&n.to_be_bytes());
                ObjectId::Sha1(id)
            })
            .collect();
        let request =
            lansync::sync::FetchRequest { want: many, have: vec![], also: vec![], prefix: None, skip: 0, sources: 1 };
        let (mut send, _recv) = stage.session.connection.open_bi().await.expect("it is open");
        send.write_frame(&request.encode()).await.expect("it is open");
        let closed = stage.session.closed().await;
        assert!(closed.why.contains("too large"), "{}", closed.why);

        let mut session = stage.mallory.session(&stage.ana).await;
        let entry = |n: u32| {
            let feed = lansync::id::PeerId(*blake3::hash(&n.to_le_bytes()).as_bytes());
            lansync::eventlog::FrontierEntry { feed, seq: 0, id: [0; 8] }
        };
        // One part too many. With more the close of a connection that is gone by then may not be heard for the noise.
        for part in 0..=(limits::FRONTIER_ENTRIES / limits::FRONTIER_FEEDS) as u32 {
            const PART: u32 = limits::FRONTIER_FEEDS as u32;
            let entries = (part * PART..(part + 1) * PART).map(entry).collect();
            session.say(&Message::Frontier { entries, last: false }).await;
        }
        let closed = session.closed().await;
        assert!(closed.why.contains("its frontier has too many feeds"), "{}", closed.why);
        stage.go_on().await;
    });
}

#[test]
fn one_that_talks_and_never_reads_is_left() {
    run(async {
        let mut stage = Stage::new().await;
        // Without a reader: the windows fill, then the outbox, and there it ends.
        let connection = stage.mallory.dial(&stage.ana).await;
        let (send, _unread) = connection.open_bi().await.expect("it is open");
        let (_, messages) = tokio::sync::mpsc::unbounded_channel();
        stage.session.connection.close(CloseCode::Bye, "she begins afresh");
        stage.session = Session { connection, send, messages };
        stage.session.frame(&stage.mallory.hello(&stage.ana.project()).encode()).await;
        // What is held already: each time she is told how far the feeds are held.
        let known: Vec<Vec<u8>> = stage.ana.events.iter().map(|event| event.bytes().to_vec()).collect();
        let talk = async {
            while stage.session.connection.close_reason().is_none() {
                for event in &known {
                    let message = Message::Events(vec![event.clone()]);
                    let _ = stage.session.send.write_frame(&message.encode()).await;
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(300), talk).await.expect("it ends");
        let closed = stage.session.closed().await;
        assert!(closed.why.contains("it does not read what it is sent"), "{}", closed.why);
        stage.go_on().await;
    });
}
