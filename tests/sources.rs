//! What takes long to come from one comes from all who have it, each sending another part, and nobody can spoil it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use std::fs;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::netns::{Host, Lan};
use common::{LONG, Person, content, lan_or_skip, wait_for};
use hostile::{Clone, Raw, Session, git, keys, offer, rev, run, until, until_within};
use lansync::eventlog::Role;
use lansync::git::{Form, Portion, Repository, Skip};
use lansync::id::ObjectId;
use lansync::limits;
use lansync::sync::{FetchReply, FetchRequest, Message, PackPortion};

/// How long a clone may take on a machine under load.
const CLONE: Duration = Duration::from_secs(120);

/// Bytes of the files of the project.
const SIZE: u64 = 16 << 20;

/// Ana and Bo have a project of some size.
fn two_have_it<'a>(on_ana: &'a Host<'_>, on_bo: &'a Host<'_>) -> (Person<'a>, Person<'a>) {
    let (ana, bo) = (Person::on(on_ana, "ana"), Person::on(on_bo, "bo"));
    ana.repo("payroll");
    for file in 0..SIZE >> 16 {
        let dir = ana.dir().join(format!("d{}", file % 10));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("file-{file}")), content(file + 1, 1 << 16)).unwrap();
    }
    let _ = ana.git(&["add", "-A"]);
    ana.commit("pay.txt", "one\n", "Many files");
    let _ = ana.git(&["repack", "-adfq"]);
    let _ = ana.up();
    bo.join(&ana, "payroll", "contributor");
    wait_for("main is checked out", LONG, || bo.try_rev("main") == ana.try_rev("main"));
    (ana, bo)
}

/// How many bytes left each of the two while somebody cloned; `meanwhile` is done again and again until it says that it is done.
fn cloned(lan: &Lan, ana: &Person<'_>, hosts: [&Host<'_>; 2], mut meanwhile: impl FnMut([u64; 2]) -> bool) -> [u64; 2] {
    let on_cy = lan.host("cy");
    let cy = Person::on(&on_cy, "cy");
    let before = hosts.map(Host::sent);
    let sent = || [0, 1].map(|at| hosts[at].sent() - before[at]);
    let clone = cy.start(&["--yes", "clone", "payroll"]);
    ana.accept(&clone, "contributor");
    wait_for("that happens", CLONE, || meanwhile(sent()));
    let _ = clone.wait().ok();
    cy.go("payroll");
    let main = ana.rev("main");
    wait_for("main is checked out", CLONE, || cy.try_rev("main").as_ref() == Some(&main));
    wait_for("with its files", LONG, || cy.git(&["status", "--porcelain"]).is_empty());
    let sent = sent();
    println!("{sent:?} bytes of {SIZE}");
    if std::env::var_os("LANSYNC_SHOW").is_some() {
        println!("{}", cy.service_log());
    }
    cy.fsck();
    assert!(fs::read_dir(cy.dir().join(".git/lansync/quarantine")).map_or(0, Iterator::count) == 0);
    assert!(cy.status()["problems"].as_array().is_none_or(Vec::is_empty), "{}", cy.status());
    sent
}

/// Has their cables carry so many Mbit/s.
fn shaped(hosts: [(&Host<'_>, u32); 2]) -> bool {
    hosts.into_iter().all(|(host, mbit)| host.shape(mbit).inspect_err(|why| println!("skipped: {why}")).is_ok())
}

#[test]
fn a_clone_that_takes_long_comes_from_both_who_have_it() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, _bo) = two_have_it(&on_ana, &on_bo);
    if !shaped([(&on_ana, 16), (&on_bo, 16)]) {
        return;
    }
    let sent = cloned(&lan, &ana, [&on_ana, &on_bo], |_| true);
    assert!(sent.iter().all(|sent| *sent > SIZE / 4), "{sent:?}");
    assert!(sent.iter().sum::<u64>() < SIZE * 110 / 100, "{sent:?}");
}

#[test]
fn one_that_is_slow_is_not_waited_for() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, _bo) = two_have_it(&on_ana, &on_bo);
    if !shaped([(&on_ana, 24), (&on_bo, 2)]) {
        return;
    }
    let sent = cloned(&lan, &ana, [&on_ana, &on_bo], |_| true);
    assert!(sent[0] > SIZE / 2, "{sent:?}");
    assert!(sent.iter().sum::<u64>() < SIZE * 120 / 100, "{sent:?}");
}

#[test]
fn one_that_goes_while_it_sends_costs_little() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = two_have_it(&on_ana, &on_bo);
    if !shaped([(&on_ana, 16), (&on_bo, 16)]) {
        return;
    }
    let sent = cloned(&lan, &ana, [&on_ana, &on_bo], |[_, sent]| {
        let sends = sent > 2 << 20;
        if sends {
            bo.kill();
        }
        sends
    });
    assert!(sent.iter().sum::<u64>() < SIZE * 115 / 100, "{sent:?}");
}

/// What somebody was asked for, and how they answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    sources: u8,
    skip: usize,
}

/// How somebody answers who sends slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Honest,
    /// Names an object that is not in the portion.
    Names,
    /// Leaves half of it out where something is to be left out.
    Leaves,
}

