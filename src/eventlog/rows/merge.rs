//! Rows of a base with changes over them, in order.

use super::{Base, Table};

/// Rows of `base` from `from` on with `over`, which is ascending, over them, until `each` gives `false`.
pub(super) fn ascend<'a>(
    base: &dyn Base,
    table: Table,
    from: &[u8],
    over: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
) {
    let mut over = over.peekable();
    let mut go_on = true;
    base.scan(table, from, &mut |key, value| {
        go_on = with(&mut over, key, value, |at| at < key, each);
        go_on
    });
    if go_on {
        rest(over, each);
    }
}

/// Rows of `base` below `to` (all where it is empty) with `over`, which is descending, over them, until `each` gives `false`.
pub(super) fn descend<'a>(
    base: &dyn Base,
    table: Table,
    to: &[u8],
    over: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
) {
    let mut over = over.peekable();
    let mut go_on = true;
    base.scan_back(table, to, &mut |key, value| {
        go_on = with(&mut over, key, value, |at| at > key, each);
        go_on
    });
    if go_on {
        rest(over, each);
    }
}

/// One row of the base, with what changed before it and of it.
fn with<'a>(
    over: &mut std::iter::Peekable<impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>>,
    key: &[u8],
    value: &[u8],
    before: impl Fn(&[u8]) -> bool,
    each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
) -> bool {
    while let Some((at, new)) = over.next_if(|(at, _)| before(at)) {
        if new.is_some_and(|new| !each(at, new)) {
            return false;
        }
    }
    match over.next_if(|(at, _)| *at == key) {
        Some((at, Some(new))) => each(at, new),
        Some((_, None)) => true,
        None => each(key, value),
    }
}

fn rest<'a>(over: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
    for (at, new) in over {
        if new.is_some_and(|new| !each(at, new)) {
            return;
        }
    }
}
