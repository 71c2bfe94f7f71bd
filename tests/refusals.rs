//! Whatever is wrong with a repository, a key, a log, a disk or a word that was typed: it is refused in one line, with a
//! line that says what to do, nothing is lost, and it works once it is put right.

// Why a test is skipped must be seen.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod common;
#[path = "common/refusals.rs"]
mod refusals;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use common::{LONG, lan_or_skip, wait_for};
use refusals::{Person, clone_with_words, tree};
use serde_json::{Value, json};

#[test]
fn a_repository_that_cannot_be_shared_is_refused_and_left_as_it_is() {
    let Some(lan) = lan_or_skip() else { return };
    let host = lan.host("ana");
    let ana = Person::new(&host, "ana");
    let good = ana.repo("good");
    ana.commit(&good, "second", "2\n");
    ana.git(&good, &["config", "uploadpack.allowFilter", "true"]);
    let from = format!("file://{}", good.display());
    fs::create_dir(ana.dir.join("none")).expect("a directory");
    ana.git(&ana.dir, &["init", "-q", "--bare", "bare"]);
    ana.git(&ana.dir, &["clone", "-q", "--depth=1", &from, "shallow"]);
    ana.git(&ana.dir, &["clone", "-q", "--filter=blob:none", &from, "partial"]);
    ana.git(&ana.dir, &["init", "-q", "--object-format=sha256", "sha256"]);
    ana.git(&ana.dir, &["init", "-q", "--ref-format=reftable", "reftable"]);
    for name in ["extension", "version"] {
        ana.git(&ana.dir, &["init", "-q", name]);
    }
    ana.git(&ana.dir.join("extension"), &["config", "extensions.tomorrow", "true"]);
    ana.git(&ana.dir.join("extension"), &["config", "core.repositoryFormatVersion", "1"]);
    ana.git(&ana.dir.join("version"), &["config", "core.repositoryFormatVersion", "7"]);
    let cases = [
        ("none", "not-a-repository"),
        ("bare", "bare"),
        ("shallow", "shallow"),
        ("partial", "partial"),
        ("sha256", "sha256"),
        ("reftable", "reftable"),
        ("extension", "extension"),
        ("version", "extension"),
    ];
    for (name, code) in cases {
        let dir = ana.dir.join(name);
        let before = tree(&dir);
        for arguments in [&["up", "-d", "--json"][..], &["status", "--json"], &["log", "--json"]] {
            ana.lansync(&dir, arguments).refused(&[code]);
        }
        // And without --json: two lines.
        let plain = ana.lansync(&dir, &["up", "-d"]);
        let lines: Vec<&str> = plain.err.lines().collect();
        assert!(matches!(lines[..], [error, hint] if error.starts_with("error: ") && hint.starts_with("hint: ")));
        assert_eq!(tree(&dir), before, "{name} was left as it is");
    }
    // Where the hint leads it works: the whole history, and the service never minded.
    ana.git(&ana.dir.join("shallow"), &["fetch", "-q", "--unshallow"]);
    assert_eq!(ana.up(&ana.dir.join("shallow"))["how"], "founded");
    ana.git(&ana.dir.join("reftable"), &["refs", "migrate", "--ref-format=files"]);
    assert_eq!(ana.up(&ana.dir.join("reftable"))["how"], "waiting", "no commit yet");
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGjMF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBA=\n\
                         -----END ENCRYPTED PRIVATE KEY-----\n";
const RSA: &str = "-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAK\n-----END RSA PRIVATE KEY-----\n";

/// Spoils a key file in every way; each time `up` is refused and the file is left.
fn spoil(ana: &mut Person<'_>, repo: &Path, key: &Path) {
    let good = fs::read(key).expect("a key");
    let mut twice = good.clone();
    twice.extend_from_slice(b"and more\n");
    let contents: [(&[u8], &str); 6] = [
        (b"", "key-not-a-key"),
        (b"hello\n", "key-not-a-key"),
        (&good[..60], "key-not-a-key"),
        (&twice, "key-trailing-garbage"),
        (ENCRYPTED.as_bytes(), "key-encrypted"),
        (RSA.as_bytes(), "key-other-algorithm"),
    ];
    for (content, code) in contents {
        fs::write(key, content).expect("written");
        ana.lansync(repo, &["up", "-d", "--json"]).refused(&[code]);
        assert_eq!(fs::read(key).expect("it is there"), content, "{code}: left as it is");
    }
    fs::write(key, &good).expect("written");
    for bits in [0o644, 0o640, 0o620] {
        mode(key, bits);
        let value = ana.lansync(repo, &["up", "-d", "--json"]).refused(&["key-too-open"]);
        assert_eq!(value["hint"], format!("chmod 600 {}", key.display()));
    }
    mode(key, 0o000);
    ana.down();
    ana.plain = true;
    ana.lansync(repo, &["up", "-d", "--json"]).refused(&["key-unreadable"]);
    ana.down();
    ana.plain = false;
    mode(key, 0o600);
    let aside = key.with_extension("aside");
    fs::rename(key, &aside).expect("moved");
    fs::create_dir(key).expect("a directory");
    ana.lansync(repo, &["up", "-d", "--json"]).refused(&["key-not-a-key"]);
    fs::remove_dir(key).expect("still empty");
    fs::rename(&aside, key).expect("moved back");
    // Another owner: only root can give files away.
    match std::os::unix::fs::chown(key, Some(65_534), None) {
        Ok(()) => {
            ana.lansync(repo, &["up", "-d", "--json"]).refused(&["key-not-ours"]);
            std::os::unix::fs::chown(key, Some(0), None).expect("root's again");
        }
        Err(why) => println!("skipped: a key of somebody else: {why}"),
    }
    assert_eq!(fs::read(key).expect("it is there"), good);
}

#[test]
fn a_key_that_is_not_right_is_refused_and_never_replaced() {
    let Some(lan) = lan_or_skip() else { return };
    let host = lan.host("ana");
    let mut ana = Person::new(&host, "ana");
    let repo = ana.repo("payroll");
    ana.up(&repo);
    let (me, whoami) = (ana.status(&repo)["me"].clone(), ana.lansync(&repo, &["whoami"]).ok().out);
    ana.down();
    let identity = ana.home().join("identity.key");
    spoil(&mut ana, &repo, &identity);
    assert_eq!(ana.pid(), None, "no service without an identity");
    ana.up(&repo);
    ana.down();
    spoil(&mut ana, &repo, &repo.join(".git/lansync/peer.key"));
    ana.up(&repo);
    assert_eq!(ana.status(&repo)["me"], me, "the same peer");
    assert_eq!(ana.lansync(&repo, &["whoami"]).ok().out, whoami);
    assert_eq!(ana.log(&repo, &[]).len(), 1, "nothing was written meanwhile");
    for key in [&identity, &repo.join(".git/lansync/peer.key")] {
        assert_eq!(fs::metadata(key).expect("a key").permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_second_up_shows_the_status_and_a_second_service_is_refused() {
    let Some(lan) = lan_or_skip() else { return };
    let host = lan.host("ana");
    let ana = Person::new(&host, "ana");
    let repo = ana.repo("payroll");
    assert_eq!(ana.up(&repo)["how"], "founded");
    let pid = ana.pid();
    assert!(pid.is_some());
    for arguments in [&["up"][..], &["up", "-d"]] {
        let again = ana.lansync(&repo, arguments).ok();
        assert_eq!(again.err, "", "{arguments:?}");
        assert!(again.out.contains("payroll, you are ana (maintainer)"), "{again:?}");
    }
    assert_eq!(ana.up(&repo)["how"], "running");
    let refused = ana.lansync(&repo, &["up", "--foreground", "--json"]).refused(&["already-running"]);
    assert!(refused["message"].as_str().is_some_and(|text| text.contains(&format!("{}", pid.unwrap_or(0)))));
    assert_eq!(ana.pid(), pid, "the first service runs on");
    assert_eq!(ana.status(&repo)["log"]["events"], 1);
}

/// A service of another version: it answers as lansync 9 would.
fn service_of_another_version(socket: &Path) {
    let listener = UnixListener::bind(socket).expect("nobody else is here");
    mode(socket, 0o600);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                continue;
            }
            let asked: Value = serde_json::from_str(&line).expect("a value a line");
            assert_eq!((&asked["v"], asked["version"].is_string()), (&json!(1), true));
            let pong = json!({"v": 9, "version": "9.0.0", "pid": 7, "port": 7483, "repositories": [], "new": 1});
            let reply = match asked["request"]["do"].as_str() {
                Some("ping") => json!({"is": "done", "value": pong}),
                _ => json!({"is": "error", "code": "other-version", "more": true,
                    "message": "the service is lansync 9.0.0, this is 0.1.0", "hint": "lansync down --all"}),
            };
            let _ = writeln!(stream, "{reply}");
        }
    });
}

