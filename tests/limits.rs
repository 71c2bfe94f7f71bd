//! What a member can make grow stays within its bounds, and the others work on.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

mod common {
    pub mod hostile;
}

use std::net::SocketAddr;

use common::hostile::{Clone, Raw, keys, run};
use lansync::eventlog::{FrontierEntry, Role};
use lansync::id::PeerId;
use lansync::limits;
use lansync::sync::Message;

async fn stage() -> (Clone, Clone, Raw) {
    let (bo, mallory) = (keys("bo", 2), keys("mallory", 3));
    let ana = Clone::found(&keys("ana", 1), &[(&bo, Role::Contributor), (&mallory, Role::Contributor)]).await;
    let bo = Clone::join(&bo, &ana).await;
    let mallory = Raw::new(mallory, &ana);
    (ana, bo, mallory)
}

fn numbered(n: u32) -> PeerId {
    let mut peer = [9; 32];
    peer[..4].copy_from_slice(&n.to_be_bytes());
    PeerId(peer)
}

#[test]
fn a_member_who_reconnects_without_pause_is_told_of_twice_in_ten_seconds() {
    run(async {
        let (ana, bo, mallory) = stage().await;
        let begun = std::time::Instant::now();
        for _ in 0..60 {
            drop(mallory.session(&ana).await);
        }
        let told = || {
            let of_her = |notice: &&lansync::api::Notice| notice.notice.starts_with("peer-");
            let notices = ana.notices();
            notices.iter().filter(of_her).filter(|notice| notice.member.as_deref() == Some("mallory")).count()
        };
        let pauses = begun.elapsed().as_secs() as usize / limits::NOTICE_PAUSE.as_secs() as usize + 1;
        assert!(told() <= pauses * limits::NOTICES_IN_PAUSE, "{} lines in {:?}", told(), begun.elapsed());
        ana.told("peer-down", "more times in the meantime").await;
        ana.works_with(&bo).await;
    });
}

#[test]
fn ten_thousand_clones_that_are_nowhere_and_a_frontier_of_as_many_feeds_keep_nobody_away() {
    run(async {
        let (ana, bo, mallory) = stage().await;
        // Nothing answers there.
        let nowhere: SocketAddr = "127.0.0.1:9".parse().expect("an address");
        for n in 0..10_000 {
            ana.node.seen(numbered(n), vec![nowhere]).await;
        }
        let mut session = mallory.session(&ana).await;
        for part in 0..20u32 {
            let entry = |n: u32| FrontierEntry { feed: numbered(part * 5_000 + n), seq: u64::from(n), id: [1; 8] };
            let entries: Vec<FrontierEntry> = (0..5_000).map(entry).collect();
            session.say(&Message::Frontier { entries, last: part == 19 }).await;
        }
        // She is sent all that she did not claim to have, as anybody is.
        let mut mallory = mallory;
        mallory.learn(&mut session, "Bo's feed", |state| state.frontier().feeds() == 2).await;
        assert!(ana.status().await.peers.len() < 10, "of those who never were here nobody is told");
        // A newcomer is dialled while they are tried.
        ana.node.seen(bo.keys.peer(), vec![bo.addr()]).await;
        ana.works_with(&bo).await;
    });
}
