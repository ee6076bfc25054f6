//! Where a test may kill the process: between the steps of the journal.

/// Does nothing, outside tests.
#[cfg(not(test))]
pub(super) fn point(_name: &'static str) {}

#[cfg(test)]
thread_local! {
    /// The point at which this thread dies.
    pub(super) static AT: std::cell::Cell<Option<&'static str>> = const { std::cell::Cell::new(None) };
}

/// Ends the thread without any step of clearing up, as a kill ends a process: locks are released with their
/// descriptors, an open transaction is gone, nothing else happens.
#[cfg(test)]
pub(super) fn point(name: &'static str) {
    if AT.get() == Some(name) {
        std::panic::resume_unwind(Box::new(name));
    }
}
