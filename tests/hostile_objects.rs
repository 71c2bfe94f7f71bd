//! A member that serves bad objects, or asks for what is not meant for it, is refused, and nothing of it stays.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

mod common {
    pub mod hostile;
}

use common::hostile::{Clone, Raw, Stage, body, commit, git, object, offer, pack, rev, run, until};
use lansync::id::{Media, ObjectId};
use lansync::quic::CloseCode;
use lansync::sync::{MediaReply, MediaRequest};

/// What Mallory serves instead of her commit: how she makes it, and what Ana says to it.
async fn refuses_pack(make: impl FnOnce(&Raw) -> (ObjectId, Vec<u8>), why: &str) {
    let mut stage = Stage::new().await;
    let before = rev(&stage.ana.dir, "main");
    let (tip, bytes) = make(&stage.mallory);
    stage.session.serve(body(&bytes));
    let revision = stage.mallory.write(offer("evil", tip), vec![]);
    stage.session.send(&[&revision]).await;
    let notice = stage.ana.told("problem", "objects from mallory were refused").await;
    assert!(notice.text.contains(why), "{}", notice.text);
    let closed = stage.session.closed().await;
    assert!(closed.why.contains("its pack was refused"), "{}", closed.why);
    // Nothing of it stays, not even beside the objects.
    let quarantine = stage.ana.dir.join(".git/lansync/quarantine");
    let left = std::fs::read_dir(&quarantine).map_or(0, Iterator::count);
    assert_eq!(left, 0, "in {}", quarantine.display());
    let there = stage.ana.node.repo().has(&tip);
    assert!(!there);
    assert_eq!(rev(&stage.ana.dir, "main"), before);
    stage.go_on().await;
}

/// Her commit on a tree of her own making.
fn on_tree(mallory: &Raw, tree: ObjectId) -> ObjectId {
    let parent = rev(&mallory.dir, "main");
    let who = "Mallory <mallory@example.org> 1700000000 +0000";
    let text = format!("tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nHarmless\n");
    object(&mallory.dir, "commit", text.as_bytes())
}

fn entry(mode: &str, name: &str, id: ObjectId) -> Vec<u8> {
    [format!("{mode} {name}\0").as_bytes(), id.as_bytes()].concat()
}

/// A commit of hers with one new file, as its objects.
fn ordinary(mallory: &Raw) -> [ObjectId; 3] {
    let blob = object(&mallory.dir, "blob", b"harmless\n");
    let tree = object(&mallory.dir, "tree", &entry("100644", "file", blob));
    [on_tree(mallory, tree), tree, blob]
}

#[test]
fn a_pack_with_another_object_than_was_asked_for() {
    run(refuses_pack(
        |mallory| {
            let [tip, tree, blob] = ordinary(mallory);
            let other = on_tree(mallory, rev(&mallory.dir, "main^{tree}"));
            assert_ne!(other, tip);
            (tip, pack(&mallory.dir, &[other, tree, blob]))
        },
        "is missing",
    ));
}

#[test]
fn a_pack_with_a_missing_blob() {
    run(refuses_pack(
        |mallory| {
            let [tip, tree, _] = ordinary(mallory);
            (tip, pack(&mallory.dir, &[tip, tree]))
        },
        "is missing",
    ));
}

#[test]
fn a_pack_with_a_blob_where_a_tree_should_be() {
    run(refuses_pack(
        |mallory| {
            let blob = object(&mallory.dir, "blob", b"not a tree\n");
            let tip = on_tree(mallory, blob);
            (tip, pack(&mallory.dir, &[tip, blob]))
        },
        "where a tree should be",
    ));
}

#[test]
fn a_pack_with_trailing_bytes() {
    run(refuses_pack(
        |mallory| {
            let ids = ordinary(mallory);
            (ids[0], [&pack(&mallory.dir, &ids)[..], b"and more"].concat())
        },
        "bytes follow the pack",
    ));
}

#[test]
fn a_truncated_pack() {
    run(refuses_pack(
        |mallory| {
            let ids = ordinary(mallory);
            let pack = pack(&mallory.dir, &ids);
            (ids[0], pack[..pack.len() - 30].to_vec())
        },
        "the pack is broken",
    ));
}

#[test]
fn a_pack_with_a_flipped_bit() {
    run(refuses_pack(
        |mallory| {
            let ids = ordinary(mallory);
            let mut pack = pack(&mallory.dir, &ids);
            let middle = pack.len() / 2;
            pack[middle] ^= 4;
            (ids[0], pack)
        },
        "refused",
    ));
}

#[test]
fn a_pack_that_is_none() {
    run(refuses_pack(|mallory| (ordinary(mallory)[0], b"<html>502 Bad Gateway</html>".to_vec()), "the pack is broken"));
}