#[test]
fn a_service_of_another_version_is_refused_and_can_be_ended() {
    let Some(lan) = lan_or_skip() else { return };
    let host = lan.host("ana");
    let ana = Person::new(&host, "ana");
    let repo = ana.repo("payroll");
    fs::create_dir(ana.home()).expect("a directory");
    mode(&ana.home(), 0o700);
    service_of_another_version(&ana.home().join("control.sock"));
    for arguments in [&["up", "-d", "--json"][..], &["status", "--json"], &["clone", "x", "--json"]] {
        let value = ana.lansync(&repo, arguments).refused(&["other-version"]);
        assert_eq!(value["hint"], "lansync down --all");
    }
    assert!(!repo.join(".git/lansync").exists(), "nothing was made");

    // The other way round: our service and a command of another version.
    let bo = Person::new(&host, "bo");
    let repo = bo.repo("other");
    bo.up(&repo);
    let ask = |request: Value| -> Value {
        let mut stream = UnixStream::connect(bo.home().join("control.sock")).expect("a service");
        let envelope = json!({"v": 9, "version": "9.0.0", "where": repo, "request": request});
        writeln!(stream, "{envelope}").expect("it listens");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).expect("a value")
    };
    let refused = ask(json!({"do": "status"}));
    assert!(refused.to_string().contains("other-version"), "{refused}");
    assert!(refused.to_string().contains("lansync down --all"), "{refused}");
    let pong = ask(json!({"do": "ping"}));
    assert!(pong.to_string().contains("\"pid\""), "{pong}");
    let malformed = ask(json!("fly"));
    assert!(malformed.to_string().contains("other-version"), "{malformed}");
    let ended = ask(json!({"do": "down", "all": true}));
    assert!(ended.to_string().contains("\"ended\":true"), "{ended}");
    wait_for("the service has ended", LONG, || bo.pid().is_none());
}

