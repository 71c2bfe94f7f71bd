//! The one seam at which a panic of redb becomes an error.
//!
//! redb trusts pages that it wrote, and panics over some that were damaged since. To check every page before a log is
//! opened takes seconds where it is large, so what is damaged may be met while reading.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use super::StoreError;

thread_local! {
    /// Is it redb that runs on this thread?
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; where redb panics over what it finds, the log is damaged.
///
/// Nothing that the work touches is used again without a further error: the caller keeps that it failed.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = panic::take_hook();
        // The error is the line that is said; a second one with a source line of redb helps nobody.
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                usual(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    let ours = !GUARDED.replace(outer);
    match result {
        Ok(result) => result,
        // It was the caller's own code, called back: that is no damage.
        Err(panic) if ours => panic::resume_unwind(panic),
        Err(panic) => Err(StoreError::Corrupt(said(&*panic))),
    }
}

/// Runs the caller's own code within [`guarded`]: its panics stay panics.
pub(super) fn called_back<T>(work: impl FnOnce() -> T) -> T {
    // Where it panics this stays so, by which the seam knows.
    let guarded = GUARDED.replace(false);
    let value = work();
    GUARDED.set(guarded);
    value
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.and_then(|text| text.lines().next()).unwrap_or_default();
    format!("a page cannot be read: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_panic_within_is_an_error() {
        assert_eq!(guarded(|| Ok(1)).unwrap(), 1);
        let failed: Result<(), _> = guarded(|| panic!("page {}", 7));
        assert!(matches!(failed, Err(StoreError::Corrupt(why)) if why == "a page cannot be read: page 7"));
        let mistake = || -> Result<u8, StoreError> { called_back(|| panic!("a mistake of ours")) };
        let ours = panic::catch_unwind(|| guarded(mistake));
        assert!(ours.is_err());
        assert!(!GUARDED.get());
        assert!(guarded(|| called_back(|| guarded(|| Ok(true)))).unwrap());
    }
}
