//! Media files of Git LFS: whom to ask for which, when again, and how that is said. A pure decision.
//!
//! A request names a commit that refers to the media, so that whoever is asked can tell that it serves that commit. Who
//! has a file is not announced: each neighbour is asked once, the author of the commit first, then all again later.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::message::{MessageError, tagged};
use crate::codec::{self, DecodeError};
use crate::hlc::Millis;
use crate::id::{Media, MediaId, ObjectId, PeerId};
use crate::limits;

/// The bit of [`super::Hello`]'s features that says: asks for media are understood.
pub const MEDIA: u64 = 1;

/// Waits between two rounds of asking everybody, doubling from the first to the last.
const AGAIN: (Millis, Millis) = (500, 30_000);

/// Asks for media files, as the first frame of a stream of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaRequest {
    /// A commit whose files refer to all of them.
    pub commit: ObjectId,
    /// Which, and how many bytes of each are here already.
    pub wants: Vec<(Media, u64)>,
}

/// What is said before the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaReply {
    /// For each file whether it follows. Those that do follow each other as one body, each from where it was asked for.
    Here(Vec<bool>),
    /// The commit is not here, or not to be served, or does not refer to all of these.
    NotHere,
    /// Too many streams are being served: ask another, or again.
    Busy,
}

impl MediaRequest {
    /// The first byte of its frame.
    pub const TAG: u8 = 18;

    /// Its frame.
    pub fn encode(&self) -> Vec<u8> {
        tagged(Self::TAG, self)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`MessageError`] where it is no request, asks for too much at once, or for what lies behind the end of a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let request: Self = match bytes {
            [Self::TAG, rest @ ..] => codec::decode(rest, limits::FRAME_BYTES)?,
            _ => return Err(DecodeError::Malformed.into()),
        };
        if request.wants.len() > limits::MEDIA_FILES {
            return Err(DecodeError::TooLarge { len: request.wants.len(), limit: limits::MEDIA_FILES }.into());
        }
        if request.wants.iter().any(|(media, begun)| *begun >= media.size) {
            return Err(DecodeError::Malformed.into());
        }
        Ok(request)
    }
}

impl MediaReply {
    /// Its frame.
    pub fn encode(&self) -> Vec<u8> {
        tagged(19, self)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`MessageError`] where it is no reply.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        match bytes {
            [19, rest @ ..] => Ok(codec::decode(rest, limits::STRANGER_FRAME_BYTES)?),
            _ => Err(DecodeError::Malformed.into()),
        }
    }
}

/// Ask `from` for `media`, to which `commit` refers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaFetch {
    /// Whom.
    pub from: PeerId,
    /// The commit.
    pub commit: ObjectId,
    /// Which files.
    pub media: Vec<Media>,
}

#[derive(Debug)]
struct Want {
    commit: ObjectId,
    /// The clone that published the commit, which has its media most likely.
    author: PeerId,
    size: u64,
    asked: BTreeSet<PeerId>,
    in_flight: Option<PeerId>,
    not_before: Millis,
    wait: Millis,
}

/// The media files that are wanted.
#[derive(Debug, Default)]
pub struct MediaFetches {
    wants: BTreeMap<MediaId, Want>,
    /// Those that understand, and how many requests each was sent and has not answered.
    neighbours: BTreeMap<PeerId, usize>,
}

impl MediaFetches {
    /// `media` is wanted, as `commit`, published by `author`, refers to it. Of two lengths for one id the first counts.
    pub fn want(&mut self, media: Media, commit: ObjectId, author: PeerId) {
        if self.wants.len() >= limits::MEDIA_WANTED || media.size == 0 {
            return;
        }
        let (asked, in_flight) = (BTreeSet::new(), None);
        let want = || Want { commit, author, size: media.size, asked, in_flight, not_before: 0, wait: AGAIN.0 };
        self.wants.entry(media.id).or_insert_with(want);
    }

    /// It is here.
    pub fn done(&mut self, media: &Media) {
        self.wants.remove(&media.id);
    }

    /// Only these are wanted still.
    pub fn retain(&mut self, wanted: impl Fn(&Media) -> bool) {
        self.wants.retain(|id, want| wanted(&Media { id: *id, size: want.size }));
    }

