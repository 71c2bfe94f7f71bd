//! Which commits are new to somebody, and which objects come with them.
//!
//! [`Span`] finds the commits reachable from some tips and not from others; [`objects`] goes through their trees,
//! comparing each with its parents' at the same path, so that the cost follows what changed and not the size of
//! the repository. Packs are made with it, and what arrives is checked with it.

mod span;
mod trees;

pub(super) use span::Span;
pub(super) use trees::{Found, Visit, based_on, is_large, is_ordered, objects, objects_by_threads};

use super::objects::Unread;

/// Deepest nesting of directories: git's own limit when it reads trees.
pub(super) const TREE_DEPTH: u32 = 2_048;

/// Why a walk ended early.
#[derive(Debug)]
pub(super) enum Ended<E> {
    /// An object that should be new could not be read.
    New(Unread),
    /// An object that the other side has, and that should be whole here too, could not be read.
    Old(Unread),
    /// A tree lies deeper than [`TREE_DEPTH`].
    Deep(gix::ObjectId),
    /// The visitor has seen enough.
    Visitor(E),
    /// It was asked to.
    Stopped,
}
