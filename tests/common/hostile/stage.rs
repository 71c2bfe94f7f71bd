//! Where somebody lies to two honest clones.

use lansync::approval::State;
use lansync::eventlog::Role;
use lansync::quic::CloseCode;
use lansync::sync::Message;

use super::{Clone, Raw, Session, keys, until};

/// Ana, Bo with a node of his own, and Mallory with a session. All are members.
pub struct Stage {
    pub ana: Clone,
    pub bo: Clone,
    pub mallory: Raw,
    pub session: Session,
}

impl Stage {
    pub async fn new() -> Self {
        let (bo, mallory) = (keys("bo", 2), keys("mallory", 3));
        let ana = Clone::found(&keys("ana", 1), &[(&bo, Role::Contributor), (&mallory, Role::Contributor)]).await;
        let bo = Clone::join(&bo, &ana).await;
        let mut mallory = Raw::new(mallory, &ana);
        let mut session = mallory.session(&ana).await;
        let certificate = mallory.certificate();
        session.send(&[&certificate]).await;
        // Bo has hers and she his.
        let feeds = |state: &State| state.frontier().feeds() == 3;
        session.say(&Message::Frontier { entries: vec![], last: true }).await;
        mallory.learn(&mut session, "the feeds of Ana and Bo", feeds).await;
        let all = || async { bo.status().await.log.feeds == 3 && ana.status().await.log.feeds == 3 };
        until("all feeds are everywhere", all).await;
        Self { ana, bo, mallory, session }
    }

    /// Her session is closed for this, and neither Ana nor Bo took anything in.
    pub async fn refuses(mut self, events: &[Vec<u8>], why: &str) {
        let before = self.ana.status().await.log;
        self.session.say(&Message::Events(events.to_vec())).await;
        let closed = self.session.closed().await;
        assert_eq!(closed.code, Some(CloseCode::Protocol));
        assert!(closed.why.contains(why), "{}", closed.why);
        for clone in [&self.ana, &self.bo] {
            assert_eq!(clone.status().await.log, before);
        }
        self.go_on().await;
    }

    /// Nothing is the worse for it.
    pub async fn go_on(&self) {
        self.ana.works_with(&self.bo).await;
        assert_eq!(self.ana.tracking(), self.bo.tracking());
        assert_eq!(self.ana.status().await.log.digest, self.bo.status().await.log.digest);
    }
}
