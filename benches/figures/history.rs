//! A history made for figures, the same each time.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::measure::secs;
use crate::people::{hermetic, plain_git};

/// A stream of numbers that is the same each time.
pub(crate) struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % below
    }
}

/// A history of more than 90,000 objects: files of prose and code in directories, each commit changing a few lines.
pub(crate) fn generate(into: &Path) {
    let begun = Instant::now();
    plain_git(into.parent().expect("it has one"), &["init", "-q", "-b", "main", "many"]);
    let mut import = Command::new("git");
    import.args(["fast-import", "--quiet"]).current_dir(into).stdin(Stdio::piped());
    hermetic(&mut import, into);
    let mut import = import.spawn().expect("git fast-import");
    let mut stream = std::io::BufWriter::new(import.stdin.take().expect("piped"));
    let mut dice = Dice(7);
    let words: Vec<String> = (0..4_000)
        .map(|_| {
            let syllables = 1 + dice.next(3);
            (0..syllables).map(|_| SYLLABLES[dice.next(SYLLABLES.len())]).collect()
        })
        .collect();
    // The frequent are more frequent, as in any language.
    let sentence = |dice: &mut Dice| {
        let count = 4 + dice.next(10);
        let one = |dice: &mut Dice| {
            let range = [40, 400, 4_000][dice.next(3)];
            words[dice.next(range)].as_str()
        };
        (0..count).map(|_| one(dice)).collect::<Vec<_>>().join(" ")
    };
    let mut files: Vec<(String, Vec<String>)> = (0..1_500)
        .map(|number| {
            let name = format!("src/part-{}/unit-{}/file-{number}.txt", number % 12, number % 60);
            let lines = 20 + dice.next(200);
            (name, (0..lines).map(|_| sentence(&mut dice)).collect())
        })
        .collect();
    files.push(("README.md".to_owned(), vec!["A history made for figures.".to_owned()]));
    let commits = 12_500;
    for number in 0..commits {
        let message = sentence(&mut dice);
        let time = 1_600_000_000 + number * 600;
        write!(stream, "commit refs/heads/main\ncommitter Ana <ana@example.org> {time} +0000\n").expect("taken");
        write!(stream, "data {}\n{message}\n", message.len()).expect("taken");
        let changed: Vec<usize> = match number {
            0 => (0..files.len()).collect(),
            _ => (0..1 + dice.next(2)).map(|_| dice.next(files.len() - 1)).collect(),
        };
        for at in changed {
            let (name, lines) = &mut files[at];
            if number > 0 {
                for _ in 0..1 + dice.next(4) {
                    let line = dice.next(lines.len());
                    lines[line] = sentence(&mut dice);
                }
            }
            let text = lines.join("\n") + "\n";
            write!(stream, "M 100644 inline {name}\ndata {}\n{text}\n", text.len()).expect("taken");
        }
    }
    stream.flush().expect("taken");
    drop(stream);
    assert!(import.wait().expect("it ends").success(), "git fast-import");
    // Packed as repositories are that have been in use for a while.
    plain_git(into, &["repack", "-a", "-d", "-f", "-q"]);
    plain_git(into, &["reset", "-q", "--hard"]);
    eprintln!("a history was generated in {}", secs(begun.elapsed()));
}

pub(crate) const SYLLABLES: [&str; 48] = [
    "ba", "be", "con", "da", "de", "di", "el", "en", "er", "fa", "fi", "for", "ga", "ge", "ha", "he", "in", "is", "ka",
    "ko", "la", "le", "li", "lo", "ma", "me", "mi", "mo", "na", "ne", "no", "or", "pa", "per", "po", "ra", "re", "ri",
    "ro", "sa", "se", "so", "ta", "te", "ti", "to", "un", "ver",
];
