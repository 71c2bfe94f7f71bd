//! The quarantine beside git's own `fsck`, case by case.

use std::collections::BTreeMap;

use super::*;

/// What git's `fsck` says of an object, and what is done with it here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// git lets it in, also where it is strict, and it is taken.
    Fine,
    /// git calls it an error, and it is refused.
    Error,
    /// git only warns, or says nothing, and it is refused: a work tree or a log made of it would be another.
    Stricter,
    /// git only warns, and it is taken: old histories have it for ever.
    Milder,
}

use Verdict::{Error, Fine, Milder, Stricter};

struct Case {
    what: String,
    /// The object that git has something against, and all that comes with it.
    about: ObjectId,
    objects: Vec<(Kind, Vec<u8>)>,
    want: ObjectId,
    verdict: Verdict,
}

const WHO: &str = "Mal <mal@example.org> 1700000000 +0000";

fn file() -> ObjectId {
    id_of(Kind::Blob, b"x")
}

/// A tree of one file, which is always there.
fn plain_tree() -> Vec<u8> {
    tree_of(&[("100644", "file", file())])
}

fn plain_commit() -> Vec<u8> {
    commit_of(id_of(Kind::Tree, &plain_tree()), &[])
}

/// An object in a commit that is in order, or as the tip.
fn case(what: &str, kind: Kind, data: Vec<u8>, verdict: Verdict) -> Case {
    let about = id_of(kind, &data);
    let mut objects =
        vec![(Kind::Blob, b"x".to_vec()), (Kind::Tree, plain_tree()), (Kind::Commit, plain_commit()), (kind, data)];
    let want = if kind == Kind::Tree {
        let commit = commit_of(about, &[]);
        objects.push((Kind::Commit, commit.clone()));
        id_of(Kind::Commit, &commit)
    } else {
        about
    };
    objects.sort_by_key(|(kind, data)| id_of(*kind, data));
    objects.dedup();
    Case { what: what.to_owned(), about, objects, want, verdict }
}

fn tree(entries: &[(&str, &[u8])], verdict: Verdict) -> Case {
    let mut data = Vec::new();
    for (mode, name) in entries {
        data.extend_from_slice(mode.as_bytes());
        data.push(b' ');
        data.extend_from_slice(name);
        data.push(0);
        let id = if mode.ends_with("40000") { id_of(Kind::Tree, &plain_tree()) } else { file() };
        data.extend_from_slice(id.as_bytes());
    }
    let name = entries.last().map_or_else(String::new, |(mode, name)| format!("{mode} {}", name.escape_ascii()));
    case(&format!("tree with {name}"), Kind::Tree, data, verdict)
}

fn trees() -> Vec<Case> {
    let dir = |name: &[u8]| tree(&[("40000", name)], Stricter);
    let named = |name: &[u8]| tree(&[("100644", name)], Stricter);
    let mut all: Vec<Case> =
        [".git", ".GIT", ".giT", "git~1", "GIT~1", ".git ", ".git.", ".git. .", ".git::$INDEX_ALLOCATION", ".git:x"]
            .iter()
            .map(|name| dir(name.as_bytes()))
            .collect();
    all.extend(
        [".g\u{200c}it", ".gi\u{200d}t", "\u{feff}.git", ".git\u{206a}", ".\u{202e}git"]
            .iter()
            .map(|name| dir(name.as_bytes())),
    );
    all.extend([dir(b"."), dir(b".."), dir(b".git\\hooks"), dir(b"a\\.git\\hooks"), named(b"a\\git~1")]);
    all.extend([tree(&[("100644", b"")], Error), named(b"a/b"), named(b"/a")]);
    for name in
        [".gitmodules", ".GITMODULES", "gitmod~1", "gi7eba~1", ".gitmodules ", ".gitmodules:x", ".git\u{200c}modules"]
    {
        all.push(tree(&[("120000", name.as_bytes())], Error));
    }
    // A directory is no settings.
    for name in [".gitmodules", ".gitattributes"] {
        let mut directory = tree(&[("40000", name.as_bytes())], Error);
        directory.about = id_of(Kind::Tree, &plain_tree());
        all.push(directory);
    }
    for name in [".gitattributes", ".gitignore", ".mailmap"] {
        all.push(tree(&[("120000", name.as_bytes())], Fine));
    }
    all.extend([
        tree(&[("100644", b"b"), ("100644", b"a")], Error),
        tree(&[("100644", b"a"), ("100644", b"a")], Error),
        tree(&[("100644", b"a"), ("40000", b"a")], Error),
        tree(&[("100644", b"a"), ("100644", b"a.c"), ("40000", b"a")], Error),
        tree(&[("40000", b"a"), ("100644", b"a.c")], Error),
        tree(&[("040000", b"a")], Milder),
        tree(&[("0100644", b"a")], Milder),
        tree(&[("00040000", b"a")], Stricter),
        tree(&[("100664", b"a")], Fine),
        tree(&[("100600", b"a")], Stricter),
        tree(&[("100000", b"a")], Stricter),
        tree(&[("104000", b"a")], Stricter),
        tree(&[("100644", b"a"), ("100755", b"b"), ("120000", b"c"), ("40000", b"d"), ("160000", b"e")], Fine),
        tree(&[("100644", b".gitignore"), ("100644", b"aux"), ("100644", b"back\\slash"), ("100644", b"git~2")], Fine),
    ]);
    let mut null = b"100644 a\0".to_vec();
    null.extend([0; 20]);
    all.push(case("tree with a null id", Kind::Tree, null, Stricter));
    all.push(case("tree cut short", Kind::Tree, b"100644 a\0short".to_vec(), Error));
    all.push(case("tree with a word for a mode", Kind::Tree, [&b"mode a\0"[..], file().as_bytes()].concat(), Error));
    all.push(case("tree without a mode", Kind::Tree, [&b" a\0"[..], file().as_bytes()].concat(), Error));
    all
}

