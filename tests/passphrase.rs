//! The identity key behind a passphrase: asked for what uses rights, and for nothing else.

// Why a test is skipped must be seen.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;

use common::{LONG, Person, wait_for};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lansync");

/// A file with a passphrase.
fn file(person: &Person<'_>, text: &str) -> PathBuf {
    let path = person.home().join(format!("{text}.txt"));
    fs::write(&path, format!("{text}\n")).expect("a writable home");
    path
}

/// Runs lansync without a terminal, with the passphrase in a file: what it printed, or the code of the refusal.
#[track_caller]
fn with(person: &Person<'_>, passphrase: &str, args: &[&str]) -> Result<Value, String> {
    let mut command = person.command(PROGRAM);
    command.env("LANSYNC_PASSPHRASE_FILE", file(person, passphrase)).args(args).arg("--json");
    let output = command.stdin(Stdio::null()).output().expect("the program runs");
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null));
    }
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).expect("a refusal");
    Err(last["error"]["code"].as_str().expect("a code").to_owned())
}

fn key(person: &Person<'_>) -> String {
    fs::read_to_string(person.lansync_home().join("identity.key")).expect("a key")
}

/// How a proposal stands, once it is known.
fn state(person: &Person<'_>, name: &str) -> String {
    let mut found = None;
    wait_for("the proposal", LONG, || {
        let all = person.lansync(&["list", "--closed", "--json"]).json();
        let one = all.as_array().expect("a list").iter().find(|one| one["name"] == name);
        found = one.map(|one| one["state"].as_str().expect("a state").to_owned());
        found.is_some()
    });
    found.expect("just found")
}

#[test]
fn it_is_asked_for_what_uses_rights_and_sharing_goes_on_without() {
    let ana = Person::here("ana");
    ana.found("payroll");
    let identity = ana.lansync(&["whoami", "--json"]).json()["identity"].clone();
    let plain = key(&ana);
    let first = file(&ana, "first");
    let _ = ana.lansync(&["passphrase", "--new-file", first.to_str().expect("UTF-8")]).ok();
    assert!(key(&ana).starts_with("-----BEGIN LANSYNC SEALED IDENTITY KEY-----\n"), "{}", key(&ana));
    assert_eq!(ana.lansync(&["whoami", "--json"]).json()["identity"], identity);

    // The service that runs has let go of the key. It offers, shows and rejects all the same.
    let _ = ana.commit_on("fix", "a", "1\n", "Fix");
    assert_eq!(state(&ana, "ana/fix"), "open");
    let _ = ana.lansync(&["show", "ana/fix"]).ok();
    let _ = ana.lansync(&["reject", "ana/fix"]).ok();
    let approve = ["approve", "ana/fix"];
    assert_eq!(ana.lansync(&["--json", "approve", "ana/fix"]).code(), "passphrase");
    assert_eq!(ana.lansync(&["--json", "invite"]).code(), "passphrase");
    assert_eq!(with(&ana, "other", &approve), Err("wrong-passphrase".to_owned()));
    assert_eq!(state(&ana, "ana/fix"), "rejected", "nothing was changed");
    let said = ana.lansync(&approve).refused();
    assert_eq!(said.lines().count(), 2, "{said}");
    with(&ana, "first", &approve).expect("it is the passphrase");
    assert_eq!(state(&ana, "ana/fix"), "landed");

    // It starts and shares without the key, and founds nothing.
    ana.down();
    assert_eq!(ana.up()["how"], "resumed");
    let _ = ana.commit_on("more", "b", "2\n", "More");
    assert_eq!(state(&ana, "ana/more"), "open");
    let _ = ana.lansync(&["show", "ana/more"]).ok();
    assert_eq!(ana.lansync(&["--json", "approve", "ana/more"]).code(), "passphrase");
    ana.repo("second");
    assert_eq!(ana.lansync(&["--json", "up", "-d"]).code(), "passphrase");
    assert_eq!(with(&ana, "first", &["up", "-d"]).expect("it is the passphrase")["how"], "founded");
    ana.go("payroll");

    // Another one; then none.
    ana.down();
    let second = file(&ana, "second");
    let change = ["passphrase", "--new-file", second.to_str().expect("UTF-8")];
    let before = key(&ana);
    assert_eq!(with(&ana, "other", &change), Err("wrong-passphrase".to_owned()));
    assert_eq!(key(&ana), before);
    with(&ana, "first", &change).expect("it is the passphrase");
    assert_ne!(key(&ana), before);
    let _ = ana.up();
    assert_eq!(with(&ana, "first", &["passphrase", "--open", "1h"]), Err("wrong-passphrase".to_owned()));
    with(&ana, "second", &["passphrase", "--open", "1h"]).expect("it is the passphrase");
    let _ = ana.lansync(&["approve", "ana/more"]).ok();
    assert_eq!(state(&ana, "ana/more"), "landed");
    with(&ana, "second", &["passphrase", "--remove"]).expect("it is the passphrase");
    assert_eq!(key(&ana), plain);
    let _ = ana.lansync(&["invite"]).ok();
    ana.down();
}

/// At a terminal: two prompts, and not a letter of what is typed.
#[test]
fn what_is_typed_is_not_shown() {
    let ana = Person::here("ana");
    if ana.command("script").arg("--version").output().is_err() {
        println!("skipped: there is no `script` here to make a terminal");
        return;
    }
    let typed = |arguments: &str, answers: &[(&str, &str)]| {
        let mut command = ana.command("script");
        command.args(["-qec", &format!("'{PROGRAM}' {arguments}"), "/dev/null"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it runs");
        let (mut input, mut output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut shown = String::new();
        let mut bytes = [0; 256];
        let mut answers = answers.iter().peekable();
        let mut from = 0;
        while let Ok(len @ 1..) = output.read(&mut bytes) {
            shown.push_str(&String::from_utf8_lossy(&bytes[..len]));
            if let Some((prompt, answer)) = answers.next_if(|(prompt, _)| shown[from..].contains(prompt)) {
                from = shown.len();
                assert!(shown.ends_with(prompt), "{shown:?}");
                write!(input, "{answer}\r").expect("it reads");
            }
        }
        let status = child.wait().expect("it ends");
        assert!(answers.peek().is_none(), "{shown:?}");
        (status.success(), shown)
    };
    let (new, again) = ("New passphrase: ", "The same again: ");
    let (ok, shown) = typed("passphrase", &[(new, "Xyzzy-1"), (again, "Xyzzy-2")]);
    assert!(!ok && shown.contains("not the same") && !shown.contains("Xyzzy"), "{shown:?}");
    assert!(key(&ana).starts_with("-----BEGIN PRIVATE KEY-----"));
    let (ok, shown) = typed("passphrase", &[(new, "Xyzzz\u{7f}y-1"), (again, "Xyzzy-1")]);
    assert!(ok && !shown.contains("Xyz"), "{shown:?}");
    let present = "Passphrase of your identity key: ";
    let (ok, shown) = typed("passphrase --remove", &[(present, "Plugh")]);
    assert!(!ok && shown.contains("the passphrase is wrong") && !shown.contains("Plugh"), "{shown:?}");
    let (ok, shown) = typed("passphrase --remove", &[(present, "Xyzzy-1")]);
    assert!(ok && !shown.contains("Xyzzy"), "{shown:?}");
    assert!(key(&ana).starts_with("-----BEGIN PRIVATE KEY-----"));
}