    /// Is it wanted still?
    pub fn wants(&self, media: &Media) -> bool {
        self.wants.contains_key(&media.id)
    }

    /// Was everybody here asked for it in vain?
    pub fn is_nowhere(&self, media: &Media) -> bool {
        let in_vain = |want: &Want| want.in_flight.is_none() && (want.wait > AGAIN.0 || self.neighbours.is_empty());
        self.wants.get(&media.id).is_some_and(in_vain)
    }

    /// May one that is wanted still come from somebody who was not asked yet?
    pub fn is_busy(&self) -> bool {
        self.wants.iter().any(|(id, want)| !self.is_nowhere(&Media { id: *id, size: want.size }))
    }

    /// How many are wanted.
    pub fn len(&self) -> usize {
        self.wants.len()
    }

    /// Is nothing wanted?
    pub fn is_empty(&self) -> bool {
        self.wants.is_empty()
    }

    /// A session with somebody who understands asks for media began.
    pub fn peer_up(&mut self, peer: PeerId) {
        self.neighbours.insert(peer, 0);
        for want in self.wants.values_mut() {
            want.asked.remove(&peer);
            want.not_before = 0;
            want.wait = AGAIN.0;
        }
    }

    /// A session ended.
    pub fn peer_down(&mut self, peer: &PeerId) {
        self.neighbours.remove(peer);
        for want in self.wants.values_mut().filter(|want| want.in_flight == Some(*peer)) {
            want.in_flight = None;
        }
    }

    /// Somebody asks for these now: they are tried at once.
    pub fn hurry(&mut self, media: &Media) {
        if let Some(want) = self.wants.get_mut(&media.id) {
            want.asked.clear();
            want.not_before = 0;
            want.wait = AGAIN.0;
        }
    }

    /// A request ended; what of it came is [`MediaFetches::done`] before, the rest `from` has not.
    pub fn ended(&mut self, now: Millis, fetch: &MediaFetch) {
        if let Some(load) = self.neighbours.get_mut(&fetch.from) {
            *load = load.saturating_sub(1);
        }
        for media in &fetch.media {
            let Some(want) = self.wants.get_mut(&media.id).filter(|want| want.in_flight == Some(fetch.from)) else {
                continue;
            };
            want.in_flight = None;
            want.asked.insert(fetch.from);
            if self.neighbours.keys().all(|peer| want.asked.contains(peer)) {
                want.asked.clear();
                want.not_before = now + want.wait;
                want.wait = (want.wait * 2).min(AGAIN.1);
            }
        }
    }

    /// What to ask for now. Each is to be followed by [`MediaFetches::ended`].
    pub fn next(&mut self, now: Millis) -> Vec<MediaFetch> {
        let mut fetches: Vec<MediaFetch> = Vec::new();
        // The last request begun for a neighbour and a commit, and its bytes.
        let mut open: BTreeMap<(PeerId, ObjectId), (usize, u64)> = BTreeMap::new();
        for (id, want) in &mut self.wants {
            if want.in_flight.is_some() || want.not_before > now {
                continue;
            }
            want.not_before = 0;
            let joins = |peer: &PeerId| {
                let (at, bytes) = *open.get(&(*peer, want.commit))?;
                let fits = bytes + want.size <= limits::MEDIA_TOGETHER;
                (fits && fetches[at].media.len() < limits::MEDIA_FILES).then_some(at)
            };
            let free = |peer: &&PeerId| {
                let load = self.neighbours.get(*peer).copied().unwrap_or_default();
                !want.asked.contains(*peer) && (load < limits::MEDIA_OF_ONE || joins(peer).is_some())
            };
            let load = |peer: &PeerId| self.neighbours.get(peer).copied().unwrap_or_default();
            let rank = |peer: &&PeerId| (**peer != want.author, joins(peer).is_none(), load(peer), **peer);
            let Some(peer) = self.neighbours.keys().filter(free).min_by_key(rank).copied() else { continue };
            let at = match joins(&peer) {
                Some(at) => at,
                None => {
                    *self.neighbours.entry(peer).or_default() += 1;
                    fetches.push(MediaFetch { from: peer, commit: want.commit, media: Vec::new() });
                    fetches.len() - 1
                }
            };
            open.entry((peer, want.commit))
                .and_modify(|(last, bytes)| {
                    *bytes = if *last == at { *bytes + want.size } else { want.size };
                    *last = at;
                })
                .or_insert((at, want.size));
            want.in_flight = Some(peer);
            fetches[at].media.push(Media { id: *id, size: want.size });
        }
        fetches
    }

