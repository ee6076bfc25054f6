//! The way into the program from C's `main`, past the standard library's.
//!
//! The library's own start-up reads /proc/self/maps, to know the stack's guard page by which it tells a stack
//! overflow from other faults, and lays out a signal stack: 55 µs of each execve, two of which stand in every `run`.
//! Here stays what kelp relies on: descriptors 0 to 2 are open, a reader that went away is an error and no signal,
//! and what was printed is flushed at the end. What is lost: a stack overflow is a plain SIGSEGV, without a message.
//!
//! `std::env::args` works without it where the C library hands the arguments to initialisers, as glibc does;
//! elsewhere the macro makes an ordinary `main`.

/// Makes `$role`, a `fn() -> u8` that returns the exit status, the program's `main`. The crate that uses it says
/// `#![cfg_attr(target_env = "gnu", no_main)]`.
#[macro_export]
macro_rules! entry {
    ($role:path) => {
        /// Called by the C library's start-up; the arguments are read through `std::env`.
        #[cfg(target_env = "gnu")]
        #[unsafe(no_mangle)]
        extern "C" fn main(_: std::ffi::c_int, _: *const *const std::ffi::c_char) -> std::ffi::c_int {
            $crate::sys::entry::run($role)
        }

        #[cfg(not(target_env = "gnu"))]
        fn main() {
            $crate::sys::entry::run($role)
        }
    };
}

/// Runs the role as the whole process.
#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the end of main: it flushes what the standard library holds"
)]
pub fn run(role: fn() -> u8) -> ! {
    open_missing_streams();
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    std::process::exit(role().into())
}

/// Opens /dev/null for each of descriptors 0 to 2 that the parent closed, so that no file opened later becomes
/// somebody's standard output.
fn open_missing_streams() {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: the array lives during the call and its length is the one given; a timeout of 0 does not wait.
    let found = unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) };
    if found <= 0 {
        return;
    }
    for _ in streams.iter().filter(|stream| stream.revents & libc::POLLNVAL != 0) {
        // SAFETY: a constant C string. open(2) gives the lowest free number, and these come in rising order.
        unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    }
}
