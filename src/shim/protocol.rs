//! What a shim and its clients say to each other.
//!
//! A stream socket, `SOCK_STREAM`; both sides send frames: one byte kind, four bytes little-endian length, the
//! payload. A frame is at most [`MAX_FRAME`] bytes. The first client (the command that started the container)
//! is connected from birth and already attached; every other one connects to the container's socket and
//! begins with a request.
//!
//! ```text
//!   client                              shim
//!     Attach{stdin,stdout,stderr,logs}   ->
//!     Stdin(bytes) | StdinClosed         ->
//!     Resize{rows,cols} | Signal(n)      ->
//!                                        <-  Started{pid} | Failed{status,message}   (first client only)
//!                                        <-  Stdout(bytes) | Stderr(bytes)
//!                                        <-  Exited{code}      and the socket closes
//!     Wait                               ->
//!                                        <-  Exited{code}
//!     Signal(n)                          ->
//!                                        <-  Done | Failed{status,message}
//!     Exec{json} + descriptors           ->
//!                                        <-  ExecStarted{pid} (+ pty master) | Failed{status,message}
//!                                        <-  Exited{code}
//! ```

/// The largest payload either side accepts.
pub const MAX_FRAME: usize = 256 * 1024;
