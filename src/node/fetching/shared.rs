//! A fetch whose pack is made once for several, and comes in pieces from all of them.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::time::timeout;

use super::{FetchFailure, FetchJob, elsewhere, said};
use crate::git::{Adopted, Interrupted, Manifest, PackLimits, PackPieces, PackRefused};
use crate::id::PackId;
use crate::limits;
use crate::node::pieces::PiecesWork;
use crate::node::run::Wake;
use crate::quic::{Connection, RecvStream};

impl FetchJob {
    /// Makes room for a shared pack; the loop sees to its pieces from now on.
    pub(super) async fn take_part(
        &self,
        connection: &Connection,
        recv: &mut RecvStream,
        pack: PackId,
        bytes: u64,
    ) -> Result<Arc<PackPieces>, FetchFailure> {
        let hashes = timeout(limits::BODY_STALLED, recv.read_frame(limits::FRAME_BYTES)).await;
        let hashes = hashes.map_err(|_| elsewhere("it does not say what its pack consists of"))?;
        let hashes = hashes.map_err(elsewhere)?.unwrap_or_default();
        let manifest = Manifest::read(&pack, bytes, &hashes);
        let manifest = manifest.ok_or_else(|| elsewhere("what it says of its pack does not fit"))?;
        let repo = self.repo.clone();
        let pieces = tokio::task::spawn_blocking(move || repo.await_pack(manifest)).await;
        let pieces = Arc::new(pieces.map_err(elsewhere)?.map_err(FetchFailure::Refused)?);
        let taken = PiecesWork::Taken { maker: connection.peer(), pieces: pieces.clone() };
        let _ = self.wake.send(Wake::Pieces(Box::new(taken))).await;
        Ok(pieces)
    }

    /// Receives a shared pack while its pieces come.
    pub(super) async fn receive_shared(&mut self, pieces: Arc<PackPieces>) -> Result<Adopted, FetchFailure> {
        let pack = pieces.manifest().id();
        let (repo, request, progress) = (self.repo.clone(), self.request.clone(), self.progress.clone());
        let mut input = pieces.reader();
        let received = tokio::task::spawn_blocking(move || {
            let (limits, stop) = (PackLimits::default(), AtomicBool::new(false));
            let report = |all| drop(progress.send_replace(said(all)));
            match repo.resume_pack(None, &mut input, &request.want, &request.have, &limits, &report, &stop) {
                Ok(quarantined) => (quarantined.adopt(), None),
                Err(Interrupted { why, kept }) => (Err(why), kept.map(|kept| *kept)),
            }
        });
        let outcome = match received.await {
            Ok((outcome, kept)) => {
                self.kept = kept;
                outcome.map_err(|why| match pieces.ended() {
                    None => FetchFailure::Refused(why),
                    Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => FetchFailure::Refused(PackRefused::Full),
                    Some(why) => elsewhere(format!("a shared pack did not come whole: {why}")),
                })
            }
            Err(error) => Err(elsewhere(error)),
        };
        let over = PiecesWork::Over { pack, sound: outcome.is_ok() };
        let _ = self.wake.send(Wake::Pieces(Box::new(over))).await;
        outcome
    }
}