#[test]
fn a_damaged_log_is_refused_and_left_byte_for_byte() {
    let Some(lan) = lan_or_skip() else { return };
    let host = lan.host("ana");
    let ana = Person::new(&host, "ana");
    let repo = ana.repo("payroll");
    ana.up(&repo);
    for branch in ["a", "b", "c"] {
        ana.git(&repo, &["switch", "-q", "-c", branch]);
        ana.commit(&repo, branch, branch);
        ana.proposal(&repo, &format!("ana/{branch}"));
    }
    let digest = ana.status(&repo)["log"]["digest"].clone();
    ana.down();
    let log = repo.join(".git/lansync/log.redb");
    let good = fs::read(&log).expect("a log");
    let overwritten = |from: usize, len: usize| {
        let mut bytes = good.clone();
        let end = (from + len).min(bytes.len());
        bytes[from..end].fill(0xa5);
        bytes
    };
    let damaged = [
        ("no bytes", Vec::new(), "damaged-log"),
        ("cut short", good[..good.len() / 3].to_vec(), "damaged-log"),
        ("only its header", good[..512].to_vec(), "damaged-log"),
        ("text", b"hello, this is no log at all\n".to_vec(), "damaged-log"),
        ("its first bytes", overwritten(0, 64), "damaged-log"),
        ("all but its first bytes", overwritten(9, usize::MAX >> 1), "damaged-log"),
        ("its pages", overwritten(4096, usize::MAX >> 1), "damaged-log"),
        ("a newer format", newer(&log, &good), "newer-log"),
    ];
    for (what, bytes, code) in damaged {
        fs::write(&log, &bytes).expect("written");
        for arguments in
            [&["status", "--json"][..], &["up", "-d", "--json"], &["log", "--json"], &["up", "-d", "--json"]]
        {
            let done = ana.lansync(&repo, arguments);
            assert_eq!(done.code, Some(1), "{what}: {arguments:?}: {done:?}");
            done.refused(&[code]);
            assert!(fs::read(&log).expect("it is there") == bytes, "{what}: {arguments:?} changed it");
        }
        ana.down();
        assert!(fs::read(&log).expect("it is there") == bytes, "{what}: changed");
    }
    fs::write(&log, &good).expect("written");
    ana.up(&repo);
    assert_eq!(ana.status(&repo)["log"]["digest"], digest, "nothing is lost");
}

