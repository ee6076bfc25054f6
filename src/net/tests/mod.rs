//! The whole stack between a simulated link and real sockets on the loopback: time passes when the test says so,
//! packets are lost, doubled and swapped as a seed says.

mod batches;
mod clients;
mod hostile;
mod losses;
mod random;
mod segments;
mod talk;
mod transfer;
mod udp;
mod wire;

pub(in crate::net) use random::Random;
