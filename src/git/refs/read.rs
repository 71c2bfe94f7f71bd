//! Reading refs from their files, afresh each time.
//!
//! `git pack-refs` moves a ref from its file into `packed-refs` and then removes the file. So files are read first and
//! `packed-refs` after them: a ref that moves in between is seen twice, never missed. (An iterator that opens
//! `packed-refs` first would take it for deleted.)

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::RefError;

/// What a ref says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Object(gix::ObjectId),
    /// The name of another ref.
    Symbolic(String),
}

/// The value of the ref of this full name, its own and not what it points on to.
pub(super) fn read(common: &Path, name: &str) -> Result<Option<Value>, RefError> {
    if let Some(value) = read_file(&common.join(name)).map_err(RefError::io(name))? {
        return Ok(Some(value));
    }
    let packed = packed(common)?;
    Ok(packed_lines(&packed).find(|(_, other)| *other == name.as_bytes()).map(|(id, _)| Value::Object(id)))
}

/// The value in a ref's own file. A directory of that name is no ref.
pub(super) fn read_file(path: &Path) -> io::Result<Option<Value>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if is_absent(&error) || path.is_dir() => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = text.trim_ascii_end();
    let value = match text.strip_prefix(b"ref:") {
        Some(target) => String::from_utf8(target.trim_ascii().to_vec()).ok().map(Value::Symbolic),
        None => gix::ObjectId::from_hex(text).ok().map(Value::Object),
    };
    value.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is no ref"))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Refs by name, and the names of those whose files say nothing.
pub(super) type Below = (BTreeMap<Vec<u8>, Value>, Vec<String>);

/// All refs below a directory such as `refs/heads/`, by the rest of their names. Broken ones are left out, as git
/// does, and returned apart.
pub(super) fn below(common: &Path, prefix: &str) -> Result<Below, RefError> {
    let (mut refs, mut broken) = (BTreeMap::new(), Vec::new());
    let mut dirs = vec![(common.join(prefix.trim_end_matches('/')), Vec::new())];
    while let Some((dir, name)) = dirs.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            // git removes empty directories whenever it likes.
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(RefError::io(prefix)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(RefError::io(prefix))?;
            let mut name: Vec<u8> = name.clone();
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend_from_slice(entry.file_name().as_encoded_bytes());
            if name.ends_with(b".lock") {
                continue;
            }
            let path = entry.path();
            match read_file(&path) {
                Ok(Some(value)) => drop(refs.insert(name, value)),
                Ok(None) if path.is_dir() => dirs.push((path, name)),
                Ok(None) => {}
                Err(_) => broken.push(String::from_utf8_lossy(&name).into_owned()),
            }
        }
    }
    let packed = packed(common)?;
    for (id, name) in packed_lines(&packed) {
        if let Some(name) = name.strip_prefix(prefix.as_bytes()) {
            refs.entry(name.to_vec()).or_insert(Value::Object(id));
        }
    }
    for name in &broken {
        refs.remove(name.as_bytes());
    }
    Ok((refs, broken))
}

/// The bytes of `packed-refs`.
pub(super) fn packed(common: &Path) -> Result<Vec<u8>, RefError> {
    match std::fs::read(common.join("packed-refs")) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(RefError::io("packed-refs")(error)),
    }
}

/// The refs in `packed-refs`, without its comments and what tags stand for.
pub(super) fn packed_lines(packed: &[u8]) -> impl Iterator<Item = (gix::ObjectId, &[u8])> {
    packed.split(|byte| *byte == b'\n').filter_map(|line| {
        let (id, name) = (line.get(..40)?, line.get(41..)?);
        (line[40] == b' ').then_some(())?;
        Some((gix::ObjectId::from_hex(id).ok()?, name))
    })
}