fn commits() -> Vec<Case> {
    let plain = String::from_utf8(plain_commit()).expect("text");
    let id = id_of(Kind::Tree, &plain_tree()).to_string();
    let with = |what: &str, from: &str, to: &str, verdict| {
        let changed = plain.replacen(from, to, 1);
        assert_ne!(changed, plain, "{what}");
        case(&format!("commit: {what}"), Kind::Commit, changed.into_bytes(), verdict)
    };
    let ident = |what: &str, who: &str| with(what, &format!("author {WHO}"), &format!("author {who}"), Error);
    let late = |who: &str, verdict| with(who, &format!("committer {WHO}"), &format!("committer {who}"), verdict);
    vec![
        ident("no name", "<mal@example.org> 1700000000 +0000"),
        ident("no address", "Mal 1700000000 +0000"),
        ident("an address that is not closed", "Mal <mal@example.org 1700000000 +0000"),
        ident("an address in an address", "Mal <mal<@example.org> 1700000000 +0000"),
        ident("a bad name", "Mal> <mal@example.org> 1700000000 +0000"),
        ident("no space before the address", "Mal<mal@example.org> 1700000000 +0000"),
        ident("no space before the date", "Mal <mal@example.org>1700000000 +0000"),
        ident("no date", "Mal <mal@example.org>"),
        ident("a word for a date", "Mal <mal@example.org> today +0000"),
        ident("a date with a leading zero", "Mal <mal@example.org> 01700000000 +0000"),
        ident("a date that is too large", "Mal <mal@example.org> 18446744073709551616 +0000"),
        ident("a date that is too large for a signed number", "Mal <mal@example.org> 9223372036854775808 +0000"),
        ident("no zone", "Mal <mal@example.org> 1700000000"),
        ident("a short zone", "Mal <mal@example.org> 1700000000 +000"),
        ident("a long zone", "Mal <mal@example.org> 1700000000 +00000"),
        ident("a word for a zone", "Mal <mal@example.org> 1700000000 UTC+1"),
        late("Mal 1700000000 +0000", Error),
        late("Mal <mal@example.org> 0 +0000", Fine),
        late("Mal <> 1700000000 +0000", Fine),
        late(" <mal@example.org> 1700000000 +0000", Fine),
        late("Mal <mal@example.org> 1700000000 -9959", Fine),
        with("no tree", "tree ", "trea ", Error),
        with("a short tree", &id, &id[..39], Error),
        with("a long tree", &id, &format!("{id}0"), Error),
        with("a parent that is no id", "author ", "parent 1234\nauthor ", Error),
        with("no author", &format!("author {WHO}\n"), "", Error),
        with("two authors", "author ", &format!("author {WHO}\nauthor "), Error),
        with("no committer", &format!("committer {WHO}\n"), "", Error),
        with("a zero in the header", "author Mal", "author M\0al", Error),
        with("a zero in the message", "Text", "Te\0xt", Milder),
        with("no empty line", "\n\nText\n", "\nencoding UTF-8", Error),
        with("nothing behind the header", "\n\nText\n", "\n", Stricter),
        with("no message", "Text\n", "", Fine),
        with("an encoding", "\n\nText", "\nencoding ISO-8859-1\n\nText", Fine),
        with("a signature", "\n\nText", "\ngpgsig -----BEGIN\n x\n -----END\n\nText", Fine),
        case("commit: nothing", Kind::Commit, Vec::new(), Error),
    ]
}

