//! What is served to whom, and in which way: a pure decision.
//!
//! A pack of more than [`limits::SMALL_PACK`] bytes is *heavy*: few of these leave at once, and small ones have room of
//! their own, so that they never wait behind one. When several neighbours want the same heavy pack at once it is made
//! once, and *shared*: each gets other pieces of it, which they pass on to each other ([`Taking`](super::Taking)).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::id::{ObjectId, PeerId};
use crate::limits;

/// What becomes of a stream whose pack turned out to be heavy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// It is sent.
    Send,
    /// Too much is being sent.
    Busy,
    /// It takes part in the shared pack of this number.
    Join(u64),
    /// It takes part in a new shared pack.
    Share {
        /// The number of the shared pack.
        shared: u64,
        /// What everybody who takes part has.
        have: Vec<ObjectId>,
        /// Streams that end now: whom they serve is to ask again, and takes part too.
        instead: Vec<u64>,
    },
}

#[derive(Debug, PartialEq, Eq)]
enum Weight {
    /// Small, or not known yet.
    Small,
    Heavy,
    /// Media files, of whatever size.
    Media,
    /// Nothing is sent on it: it waits for a shared pack, or is about to end.
    Waits,
}

#[derive(Debug)]
struct Stream {
    peer: PeerId,
    want: BTreeSet<ObjectId>,
    have: BTreeSet<ObjectId>,
    weight: Weight,
}

/// A pack that is made once for several.
#[derive(Debug)]
struct Shared {
    want: BTreeSet<ObjectId>,
    have: BTreeSet<ObjectId>,
}

impl Shared {
    /// Does it bring what this stream asks for, and little that its peer has already?
    fn suits(&self, stream: &Stream) -> bool {
        self.want == stream.want
            && self.have.is_subset(&stream.have)
            && (!self.have.is_empty() || stream.have.is_empty())
    }
}

/// All that is being served.
#[derive(Debug, Default)]
pub struct Serving {
    streams: BTreeMap<u64, Stream>,
    shared: BTreeMap<u64, Shared>,
    /// The last wants of which no shared pack could be made: it is not tried again while those who want it are served.
    unshared: VecDeque<BTreeSet<ObjectId>>,
    /// Commits of which neighbours said that they serve them, the latest last.
    told: BTreeMap<PeerId, VecDeque<ObjectId>>,
    next: u64,
}

impl Serving {
    /// A neighbour asks for objects; the number of its stream, or `None` where too many are served.
    pub fn begin(&mut self, peer: PeerId, want: &[ObjectId], have: &[ObjectId]) -> Option<u64> {
        let (want, have) = (want.iter().copied().collect(), have.iter().copied().collect());
        self.open(Stream { peer, want, have, weight: Weight::Small }, limits::SERVED_STREAMS)
    }

    /// A neighbour asks for media files; the number of its stream, or `None` where too many are served.
    pub fn begin_media(&mut self, peer: PeerId) -> Option<u64> {
        let (want, have) = (BTreeSet::new(), BTreeSet::new());
        self.open(Stream { peer, want, have, weight: Weight::Media }, limits::MEDIA_STREAMS)
    }

    /// A stream, where there are fewer than so many of its weight.
    fn open(&mut self, stream: Stream, most: usize) -> Option<u64> {
        let like_it = self.streams.values().filter(|other| other.weight == stream.weight).count();
        let to_it = self.streams.values().filter(|other| other.peer == stream.peer).count();
        if like_it >= most || to_it >= limits::SERVED_TO_ONE {
            return None;
        }
        self.next += 1;
        self.streams.insert(self.next, stream);
        Some(self.next)
    }

    /// The pack for this stream is heavy; `sent` tells how many bytes have left on another stream.
    pub fn weigh(&mut self, number: u64, sent: impl Fn(u64) -> u64) -> Plan {
        let Some(stream) = self.streams.get(&number) else { return Plan::Busy };
        let joins = self.shared.iter().find(|(_, shared)| shared.suits(stream)).map(|(shared, _)| *shared);
        let share = if joins.is_none() { self.share(stream, sent) } else { None };
        let heavy = |other: &&Stream| other.weight == Weight::Heavy;
        let of_it = self.streams.values().filter(heavy).filter(|other| other.peer == stream.peer).count();
        let sends = self.streams.values().filter(heavy).count() < limits::HEAVY_STREAMS && of_it < limits::HEAVY_TO_ONE;
        let (plan, weight) = match (joins, share) {
            (Some(shared), _) => (Plan::Join(shared), Weight::Waits),
            (None, Some((shared, instead))) => {
                self.next += 1;
                let have = shared.have.iter().copied().collect();
                for instead in &instead {
                    self.set(*instead, Weight::Waits);
                }
                self.shared.insert(self.next, shared);
                (Plan::Share { shared: self.next, have, instead }, Weight::Waits)
            }
            (None, None) if sends => (Plan::Send, Weight::Heavy),
            (None, None) => (Plan::Busy, Weight::Waits),
        };
        self.set(number, weight);
        plan
    }