/// The log with a format number of tomorrow.
fn newer(log: &Path, good: &[u8]) -> Vec<u8> {
    let table: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("meta-1");
    let beside = log.with_extension("newer");
    fs::write(&beside, good).expect("written");
    let db = redb::Database::open(&beside).expect("a log");
    let write = db.begin_write().expect("a transaction");
    write.open_table(table).expect("a table").insert("format", 99_u64.to_be_bytes().as_slice()).expect("a row");
    write.commit().expect("durable");
    drop(db);
    let bytes = fs::read(&beside).expect("written");
    fs::remove_file(&beside).expect("removed");
    bytes
}

#[test]
fn what_does_not_exist_or_could_be_several_is_refused() {
    let Some(lan) = lan_or_skip() else { return };
    let (host, other) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::new(&host, "ana"), Person::new(&other, "bo"));
    let repo = ana.repo("payroll");
    // Before anything is shared.
    for arguments in [&["status"][..], &["log"], &["list"], &["show", "ana/x"]] {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        ana.lansync(&repo, &arguments).refused(&["not-shared"]);
    }
    for arguments in [&["approve", "ana/x", "--json"][..], &["invite", "--json"], &["connect", "10.0.0.1", "--json"]] {
        ana.lansync(&repo, arguments).refused(&["not-running"]);
    }
    assert!(!ana.home().exists(), "asking makes nothing");
    ana.up(&repo);
    ana.git(&repo, &["switch", "-q", "-c", "x"]);
    ana.commit(&repo, "x", "1\n");
    let proposal = ana.proposal(&repo, "ana/x");
    let events = ana.status(&repo)["log"]["events"].clone();

    for name in ["ana/y", "bo/x", "@ana/y", "lansync/@ana/y", "0000000000", "x", "ana", "", "ana/", "/x", "é\u{1b}[2J"]
    {
        for command in ["show", "diff", "approve", "reject", "withdraw"] {
            ana.lansync(&repo, &[command, name, "--json"]).refused(&["unknown-proposal"]);
        }
    }
    let id = proposal["id"].as_str().expect("an id");
    for name in ["ana/x", "@ana/x", "lansync/@ana/x", &id[..8], id] {
        assert_eq!(ana.lansync(&repo, &["show", name, "--json"]).ok().json()["id"], id, "{name}");
    }
    ana.lansync(&repo, &["approve", "ana/x", "--commit", "00000000", "--json"]).refused(&["revision-changed"]);
    ana.lansync(&repo, &["propose", "nowhere", "--json"]).refused(&["branch"]);
    ana.lansync(&repo, &["log", "--kind", "fly", "--json"]).failed(2, &["usage"]);

    // Nobody asks; then somebody does, and the words are wrong.
    ana.lansync(&repo, &["members", "accept", "maple", "river", "--json"]).refused(&["nobody-asks"]);
    ana.lansync(&repo, &["members", "accept", "bo", "--yes", "--json"]).refused(&["nobody-asks"]);
    ana.lansync(&repo, &["members", "accept", "bo", "--json"]).refused(&["needs-words"]);
    let mut asking = bo.ask(&bo.dir, &["--yes", "clone", "payroll", "--json"]);
    let words = asking.words();
    ana.lansync(&repo, &["members", "accept", "zzz", "river", "--json"]).refused(&["wrong-words"]);
    ana.lansync(&repo, &["members", "accept", "cy", "--yes", "--json"]).refused(&["nobody-asks"]);
    let wrong = if words == ["abandon", "ability"] { ["able", "about"] } else { ["abandon", "ability"] };
    ana.lansync(&repo, &["members", "accept", wrong[0], wrong[1], "--json"]).refused(&["wrong-words"]);
    asking.end().refused(&["turned-away"]);
    assert!(!bo.dir.join("payroll").exists(), "nothing was made");
    ana.lansync(&repo, &["members", "accept", &words[0], &words[1], "--json"]).refused(&["nobody-asks"]);
    assert_eq!(ana.status(&repo)["log"]["events"], events, "nothing was written");
    // Asked again, with the right words in one, it works.
    let mut asking = bo.ask(&bo.dir, &["--yes", "clone", "payroll"]);
    let [first, second] = asking.words();
    ana.lansync(&repo, &["members", "accept", &format!("{first}-{second}")]).ok();
    asking.end().ok();
}