fn tags() -> Vec<Case> {
    let target = id_of(Kind::Commit, &plain_commit());
    let plain = format!("object {target}\ntype commit\ntag one\ntagger {WHO}\n\nText\n");
    let with = |what: &str, from: &str, to: &str, verdict| {
        let changed = plain.replacen(from, to, 1);
        assert_ne!(changed, plain, "{what}");
        case(&format!("tag: {what}"), Kind::Tag, changed.into_bytes(), verdict)
    };
    vec![
        case("tag: in order", Kind::Tag, plain.clone().into_bytes(), Fine),
        with("no object", "object ", "abject ", Error),
        with("a short object", &target.to_string(), "1234", Error),
        with("no type", "type commit\n", "", Error),
        with("an unknown type", "type commit", "type thing", Error),
        with("another type than its object's", "type commit", "type tree", Error),
        with("no name", "tag one\n", "", Error),
        with("no tagger", &format!("tagger {WHO}\n"), "", Fine),
        with("a tagger without an address", "<mal@example.org> ", "", Error),
        with("a date with a leading zero", " 17", " 017", Error),
        with("a zero in the header", "one", "o\0ne", Error),
    ]
}

fn special() -> Vec<Case> {
    let within = |name: &str, text: &str, verdict| {
        let about = id_of(Kind::Blob, text.as_bytes());
        let tree = tree_of(&[("100644", name, about)]);
        let mut case = case(&format!("{name}: {:?}", &text[..text.len().min(60)]), Kind::Tree, tree, verdict);
        case.about = about;
        case.objects.push((Kind::Blob, text.as_bytes().to_vec()));
        case
    };
    let modules = |text: &str, verdict| within(".gitmodules", text, verdict);
    let url = |url: &str, verdict| modules(&format!("[submodule \"a\"]\n\tpath = a\n\turl = {url}\n"), verdict);
    let mut all = vec![
        modules(
            "[submodule \"a\"]\n\tpath = a\n\turl = ../a\n[submodule \"b.c/d\"]\n\turl = https://example.org/b\n",
            Fine,
        ),
        modules("[submodule \"../a\"]\n\tpath = a\n", Error),
        modules("[submodule \"a/../../b\"]\n\tpath = a\n", Error),
        modules("[submodule \"a/..\"]\n\tpath = a\n", Error),
        modules("[submodule \"a\\\\..\\\\b\"]\n\tpath = a\n", Error),
        modules("[submodule \"\"]\n\tpath = a\n", Error),
        modules("[submodule \"a..b\"]\n\tpath = a\n", Fine),
        modules("[submodule \"a\"]\n\tpath = -upload-pack\n", Error),
        modules("[submodule \"a\"]\n\tupdate = !touch x\n", Error),
        modules("[submodule \"a\"]\n\tupdate = rebase\n", Fine),
        modules("[SUBMODULE \"../a\"] URL=x\n", Error),
        modules("[submodule.../a]\n\turl = x\n", Fine),
        modules("[submodule \"a\"] # x\n\turl = \"-x\" ; y\n", Error),
        modules("[submodule \"a\"]\n\turl = \\\n-x\n", Error),
        modules("[submodule \"a\"]\n\turl = a\\qb\n[submodule \"../b\"]\n\turl = c\n", Fine),
        modules("no settings at all\n", Fine),
        modules("[core]\n\tx = -x\n[submodule]\n\turl = -x\n", Fine),
        modules("", Fine),
        within(".GitModules ", "[submodule \"../a\"]\n\tpath = a\n", Error),
        within("gi7eba~1", "[submodule \"../a\"]\n\tpath = a\n", Error),
        within("gitmodules", "[submodule \"../other\"]\n\tpath = a\n", Fine),
        within(".gitattributes", "* text=auto\n", Fine),
        within(".gitattributes", &"a".repeat(2_048), Error),
        within(".gitattributes", &format!("{} x\n", "a".repeat(2_000)), Fine),
        within("gitatt~1", &format!("x\n{}\n", "a".repeat(3_000)), Error),
    ];
    let good = [
        "https://example.org/a.git",
        "https://u:p@example.org:8443/a/../b?x#y",
        "http://[::1]/a",
        "http::https://example.org/a",
        "git://example.org/a%20b",
        "ssh://example.org/a",
        "git@example.org:a/b",
        "./a",
        "../../a",
        "./../a",
        "/srv/a",
        "file:///srv/a",
        "https://example.org",
        "https://example.org/%41",
    ];
    let bad = [
        "-a",
        "--upload-pack=touch",
        "../a%0ab",
        "git://example.org/%0aevil",
        "https://example.org/a%0a",
        "https://example.org%0ahost=x/a",
        "https:///a",
        "https://:80/a",
        "https://exa mple.org/a",
        "https://example.org:99999/a",
        "https://example.org:0/a",
        "https://example.org:x/a",
        "https://example.org/%zz",
        "https://example.org/../a",
        "https://example.org/a/../../b",
        "http::-a",
        "http::https:///a",
        "../../:a",
        "..//a",
        ".././/a",
    ];
    all.extend(good.map(|address| url(address, Fine)));
    all.extend(bad.map(|address| url(address, Error)));
    all
}