    fn set(&mut self, number: u64, weight: Weight) {
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.weight = weight;
        }
    }

    /// The pack that this stream and others would share, and those others, which have not come far.
    fn share(&self, stream: &Stream, sent: impl Fn(u64) -> u64) -> Option<(Shared, Vec<u64>)> {
        if self.shared.len() >= limits::SHARED_PACKS || self.unshared.contains(&stream.want) {
            return None;
        }
        let same = |other: &Stream| {
            let common = !other.have.is_disjoint(&stream.have) || (other.have.is_empty() && stream.have.is_empty());
            other.weight == Weight::Heavy && other.peer != stream.peer && other.want == stream.want && common
        };
        let mut have = stream.have.clone();
        let mut instead = Vec::new();
        for (number, other) in self.streams.iter().filter(|(_, other)| same(other)) {
            let both: BTreeSet<ObjectId> = have.intersection(&other.have).copied().collect();
            if sent(*number) < limits::SHARED_INSTEAD && (!both.is_empty() || have.is_empty()) {
                have = both;
                instead.push(*number);
            }
        }
        (!instead.is_empty()).then(|| (Shared { want: stream.want.clone(), have }, instead))
    }

    /// A stream is done.
    pub fn end(&mut self, number: u64) {
        self.streams.remove(&number);
    }

    /// This shared pack is no more.
    pub fn unshare(&mut self, shared: u64) {
        self.shared.remove(&shared);
    }

    /// This shared pack could not be made: who waits for it is served in another way, or later.
    pub fn cannot_share(&mut self, shared: u64) {
        let Some(Shared { want, .. }) = self.shared.remove(&shared) else { return };
        self.unshared.push_back(want);
        if self.unshared.len() > limits::UNSHARED {
            self.unshared.pop_front();
        }
    }

    /// Is nothing served?
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty() && self.shared.is_empty()
    }

    /// A neighbour says that it serves these commits.
    pub fn told(&mut self, peer: PeerId, commits: &[ObjectId]) {
        let told = self.told.entry(peer).or_default();
        told.extend(commits);
        let over = told.len().saturating_sub(limits::SERVED_TOLD);
        told.drain(..over);
    }

    /// A session ended.
    pub fn peer_down(&mut self, peer: &PeerId) {
        self.told.remove(peer);
    }

    /// Who else has all of these, as far as they told: for one who finds no room here.
    pub fn elsewhere(&self, asker: &PeerId, want: &[ObjectId]) -> Vec<PeerId> {
        let has = |told: &VecDeque<ObjectId>| want.iter().all(|commit| told.contains(commit));
        let others = self.told.iter().filter(|(peer, told)| *peer != asker && has(told));
        others.map(|(peer, _)| *peer).take(limits::BUSY_PEERS).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEERS: [PeerId; 9] = {
        let mut peers = [PeerId([0; 32]); 9];
        let mut at = 0;
        while at < peers.len() {
            peers[at] = PeerId([at as u8 + 1; 32]);
            at += 1;
        }
        peers
    };

    fn id(n: u8) -> ObjectId {
        ObjectId::Sha1([n; 20])
    }

    /// A stream whose pack is heavy.
    fn heavy(serving: &mut Serving, peer: PeerId, want: u8, have: &[u8]) -> (u64, Plan) {
        let have: Vec<ObjectId> = have.iter().map(|n| id(*n)).collect();
        let number = serving.begin(peer, &[id(want)], &have).expect("there is room");
        (number, serving.weigh(number, |_| 0))
    }

    #[test]
    fn small_streams_have_room_however_many_heavy_ones_are_served() {
        let mut serving = Serving::default();
        for (at, peer) in (0..).zip(&PEERS[..limits::HEAVY_STREAMS]) {
            assert_eq!(heavy(&mut serving, *peer, at, &[]).1, Plan::Send);
        }
        let (busy, plan) = heavy(&mut serving, PEERS[5], 99, &[]);
        assert_eq!(plan, Plan::Busy);
        for peer in &PEERS[..limits::SERVED_STREAMS] {
            assert!(serving.begin(*peer, &[id(50)], &[]).is_some());
        }
        assert_eq!(serving.begin(PEERS[6], &[id(50)], &[]), None);
        let media = PEERS.iter().filter(|peer| serving.begin_media(**peer).is_some()).count();
        assert_eq!(media, limits::MEDIA_STREAMS, "media take no room from commits");
        serving.end(busy);
        serving.end(1);
        assert!(matches!(serving.streams.get(&2), Some(Stream { weight: Weight::Heavy, .. })));
    }

    #[test]
    fn one_neighbour_cannot_take_all_room() {
        let mut serving = Serving::default();
        let plans: Vec<Plan> = (0..3).map(|n| heavy(&mut serving, PEERS[0], n, &[]).1).collect();
        assert_eq!(plans, [Plan::Send, Plan::Send, Plan::Busy]);
        let more = std::iter::from_fn(|| serving.begin(PEERS[0], &[id(9)], &[])).count();
        assert_eq!(more, limits::SERVED_TO_ONE - 3);
        // The same again by the same neighbour is no reason to share.
        assert_eq!(heavy(&mut serving, PEERS[1], 20, &[]).1, Plan::Send);
    }

    #[test]
    fn the_same_for_several_is_made_once_and_those_who_began_join() {
        let mut serving = Serving::default();
        let (first, plan) = heavy(&mut serving, PEERS[0], 1, &[7, 8]);
        assert_eq!(plan, Plan::Send);
        let (_, plan) = heavy(&mut serving, PEERS[1], 1, &[7, 9]);
        let Plan::Share { shared, have, instead } = plan else { panic!("{plan:?}") };
        assert_eq!((have, instead), (vec![id(7)], vec![first]));
        serving.end(first);
        // The first asks again, a third comes, and one who has nothing in common with them.
        assert_eq!(heavy(&mut serving, PEERS[0], 1, &[7, 8]).1, Plan::Join(shared));
        assert_eq!(heavy(&mut serving, PEERS[2], 1, &[7]).1, Plan::Join(shared));
        assert_eq!(heavy(&mut serving, PEERS[3], 1, &[5]).1, Plan::Send);
        serving.unshare(shared);
        assert_eq!(heavy(&mut serving, PEERS[4], 1, &[]).1, Plan::Send, "it would be sent less that way");
    }

    #[test]
    fn a_stream_that_has_come_far_goes_on() {
        let mut serving = Serving::default();
        heavy(&mut serving, PEERS[0], 1, &[]);
        let number = serving.begin(PEERS[1], &[id(1)], &[]).expect("room");
        assert_eq!(serving.weigh(number, |_| limits::SHARED_INSTEAD), Plan::Send);
        let (_, plan) = heavy(&mut serving, PEERS[2], 1, &[]);
        assert!(matches!(plan, Plan::Share { .. }), "{plan:?}");
    }

    #[test]
    fn what_cannot_be_shared_is_sent_to_a_few_and_the_others_hear_who_has_it() {
        let mut serving = Serving::default();
        heavy(&mut serving, PEERS[0], 1, &[]);
        let (_, plan) = heavy(&mut serving, PEERS[1], 1, &[]);
        let Plan::Share { shared, .. } = plan else { panic!("{plan:?}") };
        serving.cannot_share(shared);
        // Everybody hears that there is no room, and comes again.
        (1..=serving.next).for_each(|number| serving.end(number));
        for peer in &PEERS[2..2 + limits::HEAVY_STREAMS] {
            assert_eq!(heavy(&mut serving, *peer, 1, &[]).1, Plan::Send);
        }
        assert_eq!(heavy(&mut serving, PEERS[8], 1, &[]).1, Plan::Busy);
        serving.told(PEERS[3], &[id(2), id(1)]);
        serving.told(PEERS[4], &[id(2)]);
        serving.told(PEERS[8], &[id(1)]);
        assert_eq!(serving.elsewhere(&PEERS[8], &[id(1)]), [PEERS[3]]);
        serving.peer_down(&PEERS[3]);
        assert_eq!(serving.elsewhere(&PEERS[8], &[id(1)]), []);
        let many: Vec<ObjectId> = (0..=255).cycle().take(10_000).map(id).collect();
        serving.told(PEERS[4], &many);
        assert_eq!(serving.told[&PEERS[4]].len(), limits::SERVED_TOLD);
        for number in 1..=serving.next {
            serving.end(number);
        }
        assert!(serving.is_idle());
    }
}