#[test]
fn an_id_that_could_be_several_proposals_is_refused() {
    use lansync::approval::State;
    use lansync::eventlog::store::before::Store;
    use lansync::eventlog::{Extensions, Payload, Propose};
    use lansync::id::{BranchName, ObjectId};
    use lansync::keys::{FeedKey, IdentityKey};
    use lansync::service::keyfile;

    let Some(lan) = lan_or_skip() else { return };
    let host = lan.host("ana");
    let ana = Person::new(&host, "ana");
    let repo = ana.repo("payroll");
    ana.up(&repo);
    ana.down();
    // Four digits of an id do, so enough proposals that two share them: written as the service would, only faster.
    let ours = repo.join(".git/lansync");
    let identity = IdentityKey(keyfile::load(&ana.home().join("identity.key")).expect("a key"));
    let feed = FeedKey(keyfile::load(&ours.join("peer.key")).expect("a key"));
    let store = Store::open(&ours.join("log.redb")).expect("a log");
    let mut state = State::new(store.project().expect("it names its project"));
    let mut now = 0;
    store
        .in_time(lansync::hlc::Hlc::default()..lansync::hlc::Hlc::from_bits(u64::MAX), |event| {
            now = event.body().hlc.millis();
            assert_eq!(state.check(&event).ok(), Some(true));
            let _ = state.apply(&event);
            true
        })
        .expect("it can be read");
    let (mut pen, mut events, mut ids) = (state.pen(&feed.peer()), Vec::new(), Vec::<String>::new());
    let twice = loop {
        let n = events.len();
        let payload = Payload::Propose(Propose {
            branch: BranchName::new(format!("b{n}")).expect("a name"),
            target: BranchName::new("main").expect("a name"),
            tip: ObjectId::Sha1([u8::try_from(n % 251).expect("a byte"); 20]),
            title: "Fix rounding".to_owned(),
            previous: None,
            extensions: Extensions::default(),
        });
        let event = pen.write(now, payload, Vec::new(), &feed, &identity).expect("within bounds");
        let id = event.id().to_string();
        events.push(event);
        let same = ids.iter().find(|other| other[..4] == id[..4]).cloned();
        ids.push(id.clone());
        if let Some(other) = same {
            break [other, id];
        }
    };
    store.append(events).expect("durable");
    drop(store);
    let value = ana.lansync(&repo, &["show", &twice[0][..4], "--json"]).refused(&["ambiguous"]);
    assert_eq!(value["hint"], "lansync list");
    ana.lansync(&repo, &["show", &twice[0][..3], "--json"]).refused(&["unknown-proposal"]);
    for id in &twice {
        assert_eq!(ana.lansync(&repo, &["show", id, "--json"]).ok().json()["id"], id.as_str());
    }
}

