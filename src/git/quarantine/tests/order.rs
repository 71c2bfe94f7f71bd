//! Packs in any order: objects that can be built as they come, and others.

use gix_pack::data::entry::Header;

use super::*;

/// A delta that copies the first 100 bytes of a base, and puts a text behind them.
fn delta(base: usize, text: &[u8]) -> Vec<u8> {
    let size = |mut size: usize| {
        let mut bytes = Vec::new();
        while size > 0x7f {
            bytes.push((size & 0x7f) as u8 | 0x80);
            size >>= 7;
        }
        bytes.push(size as u8);
        bytes
    };
    [size(base), size(100 + text.len()), vec![0x90, 100, text.len() as u8], text.to_vec()].concat()
}

/// A pack in the making.
#[derive(Default)]
struct Made {
    entries: Vec<u8>,
    ids: Vec<ObjectId>,
}

impl Made {
    /// Adds an entry that stands for `object`; gives where it stands.
    fn add(&mut self, header: &Header, data: &[u8], object: &[u8]) -> u64 {
        let at = self.entries.len() as u64;
        self.ids.push(id_of(Kind::Blob, object));
        self.entries.extend(raw_entry(header, data));
        at
    }

    fn whole(&mut self, object: &[u8]) -> u64 {
        self.add(&Header::Blob, object, object)
    }

    /// What a delta makes of the object that stands there.
    fn built_on(&mut self, at: u64, base: &[u8], text: &[u8]) -> (u64, Vec<u8>) {
        let object = [&base[..100], text].concat();
        let base_distance = self.entries.len() as u64 - at;
        (self.add(&Header::OfsDelta { base_distance }, &delta(base.len(), text), &object), object)
    }

    /// The pack of these, of a tree that names them, and of a commit of that.
    fn pack(mut self) -> (Vec<u8>, ObjectId) {
        let names: Vec<String> = (0..self.ids.len()).map(|at| format!("f{at:06}")).collect();
        let files: Vec<_> = names.iter().zip(&self.ids).map(|(name, id)| ("100644", name.as_str(), *id)).collect();
        let tree = tree_of(&files);
        let commit = commit_of(id_of(Kind::Tree, &tree), &[]);
        self.entries.extend(raw_entry(&Header::Tree, &tree));
        self.entries.extend(raw_entry(&Header::Commit, &commit));
        (raw_pack(self.ids.len() + 2, &self.entries), id_of(Kind::Commit, &commit))
    }
}

#[test]
fn an_object_may_be_built_on_one_of_long_ago_or_on_a_large_one() {
    // With few objects and with many, so that nobody and several have them in memory.
    for between in [3, 900] {
        let mut made = Made::default();
        let base: Vec<u8> = (0..5_000u32).flat_map(u32::to_le_bytes).collect();
        let far = made.whole(&base);
        for at in 0..between {
            made.whole(&[format!("{at} ").as_bytes(), &vec![b'x'; 64 << 10]].concat());
        }
        let (next, object) = made.built_on(far, &base, b"one");
        made.built_on(next, &object, b"two");
        made.built_on(far, &base, b"three");
        let large = vec![b'y'; 5 << 20];
        let at = made.whole(&large);
        let (next, object) = made.built_on(at, &large, b"four");
        made.built_on(next, &object, b"five");
        let (pack, tip) = made.pack();
        let to = Fixture::new();
        take(&to.repo(), &pack, &[tip], &[])
            .unwrap_or_else(|why| panic!("{between}: {why}"))
            .adopt()
            .unwrap()
            .release();
        to.git(&["update-ref", "refs/heads/main", &tip.to_string()]);
        to.fsck();
        assert_eq!(to.git(&["cat-file", "blob", &format!("main:f{:06}", between + 2)]).as_bytes()[100..], *b"two");
    }
}

#[test]
fn what_an_object_says_wrongly_of_itself_is_seen_wherever_it_stands() {
    let base: Vec<u8> = (0..5_000u32).flat_map(u32::to_le_bytes).collect();
    for between in [0, 900] {
        for what in ["it is too short", "its base is another", "it copies too much"] {
            let mut made = Made::default();
            made.whole(&base);
            for at in 0..between {
                made.whole(&[format!("{at} ").as_bytes(), &vec![b'x'; 64 << 10]].concat());
            }
            let against = Header::OfsDelta { base_distance: made.entries.len() as u64 };
            let mut delta = delta(base.len(), b"a");
            let entry = match what {
                "it is too short" => {
                    let mut entry = raw_entry(&Header::Blob, b"short");
                    // One byte more than there is.
                    entry[0] += 1;
                    entry
                }
                "its base is another" => {
                    delta[0] ^= 1;
                    raw_entry(&against, &delta)
                }
                _ => {
                    // From the last byte of the base on.
                    let at = delta.iter().position(|byte| *byte == 0x90).expect("it copies");
                    delta.splice(at..=at, [0x93, 0x1f, 0x4e]);
                    raw_entry(&against, &delta)
                }
            };
            made.ids.push(id_of(Kind::Blob, b"short"));
            made.entries.extend(entry);
            let (pack, tip) = made.pack();
            let to = Fixture::new();
            let result = take(&to.repo(), &pack, &[tip], &[]);
            assert!(matches!(result, Err(PackRefused::BadPack(_))), "{what}, {between}: {:?}", result.err());
            untouched(&to, &[]);
        }
    }
}