    /// When [`MediaFetches::next`] may have more to give though nothing happened.
    pub fn next_wake(&self) -> Option<Millis> {
        if self.neighbours.is_empty() {
            return None;
        }
        let waiting = self.wants.values().filter(|want| want.in_flight.is_none() && want.not_before > 0);
        waiting.map(|want| want.not_before).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId([1; 32]);
    const B: PeerId = PeerId([2; 32]);
    const COMMIT: ObjectId = ObjectId::Sha1([7; 20]);

    fn media(n: u8, size: u64) -> Media {
        Media { id: MediaId([n; 32]), size }
    }

    #[test]
    fn the_author_is_asked_first_then_others_then_all_again_later() {
        let mut fetches = MediaFetches::default();
        fetches.want(media(1, 10), COMMIT, B);
        assert_eq!(fetches.next(0), [], "nobody is here");
        assert!(fetches.is_nowhere(&media(1, 10)));
        fetches.peer_up(A);
        fetches.peer_up(B);
        assert!(!fetches.is_nowhere(&media(1, 10)));
        let of = |from| MediaFetch { from, commit: COMMIT, media: vec![media(1, 10)] };
        assert_eq!(fetches.next(0), [of(B)]);
        assert_eq!(fetches.next(0), [], "it is on its way");
        fetches.ended(0, &of(B));
        assert_eq!(fetches.next(0), [of(A)]);
        fetches.ended(0, &of(A));
        assert!(fetches.is_nowhere(&media(1, 10)) && !fetches.is_busy());
        assert_eq!((fetches.next(0), fetches.next_wake()), (vec![], Some(500)));
        assert_eq!(fetches.next(500), [of(B)]);
        // It goes while it was asked.
        fetches.peer_down(&B);
        assert_eq!(fetches.next(500), [of(A)]);
        fetches.done(&media(1, 10));
        fetches.ended(500, &of(A));
        assert!(fetches.is_empty());
    }

    #[test]
    fn small_files_go_together_and_large_ones_alone() {
        let mut fetches = MediaFetches::default();
        fetches.peer_up(A);
        for n in 1..=3 {
            fetches.want(media(n, 10), COMMIT, A);
        }
        fetches.want(media(4, limits::MEDIA_TOGETHER + 1), COMMIT, A);
        fetches.want(media(5, limits::MEDIA_TOGETHER + 1), COMMIT, A);
        let asked: Vec<usize> = fetches.next(0).iter().map(|fetch| fetch.media.len()).collect();
        assert_eq!(asked, [3, 1], "and no more than two at once of one neighbour");
        assert_eq!(fetches.next(0), []);
    }

    #[test]
    fn requests_are_bounded_and_speak_only_of_what_a_file_has() {
        let request = MediaRequest { commit: COMMIT, wants: vec![(media(1, 10), 9)] };
        assert_eq!(MediaRequest::decode(&request.encode()), Ok(request.clone()));
        let behind = MediaRequest { wants: vec![(media(1, 10), 10)], ..request.clone() };
        assert!(MediaRequest::decode(&behind.encode()).is_err());
        let many = MediaRequest { wants: vec![(media(1, 10), 0); limits::MEDIA_FILES + 1], ..request };
        assert!(MediaRequest::decode(&many.encode()).is_err());
        let reply = MediaReply::Here(vec![true; limits::MEDIA_FILES]);
        assert_eq!(MediaReply::decode(&reply.encode()), Ok(reply));
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_refused_or_read_but_never_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = MediaRequest::decode(&bytes);
            let _ = MediaReply::decode(&bytes);
        }
    }
}