#[test]
fn a_tree_with_dot_git() {
    run(refuses_pack(
        |mallory| {
            let hook = object(&mallory.dir, "blob", b"#!/bin/sh\nid\n");
            let inner = object(&mallory.dir, "tree", &entry("100755", "post-checkout", hook));
            let tree = object(&mallory.dir, "tree", &entry("40000", ".git", inner));
            let tip = on_tree(mallory, tree);
            (tip, pack(&mallory.dir, &[tip, tree, inner, hook]))
        },
        "a name stands for .git",
    ));
}

#[test]
fn a_tree_that_leads_out_of_the_repository() {
    run(refuses_pack(
        |mallory| {
            let blob = object(&mallory.dir, "blob", b"x\n");
            let inner = object(&mallory.dir, "tree", &entry("100644", "x", blob));
            let tree = object(&mallory.dir, "tree", &entry("40000", "..", inner));
            let tip = on_tree(mallory, tree);
            (tip, pack(&mallory.dir, &[tip, tree, inner, blob]))
        },
        "a name is . or ..",
    ));
}

#[test]
fn a_stream_that_breaks_off_is_nobodys_bad_pack_and_others_are_asked() {
    run(async {
        let mut stage = Stage::new().await;
        let ids = ordinary(&stage.mallory);
        let bytes = pack(&stage.mallory.dir, &ids);
        // No end after it.
        stage.session.serve(vec![bytes[..bytes.len() - 30].to_vec()]);
        let revision = stage.mallory.write(offer("half", ids[0]), vec![]);
        stage.session.send(&[&revision]).await;
        stage.bo.told("proposal", "mallory offers mallory/half").await;
        stage.go_on().await;
        assert!(stage.session.connection.close_reason().is_none(), "her session goes on");
        assert!(stage.ana.notices().iter().all(|notice| notice.notice != "problem"));
    });
}

/// A media file of LFS in somebody's repository, and the text of its pointer.
fn media(clone: &Clone, text: &[u8]) -> (Media, Vec<u8>) {
    let path = clone.dir.join(".git/media");
    std::fs::write(&path, text).unwrap();
    let sum = std::process::Command::new("sha256sum").arg(&path).output().expect("sha256sum runs");
    let name = String::from_utf8(sum.stdout).unwrap()[..64].to_owned();
    let directory = clone.dir.join(".git/lfs/objects").join(&name[..2]).join(&name[2..4]);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::rename(&path, directory.join(&name)).unwrap();
    let size = text.len() as u64;
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{name}\nsize {size}\n");
    (Media { id: name.parse().unwrap(), size }, pointer.into_bytes())
}

#[test]
fn media_is_served_only_for_commits_that_are_and_that_refer_to_it() {
    run(async {
        let Stage { ana, session, .. } = Stage::new().await;
        let (public, pointer) = media(&ana, b"what everybody may have");
        let (private, secret) = media(&ana, b"what nobody was offered");
        let dir = &ana.dir;
        git(dir, &["switch", "-q", "-c", "private/diary"]);
        std::fs::write(dir.join("diary.bin"), secret).unwrap();
        let diary = commit(dir, ".gitattributes", "*.bin filter=lfs -text\n");
        git(dir, &["switch", "-q", "-c", "film", "main"]);
        std::fs::write(dir.join("film.bin"), pointer).unwrap();
        let film = commit(dir, ".gitattributes", "*.bin filter=lfs -text\n");
        until("it is offered", || async { !ana.status().await.open.is_empty() }).await;

        let ask = |commit, media| session.media(commit, vec![(media, 0)]);
        assert_eq!(ask(film, public).await, MediaReply::Here(vec![true]));
        for (commit, media) in [
            (film, private),
            (diary, private),
            (diary, public),
            (rev(dir, "main"), public),
            (ObjectId::Sha1([9; 20]), public),
            // The length is a part of what a pointer says.
            (film, Media { size: 5, ..public }),
        ] {
            assert_eq!(ask(commit, media).await, MediaReply::NotHere, "{commit} {media:?}");
        }
    });
}

#[test]
fn a_request_for_what_lies_behind_the_end_of_a_file_ends_the_session() {
    run(async {
        let Stage { ana, session, .. } = Stage::new().await;
        let (one, _) = media(&ana, b"text");
        let request = MediaRequest { commit: rev(&ana.dir, "main"), wants: vec![(one, 4)] };
        let (mut send, _recv) = session.connection.open_bi().await.unwrap();
        send.write_frame(&request.encode()).await.unwrap();
        assert_eq!(session.closed().await.code, Some(CloseCode::Protocol));
    });
}