#[test]
fn wrong_usage_is_2_with_a_value_where_asked_for() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lansync"));
        command.args(arguments).current_dir(dir.path()).env("LANSYNC_HOME", dir.path().join("h"));
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.output().expect("the program runs")
    };
    let wrong: [&[&str]; 12] = [
        &["fly"],
        &["up", "--wings"],
        &["up", "--join", "x", "--new"],
        &["members", "accept"],
        &["members", "accept", "a", "b", "c"],
        &["members", "accept", "a", "b", "--role", "king"],
        &["invite", "--uses", "0"],
        &["invite", "--expires", "soon"],
        &["log", "--since", "soon"],
        &["log", "-n", "many"],
        &["clone", "../x"],
        &["connect"],
    ];
    for arguments in wrong {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let output = run(&arguments);
        let err = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {err}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert_eq!(err.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{arguments:?}: {err}");
        let value: Value = serde_json::from_str(err.lines().last().expect("lines")).expect("a value");
        assert_eq!(value["error"]["code"], "usage", "{arguments:?}");
        assert!(value["error"]["hint"].is_string(), "{arguments:?}");
    }
    assert!(!dir.path().join("h").exists() || run(&["down", "--all"]).status.success());
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let Some(lan) = lan_or_skip() else { return };
    let (host, other) = (lan.host("ana"), lan.host("bo"));
    let Some(ana) = Person::on_a_disk(&host, "ana", "24m") else { return };
    let bo = Person::new(&other, "bo");
    let repo = ana.repo("payroll");
    ana.up(&repo);
    let clone = clone_with_words(&bo, "payroll", "payroll", &ana, &repo, &[]);
    let filling = ana.disk().fill();

    // Bo goes on meanwhile: a commit that Ana has no room for.
    bo.git(&clone, &["switch", "-q", "-c", "big"]);
    let noise: String = (0..200_000_u64).map(|n| format!("{:016x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let big = bo.commit(&clone, "big", &noise);
    bo.proposal(&clone, "bo/big");

    // What Ana writes is acknowledged or refused, until there is no room at all.
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    for n in 0..400 {
        let done = ana.lansync(&repo, &["invite", "--uses", &(n + 1).to_string(), "--json"]);
        if done.code == Some(0) {
            acknowledged.push(n + 1);
        } else {
            done.refused(&["disk-full"]);
            refused += 1;
            if refused == 3 {
                break;
            }
        }
    }
    assert_eq!(refused, 3, "the disk was never full: {}", acknowledged.len());
    println!("acknowledged before the disk was full: {}", acknowledged.len());
    // It still answers, and says what is wrong.
    let status = ana.status(&repo);
    assert_eq!(status["running"], true);
    let problems = status["problems"].as_array().expect("a list");
    assert!(problems.iter().any(|one| one["code"] == "disk-full"), "{problems:?}");
    let uses = || -> Vec<u64> {
        ana.log(&repo, &["--kind", "invite"]).iter().filter_map(|event| event["uses"].as_u64()).collect()
    };
    assert_eq!(uses(), acknowledged, "what was acknowledged, and nothing that was refused");

    // There is room for a commit of Ana's, and hardly any for the log.
    let room = 60 << 10;
    let filled = fs::metadata(&filling).expect("a file").len();
    fs::OpenOptions::new().write(true).open(&filling).and_then(|file| file.set_len(filled - room)).expect("cut");
    ana.git(&repo, &["switch", "-q", "-c", "late"]);
    let late = ana.commit(&repo, "late", "1\n");

    // Room is made: it works again by itself, and what was missed comes.
    fs::remove_file(filling).expect("removed");
    wait_for("writing works again", LONG, || {
        ana.lansync(&repo, &["invite", "--uses", "999", "--json"]).code == Some(0)
    });
    let proposal = ana.proposal(&repo, "bo/big");
    assert_eq!(proposal["tip"], big);
    assert_eq!(ana.proposal(&repo, "ana/late")["tip"], late, "a commit made meanwhile is offered");
    acknowledged.push(999);
    assert_eq!(uses(), acknowledged);
    ana.lansync(&repo, &["show", "bo/big"]).ok();
    let landed = ana.lansync(&repo, &["approve", "bo/big", "--json"]).ok().json();
    assert_eq!(landed["landed"], big);
    wait_for("both have it", LONG, || {
        let (mine, theirs) = (ana.status(&repo), bo.status(&clone));
        mine["log"]["digest"] == theirs["log"]["digest"] && theirs["branches"][0]["ref"] == big
    });
    let problems = ana.status(&repo)["problems"].clone();
    assert!(!problems.to_string().contains("disk-full"), "the problem is over: {problems}");
    // The same after a restart.
    ana.down();
    assert_eq!(uses(), acknowledged);
    ana.up(&repo);
    ana.git(&repo, &["fsck", "--full", "--strict"]);
}
