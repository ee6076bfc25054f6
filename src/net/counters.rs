//! What happened to packets that no flow took. Nothing here is an error; it explains a network that seems dead.

/// Packets and flows by fate, since the stack was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets taken from the container.
    pub packets_in: u64,
    /// Packets given to the container.
    pub packets_out: u64,
    /// Packets that the container's interface did not take.
    pub write_failed: u64,
    /// Lengths or headers that contradict themselves, wrong checksums.
    pub malformed: u64,
    /// Packets from an address that is not the container's.
    pub foreign_source: u64,
    /// Packets to addresses that nothing leads to: multicast, broadcast, loopback, the link's own.
    pub closed_destination: u64,
    /// Protocols that are not carried.
    pub unknown_protocol: u64,
    /// Parts of packets thrown away because the others did not come or did not fit.
    pub fragments_dropped: u64,
    /// Flows that were not opened, or thrown out, because there were too many.
    pub over_limit: u64,
    /// TCP segments outside of what their connection expects.
    pub out_of_window: u64,
    /// TCP segments sent again.
    pub retransmitted: u64,
    /// Bytes of TCP connections dropped because the backlog was full.
    pub backlog_full: u64,
}
