//! Commits and annotated tags: what git's `fsck` calls an error in their headers.
//!
//! The order of the checks is git's, so that the same object is refused for the same reason.

use gix::objs::Kind;

/// Checks a commit's bytes.
pub(super) fn check_commit(data: &[u8]) -> Result<(), String> {
    let mut rest = header(data)?;
    id(&mut rest, "tree ")?.ok_or("it names no tree")?;
    while id(&mut rest, "parent ")?.is_some() {}
    let mut authors = 0;
    while let Some(line) = line(&mut rest, "author ") {
        check_ident(line, "author")?;
        authors += 1;
    }
    match authors {
        0 => return Err("it has no author".to_owned()),
        1 => {}
        _ => return Err("it has several authors".to_owned()),
    }
    let committer = line(&mut rest, "committer ").ok_or("it has no committer")?;
    check_ident(committer, "committer")?;
    // What gix does not read nobody here could show.
    let commit = gix::objs::CommitRef::from_bytes(data, gix::hash::Kind::Sha1);
    commit.map(drop).map_err(|error| crate::git::objects::chain(&error))
}

/// Checks an annotated tag's bytes; gives what it says that its target is.
pub(super) fn check_tag(data: &[u8]) -> Result<Kind, String> {
    let mut rest = header(data)?;
    id(&mut rest, "object ")?.ok_or("it names no object")?;
    let kind = line(&mut rest, "type ").ok_or("it names no type")?;
    let kind = Kind::from_bytes(kind).map_err(|_| "its type is unknown")?;
    line(&mut rest, "tag ").ok_or("it has no name")?;
    // Tags of before 2005 have none.
    if let Some(tagger) = line(&mut rest, "tagger ") {
        check_ident(tagger, "tagger")?;
    }
    let tag = gix::objs::TagRef::from_bytes(data, gix::hash::Kind::Sha1);
    tag.map(drop).map_err(|error| crate::git::objects::chain(&error))?;
    Ok(kind)
}

/// The header, up to the empty line that ends it, or to the end where it ends a line.
fn header(data: &[u8]) -> Result<&[u8], String> {
    let end = data.windows(2).position(|pair| pair == b"\n\n").map(|end| end + 1);
    let header = &data[..end.unwrap_or(data.len())];
    if header.contains(&0) {
        return Err("its header holds a zero byte".to_owned());
    }
    if header.last() != Some(&b'\n') {
        return Err("its header does not end".to_owned());
    }
    Ok(header)
}

/// Takes the next line, without its end, if it begins like this.
fn line<'a>(rest: &mut &'a [u8], start: &str) -> Option<&'a [u8]> {
    let after = rest.strip_prefix(start.as_bytes())?;
    let end = after.iter().position(|byte| *byte == b'\n')?;
    *rest = &after[end + 1..];
    Some(&after[..end])
}

/// Takes the next line, if it begins like this; then it has to be an id.
fn id(rest: &mut &[u8], start: &str) -> Result<Option<gix::ObjectId>, String> {
    let Some(line) = line(rest, start) else { return Ok(None) };
    let is_lower = line.iter().all(|byte| !byte.is_ascii_uppercase());
    let id = gix::ObjectId::from_hex(line).ok().filter(|_| is_lower);
    id.map(Some).ok_or_else(|| format!("its {}is no id", start))
}

/// `Name <address> seconds +0100`.
fn check_ident(line: &[u8], who: &str) -> Result<(), String> {
    let bad = |why: &str| Err(format!("its {who} {why}"));
    let bracket = |text: &[u8]| text.iter().position(|byte| matches!(byte, b'<' | b'>')).unwrap_or(text.len());
    if line.first() == Some(&b'<') {
        return bad("has no name before the address");
    }
    let name = bracket(line);
    match line.get(name) {
        Some(b'>') => return bad("has a bad name"),
        None => return bad("has no address"),
        _ => {}
    }
    if name == 0 || line[name - 1] != b' ' {
        return bad("has no space before the address");
    }
    let rest = &line[name + 1..];
    let end = bracket(rest);
    if rest.get(end) != Some(&b'>') {
        return bad("has a bad address");
    }
    let Some(date) = rest[end + 1..].strip_prefix(b" ") else { return bad("has no space before the date") };
    let blanks = date.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let date = &date[blanks..];
    let digits = date.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return bad("has a bad date");
    }
    if date[0] == b'0' && date.get(1) != Some(&b' ') {
        return bad("has a date with a leading zero");
    }
    let seconds = std::str::from_utf8(&date[..digits]).ok().and_then(|text| text.parse::<i64>().ok());
    if seconds.is_none() {
        return bad("has a date that is too large");
    }
    let Some(zone) = date[digits..].strip_prefix(b" ") else { return bad("has a bad date") };
    match zone {
        [b'+' | b'-', digits @ ..] if digits.len() == 4 && digits.iter().all(u8::is_ascii_digit) => Ok(()),
        _ => bad("has a bad time zone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

    #[test]
    fn malformed_commits_are_refused() {
        let good = format!("tree {ID}\nauthor A <a@a> 1 +0000\ncommitter A <a@a> 1 +0000\n\nm\n");
        assert_eq!(check_commit(good.as_bytes()), Ok(()));
        assert!(check_commit(good.replace("author", "auth\0or").as_bytes()).is_err());
        assert!(check_commit(good.replace("committer", "commuter").as_bytes()).is_err());
        assert!(check_commit(b"tree 4b82\n").is_err());
        assert!(check_commit(good.replace("tree 4b", "tree 4B").as_bytes()).is_err());
    }

    #[test]
    fn tags_say_what_they_stand_for() {
        let good = format!("object {ID}\ntype tree\ntag x\ntagger A <a@a> 1 +0000\n\nm\n");
        assert_eq!(check_tag(good.as_bytes()), Ok(Kind::Tree));
        assert_eq!(check_tag(format!("object {ID}\ntype commit\ntag x\n").as_bytes()), Ok(Kind::Commit));
        for (from, to) in [("tree\n", "branch\n"), ("<a@a>", "a@a"), ("tag x", "tog x"), ("object", "subject")] {
            assert!(check_tag(good.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }
}