/// Sends packs as slowly as a line of 4 Mbit/s does.
fn serve(session: &Session, repo: Repository, way: Way, asked: Arc<Mutex<Vec<Asked>>>) {
    let connection = session.connection.clone();
    tokio::spawn(async move {
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            let Ok(Some(request)) = recv.read_frame(limits::FRAME_BYTES).await else { return };
            let request = FetchRequest::decode(&request).unwrap();
            asked.lock().unwrap().push(Asked { sources: request.sources, skip: request.skip as usize });
            let _ = send.write_frame(&FetchReply::Pack.encode()).await;
            let mut skip = Vec::new();
            while skip.len() < request.skip as usize {
                let Ok(Some(frame)) = recv.read_frame(limits::FRAME_BYTES).await else { return };
                skip.extend(frame);
            }
            let skip = Skip::decode(&skip).unwrap();
            let sources = match way {
                Way::Leaves if !skip.is_empty() => 2,
                _ => request.sources,
            };
            let (pack, said) = portion(&repo, &request, skip, sources);
            let mut frames = Vec::new();
            if request.sources > 1 {
                let mut names = said.as_ref().map_or_else(Skip::default, |said| said.names.clone());
                if way == Way::Names {
                    names.extend(&Skip::decode(&[5]).unwrap());
                }
                let names = names.encode();
                let objects = said.map_or(0, |said| said.objects);
                frames.push(PackPortion { objects, names: names.len() as u32 }.encode());
                frames.push(names);
            }
            frames.extend(pack.chunks(50_000).map(<[u8]>::to_vec));
            frames.push(Vec::new());
            for frame in frames {
                // This is no waiting: it is the slow line itself, which a test within one process has no other way to make.
                tokio::time::sleep(Duration::from_micros(frame.len() as u64 * 2)).await;
                if send.write_frame(&frame).await.is_err() {
                    break;
                }
            }
            let _ = send.finish().await;
        }
    });
}

fn portion(repo: &Repository, request: &FetchRequest, skip: Skip, sources: u8) -> (Vec<u8>, Option<Portion>) {
    let (mut pack, mut said) = (Vec::new(), None);
    let mut tell = |portion| said = Some(portion);
    let (want, have, stop) = (&request.want, &request.have, AtomicBool::new(false));
    repo.write_portion(want, have, skip, sources, &mut tell, &mut pack, Form::Trimmed, &stop).unwrap();
    (pack, said)
}

/// Mallory offers what takes long to come, and answers in one way; Eve has it too and answers in another. All of it comes. Gives what
/// each was asked for, and who was blamed.
async fn from_two(ways: [Way; 2]) -> ([Vec<Asked>; 2], Vec<String>) {
    let (mallory, eve) = (keys("mallory", 2), keys("eve", 3));
    let ana = Clone::found(&keys("ana", 1), &[(&mallory, Role::Contributor), (&eve, Role::Contributor)]).await;
    let (mut mallory, mut eve) = (Raw::new(mallory, &ana), Raw::new(eve, &ana));
    for file in 0..48 {
        fs::write(mallory.dir.join(format!("file-{file}")), content(file + 1, 100_000)).unwrap();
    }
    git(&mallory.dir, &["switch", "-q", "-c", "big"]);
    git(&mallory.dir, &["add", "-A"]);
    git(&mallory.dir, &["commit", "-q", "-m", "Many files"]);
    let tip: ObjectId = rev(&mallory.dir, "big");
    git(&eve.dir, &["fetch", "-q", &mallory.dir.to_string_lossy(), "big"]);
    let asked = [(); 2].map(|()| Arc::new(Mutex::new(Vec::new())));

    let mut first = mallory.joined(&ana).await;
    serve(&first, Repository::discover(&mallory.dir).unwrap(), ways[0], asked[0].clone());
    let mut second = eve.joined(&ana).await;
    serve(&second, Repository::discover(&eve.dir).unwrap(), ways[1], asked[1].clone());
    let revision = mallory.write(offer("big", tip), vec![]);
    first.send(&[&revision]).await;
    until("she asks for it", || async { !asked[0].lock().unwrap().is_empty() }).await;
    second.say(&Message::Objects(vec![tip])).await;
    let name = "refs/remotes/lansync/@mallory/big";
    until_within(CLONE, "all of it is here", || async { ana.dir.join(".git").join(name).exists() }).await;
    assert_eq!(rev(&ana.dir, name), tip);
    ana.fsck();
    let problems = ana.notices().into_iter().filter(|notice| notice.notice == "problem");
    let asked = asked.map(|asked| asked.lock().unwrap().clone());
    println!("{ways:?}: {asked:?}");
    (asked, problems.map(|notice| notice.text).collect())
}

#[test]
fn each_is_asked_for_what_the_other_does_not_send() {
    run(async {
        let ([first, second], problems) = from_two([Way::Honest, Way::Honest]).await;
        assert_eq!(first[0], Asked { sources: 1, skip: 0 });
        assert!(first[1].sources == 2 && first[1].skip > 0, "{first:?}");
        assert!(second[0].sources == 1 && second[0].skip > first[1].skip, "{second:?}");
        assert!(problems.is_empty(), "{problems:?}");
    });
}

#[test]
fn one_that_names_what_it_does_not_send_is_not_asked_again() {
    run(async {
        let ([first, second], problems) = from_two([Way::Names, Way::Honest]).await;
        assert_eq!(first.len(), 2, "{first:?}");
        assert!(second.len() >= 2, "the rest is asked for: {second:?}");
        assert!(problems.len() == 1 && problems[0].contains("mallory"), "{problems:?}");
    });
}

#[test]
fn what_does_not_fit_together_is_asked_for_again_of_one() {
    run(async {
        let ([first, second], problems) = from_two([Way::Honest, Way::Leaves]).await;
        let all: Vec<Asked> = first.iter().chain(&second).copied().collect();
        assert!(all.iter().filter(|asked| **asked == Asked { sources: 1, skip: 0 }).count() >= 2, "{all:?}");
        assert!(problems.is_empty(), "nobody knows whose fault it is: {problems:?}");
    });
}
