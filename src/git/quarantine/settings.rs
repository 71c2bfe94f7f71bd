//! Files that git itself reads out of a history: what `fsck` calls an error in `.gitmodules` and `.gitattributes`.
//!
//! `git clone --recurse-submodules` writes below a submodule's name, and hands its path and its address to other
//! programs: names that lead elsewhere and addresses that are options have run commands on people's machines.

use std::borrow::Cow;

/// Largest `.gitattributes`, in bytes, and its longest line: git ignores what is larger.
const ATTRIBUTES_BYTES: u64 = 100 << 20;
const ATTRIBUTES_LINE: usize = 2_048;
/// Largest `.gitmodules`, in bytes: git's `core.bigFileThreshold`, which nobody comes near.
pub(super) const MODULES_BYTES: u64 = 512 << 20;

/// Checks the content of a `.gitattributes`.
pub(super) fn check_attributes(data: &[u8]) -> Result<(), String> {
    if data.len() as u64 > ATTRIBUTES_BYTES {
        return Err("it is too large for a .gitattributes".to_owned());
    }
    if data.split(|byte| *byte == b'\n').any(|line| line.len() >= ATTRIBUTES_LINE) {
        return Err("a line is too long for a .gitattributes".to_owned());
    }
    Ok(())
}

/// Checks the content of a `.gitmodules`. What git cannot read is no error to it; what stands before that is looked at.
pub(super) fn check_modules(data: &[u8]) -> Result<(), String> {
    for (name, value) in Settings::of(data) {
        let Some((module, key)) = module_of(&name) else { continue };
        if !is_good_name(module) {
            return Err("a .gitmodules has a submodule's name that leads elsewhere".to_owned());
        }
        let Some(value) = value else { continue };
        match key {
            b"url" if !is_good_url(&value) => return Err("a .gitmodules has an address that git refuses".to_owned()),
            b"path" if value.starts_with(b"-") => {
                return Err("a .gitmodules has a path that reads as an option".to_owned());
            }
            b"update" if value.starts_with(b"!") => return Err("a .gitmodules has a command to run".to_owned()),
            _ => {}
        }
    }
    Ok(())
}

/// The submodule and the key of a setting `submodule.<name>.<key>`.
fn module_of(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = name.strip_prefix(b"submodule.")?;
    let dot = rest.iter().rposition(|byte| *byte == b'.')?;
    Some((&rest[..dot], &rest[dot + 1..]))
}

/// No part of a name, between slashes of either kind, may be `..`.
fn is_good_name(name: &[u8]) -> bool {
    !name.is_empty() && name.split(|byte| matches!(byte, b'/' | b'\\')).all(|part| part != b"..")
}

fn is_good_url(url: &[u8]) -> bool {
    if url.starts_with(b"-") {
        return false;
    }
    let is_relative = url.starts_with(b"./") || url.starts_with(b"../");
    if is_relative || url.starts_with(b"git://") {
        if decoded(url).contains(&b'\n') {
            return false;
        }
        // What climbs up can replace the host in front of it.
        let (mut rest, mut climbed) = (url, false);
        loop {
            if let Some(after) = rest.strip_prefix(b"../") {
                (rest, climbed) = (after, true);
            } else if let Some(after) = rest.strip_prefix(b"./") {
                rest = after;
            } else {
                break;
            }
        }
        return !(climbed && matches!(rest.first(), Some(b':' | b'/')));
    }
    let schemes: [&[u8]; 4] = [b"http", b"https", b"ftp", b"ftps"];
    let web = schemes.iter().find_map(|scheme| {
        let rest = url.strip_prefix(*scheme)?;
        match rest.strip_prefix(b"::") {
            Some(inner) => Some(inner),
            None => rest.starts_with(b"://").then_some(url),
        }
    });
    web.is_none_or(is_good_web_address)
}

/// Would curl take it as git writes it? Host and port in order, escapes that are ones, no way above the root.
fn is_good_web_address(url: &[u8]) -> bool {
    let Some(colon) = url.windows(3).position(|three| three == b"://") else { return false };
    let scheme = &url[..colon];
    let in_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'.' | b'-');
    if scheme.is_empty() || !scheme[0].is_ascii_alphabetic() || !scheme.iter().all(in_scheme) {
        return false;
    }
    let rest = &url[colon + 3..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, host) = match authority.iter().position(|byte| *byte == b'@') {
        Some(at) => (&authority[..at], &authority[at + 1..]),
        None => (&[][..], authority),
    };
    let (host, port) = match host.iter().rposition(|byte| *byte == b':') {
        Some(at) if !host[at..].contains(&b']') => (&host[..at], Some(&host[at + 1..])),
        _ => (host, None),
    };
    let in_host = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'[' | b']' | b':');
    if host.is_empty() || !host.iter().all(in_host) || !has_good_escapes(user) || !has_good_escapes(path) {
        return false;
    }
    if let Some(port) = port.filter(|port| !port.is_empty()) {
        let number = std::str::from_utf8(port).ok().and_then(|port| port.parse::<u16>().ok());
        if !port.iter().all(u8::is_ascii_digit) || number.is_none_or(|number| number == 0) {
            return false;
        }
    }
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(path.len());
    let mut depth = 0i64;
    for part in path[..end].split(|byte| *byte == b'/').skip(1) {
        match &*decoded(part) {
            b"." => {}
            b".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return false;
        }
    }
    !decoded(url).contains(&b'\n')
}