/// What `git fsck` says of each object, in one run over all: true for an error, false for a warning.
fn git_says(cases: &[Case]) -> BTreeMap<String, bool> {
    let mut objects: BTreeMap<ObjectId, (Kind, Vec<u8>)> = BTreeMap::new();
    for (kind, data) in cases.iter().flat_map(|case| &case.objects) {
        objects.insert(id_of(*kind, data), (*kind, data.clone()));
    }
    let fixture = Fixture::new();
    let objects: Vec<(Kind, Vec<u8>)> = objects.into_values().collect();
    let packed = fixture.git_with(&["index-pack", "--stdin"], &pack_of(&objects));
    assert!(packed.status.success(), "{packed:?}");
    let said = fixture.git_with(&["fsck", "--full", "--no-dangling"], b"");
    let said = [said.stdout, said.stderr].concat();
    let mut found = BTreeMap::new();
    for line in String::from_utf8_lossy(&said).lines() {
        let is_error = line.starts_with("error") || line.starts_with("fatal");
        if !is_error && !line.starts_with("warning") {
            continue;
        }
        let is_id = |word: &&str| word.len() == 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        for id in line.split(|c: char| !c.is_ascii_alphanumeric()).filter(is_id) {
            *found.entry(id.to_owned()).or_insert(false) |= is_error;
        }
    }
    found
}

#[test]
fn what_git_calls_an_error_is_refused_and_what_it_takes_is_taken() {
    let cases: Vec<Case> = [trees(), commits(), tags(), special()].into_iter().flatten().collect();
    let said = git_says(&cases);
    let (to, strict) = (Fixture::new(), Fixture::new());
    let repo = to.repo();
    let mut wrong = Vec::new();
    for case in &cases {
        let git = said.get(&case.about.to_string()).copied();
        let pack = pack_of(&case.objects);
        let ours = take(&repo, &pack, &[case.want], &[]);
        let refused = ours.as_ref().err().map(ToString::to_string);
        assert!(ours.as_ref().err().is_none_or(PackRefused::is_peers_fault), "{}: {refused:?}", case.what);
        drop(ours);
        let expected = match case.verdict {
            Fine => git != Some(true) && refused.is_none(),
            Error => git == Some(true) && refused.is_some(),
            Stricter => git != Some(true) && refused.is_some(),
            Milder => git == Some(false) && refused.is_none(),
        };
        // As with `transfer.fsckObjects`: warnings are errors there.
        let strictly = strict.git_with(&["index-pack", "--strict", "--stdin"], &pack).status.success();
        let expected = expected
            && match case.verdict {
                Fine => strictly,
                Error | Milder => !strictly,
                Stricter => true,
            };
        if !expected {
            wrong.push(format!(
                "{}: {:?} expected; error to git {git:?}, strict git takes it {strictly}, here {refused:?}",
                case.what, case.verdict
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), cases.len());
    say(&format!("{} cases", cases.len()));
}

#[test]
fn what_others_would_refuse_of_a_history_that_is_here_is_found_before_it_is_shared() {
    let cases: Vec<Case> = [trees(), commits(), tags(), special()].into_iter().flatten().collect();
    let (from, to, stop) = (Fixture::new(), Fixture::new(), AtomicBool::new(false));
    let objects: BTreeMap<ObjectId, _> =
        cases.iter().flat_map(|case| &case.objects).map(|one| (id_of(one.0, &one.1), one.clone())).collect();
    let packed = from.git_with(&["index-pack", "--stdin"], &pack_of(&objects.into_values().collect::<Vec<_>>()));
    assert!(packed.status.success(), "{packed:?}");
    let (here, there) = (from.repo(), to.repo());
    for case in &cases {
        let refused = take(&there, &pack_of(&case.objects), &[case.want], &[]).err();
        let found = here.check_history(&[case.want], &[], &stop).err();
        let (refused, found) = (refused.map(|why| why.to_string()), found.map(|why| why.to_string()));
        assert_eq!(found.is_some(), refused.is_some(), "{}: {found:?}, {refused:?}", case.what);
    }
    // What was looked at once is not looked at again.
    let bad = cases.iter().find(|case| case.verdict == Error && case.about == case.want).expect("a commit");
    assert!(here.check_history(&[bad.want], &[bad.want], &stop).is_ok());
}
