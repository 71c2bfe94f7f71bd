//! Rows as the state would write them: as many, as large, and under such keys, without being right.

use std::collections::HashMap;
use std::sync::Arc;

use lansync::eventlog::rows::{EventRow, Layer, Memory, Place, Rows, Table};
use lansync::eventlog::{Event, Payload};
use lansync::id::{EventId, ObjectId, PeerId};

/// What it must remember of earlier events to write rows of later ones.
#[derive(Default)]
pub(crate) struct Fold {
    strands: HashMap<PeerId, u32>,
    /// Where a revision is, and its proposal.
    revisions: HashMap<EventId, (u64, u32)>,
    /// Strand of each event: short ids are enough.
    of: HashMap<[u8; 8], u32>,
    proposals: u32,
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

impl Fold {
    /// The layer of these events.
    pub(crate) fn layer(&mut self, events: Vec<Event>) -> Arc<Layer> {
        let mut rows = Rows::new(Arc::new(Memory::default()));
        for event in events {
            self.event(&mut rows, event);
        }
        rows.begin_append().expect("there were some")
    }

    fn event(&mut self, rows: &mut Rows, event: Event) {
        let body = event.body();
        let next = self.strands.len() as u32;
        let strand = *self.strands.entry(body.author).or_insert(next);
        let (seq, hlc) = (body.seq, body.hlc.bits());
        let place = Place { strand, seq };
        let about = self.say(rows, &event, place);
        let row = EventRow { place, hlc, kind: body.kind.0, past: 101, flags: 3, about, sight: 0 };
        rows.put(Table::Events, event.id().0.to_vec(), postcard::to_stdvec(&row).expect("it encodes"));
        rows.put(Table::Strands, strand.to_be_bytes().to_vec(), join(&[&body.author.0, &event.id().0, &[7; 12]]));
        for id in &body.seen {
            if let Some(other) = self.of.get(&id.0[..8]) {
                let key = join(&[&other.to_be_bytes(), &strand.to_be_bytes()]);
                rows.put(Table::Named, key, seq.to_be_bytes().to_vec());
            }
        }
        let short = event.id().0[..8].try_into().expect("8 of 32");
        self.of.insert(short, strand);
        rows.add(place, Arc::new(event));
    }

    /// Rows of what it says, and the proposal that it speaks of.
    fn say(&mut self, rows: &mut Rows, event: &Event, place: Place) -> u32 {
        let hlc = event.body().hlc.bits();
        let (revision, previous) = match event.payload() {
            Payload::Propose(propose) => (event.id(), propose.previous),
            Payload::Approve(approve) => (approve.revision, None),
            Payload::Reject(reject) => (reject.revision, None),
            Payload::Land(land) => (land.revision.expect("no joins here"), None),
            _ => return 0,
        };
        let known = self.revisions.get(&revision).or_else(|| self.revisions.get(&previous?)).copied();
        let (begun, proposal) = known.unwrap_or_else(|| {
            self.proposals += 1;
            rows.put(Table::Open, join(&[&hlc.to_be_bytes(), &self.proposals.to_be_bytes()]), Vec::new());
            (hlc, self.proposals)
        });
        let number = proposal.to_be_bytes();
        let said = join(&[&number, &hlc.to_be_bytes(), &place.strand.to_be_bytes()]);
        rows.put(Table::Said, said, postcard::to_stdvec(&(event.body().kind.0 as u8, place.seq)).expect("it encodes"));
        rows.put(Table::Proposals, number.to_vec(), vec![place.seq as u8; 24]);
        match event.payload() {
            Payload::Propose(propose) => {
                self.revisions.insert(event.id(), (begun, proposal));
                let tip = commit(&propose.tip);
                let key = join(&[tip, &place.strand.to_be_bytes(), &place.seq.to_be_bytes()]);
                rows.put(Table::Tips, key, number.to_vec());
            }
            Payload::Land(land) => {
                rows.delete(Table::Open, join(&[&begun.to_be_bytes(), &number]));
                let lid = land.content().lid(&event.body().project).0;
                rows.put(Table::Landings, lid.to_vec(), join(&[&land.heads[0].0, &[9; 12]]));
                rows.put(Table::Above, join(&[&land.heads[0].0, &lid]), Vec::new());
                rows.put(Table::Landed, join(&[&[0], commit(&land.new)]), Vec::new());
                rows.put(Table::Landed, join(&[&[0], commit(&land.tip)]), Vec::new());
                rows.put(Table::Single, b"heads".to_vec(), lid.to_vec());
            }
            _ => {}
        }
        proposal
    }
}

fn commit(id: &ObjectId) -> &[u8] {
    id.as_bytes()
}