fn has_good_escapes(text: &[u8]) -> bool {
    let mut parts = text.split(|byte| *byte == b'%');
    parts.next();
    parts.all(|part| part.len() >= 2 && part[..2].iter().all(u8::is_ascii_hexdigit) && part[..2] != *b"00")
}

/// With `%xx` as the byte that it stands for.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%');
        let byte = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    Cow::Owned(out)
}

/// The settings of a text, read the way git reads its configuration: up to what it would not read.
struct Settings<'a> {
    rest: &'a [u8],
    /// The section that follows belong to, with the dot behind it.
    section: Vec<u8>,
}

impl Iterator for Settings<'_> {
    /// A setting's whole name, and what stands behind its equals sign.
    type Item = (Vec<u8>, Option<Vec<u8>>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let first = *self.rest.first()?;
            match self.take() {
                b'#' | b';' => while !self.rest.is_empty() && self.take() != b'\n' {},
                b'[' => self.section = self.section()?,
                blank if is_blank(blank) => {}
                letter if letter.is_ascii_alphabetic() => return self.setting(first),
                _ => return None,
            }
        }
    }
}

impl<'a> Settings<'a> {
    fn of(data: &'a [u8]) -> Self {
        Self { rest: data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data), section: Vec::new() }
    }

    /// The next byte; a line's end at the end of all.
    fn take(&mut self) -> u8 {
        let (first, rest) = match self.rest {
            [b'\r', b'\n', rest @ ..] => (b'\n', rest),
            [first, rest @ ..] => (*first, rest),
            [] => (b'\n', self.rest),
        };
        self.rest = rest;
        first
    }

    /// `[name]`, `[name.sub]` or `[name "sub"]`, from behind the bracket.
    fn section(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        loop {
            match self.take() {
                b']' => break,
                key if is_key(key) || key == b'.' => name.push(key.to_ascii_lowercase()),
                mut blank if is_blank(blank) => {
                    while is_blank(blank) {
                        if blank == b'\n' {
                            return None;
                        }
                        blank = self.take();
                    }
                    if blank != b'"' {
                        return None;
                    }
                    name.push(b'.');
                    self.quoted(&mut name)?;
                    if self.take() != b']' {
                        return None;
                    }
                    break;
                }
                _ => return None,
            }
        }
        name.push(b'.');
        Some(name)
    }

    /// The rest of a section's second part, up to its quote.
    fn quoted(&mut self, name: &mut Vec<u8>) -> Option<()> {
        loop {
            let byte = match self.take() {
                b'"' => return Some(()),
                b'\\' => self.take(),
                byte => byte,
            };
            if byte == b'\n' {
                return None;
            }
            name.push(byte);
        }
    }

    /// A setting whose name begins with `first`.
    fn setting(&mut self, first: u8) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let mut name = self.section.clone();
        let mut byte = first;
        while is_key(byte) {
            name.push(byte.to_ascii_lowercase());
            byte = self.take();
        }
        while matches!(byte, b' ' | b'\t') {
            byte = self.take();
        }
        match byte {
            b'\n' => Some((name, None)),
            b'=' => Some((name, Some(self.value()?))),
            _ => None,
        }
    }

    /// The rest of the line, without blanks around it, quotes and comments, with what backslashes stand for.
    fn value(&mut self) -> Option<Vec<u8>> {
        let (mut value, mut end) = (Vec::new(), 0);
        let mut is_quoted = false;
        loop {
            match self.take() {
                b'\n' if is_quoted => return None,
                b'\n' => break,
                blank if is_blank(blank) && !is_quoted => {
                    if !value.is_empty() {
                        value.push(blank);
                    }
                    continue;
                }
                b'#' | b';' if !is_quoted => {
                    while self.take() != b'\n' {}
                    break;
                }
                b'"' => is_quoted = !is_quoted,
                b'\\' => match self.take() {
                    b'\n' => continue,
                    b't' => value.push(b'\t'),
                    b'b' => value.push(8),
                    b'n' => value.push(b'\n'),
                    quoted @ (b'\\' | b'"') => value.push(quoted),
                    _ => return None,
                },
                byte => value.push(byte),
            }
            end = value.len();
        }
        value.truncate(end);
        Some(value)
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 11 | 12)
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_git_reads_them() {
        let text =
            b"\xef\xbb\xbf# first\n[submodule \"a b\"] Path = \"x # y\" ; z\r\n\turl=one \\\n two\n[Core.Sub]\n on\n";
        let all: Vec<(Vec<u8>, Option<Vec<u8>>)> = Settings::of(text).collect();
        let expected: [(&[u8], Option<&[u8]>); 3] = [
            (b"submodule.a b.path", Some(b"x # y")),
            (b"submodule.a b.url", Some(b"one  two")),
            (b"core.sub.on", None),
        ];
        let found: Vec<(&[u8], Option<&[u8]>)> =
            all.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
        assert_eq!(found, expected);
        assert_eq!(Settings::of(b"[a]\nb = \"open\nc = d\n").count(), 0, "nothing behind what git cannot read");
    }

    #[test]
    fn long_lines_are_no_attributes() {
        assert_eq!(check_attributes(b"* text=auto\n"), Ok(()));
        assert!(check_attributes(&[b'a'; ATTRIBUTES_LINE]).is_err());
    }
}
