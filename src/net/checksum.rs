//! The Internet checksum, RFC 1071.

use std::net::IpAddr;

/// The sum of `bytes` as big-endian words on top of `start`, not folded; an odd byte counts as the upper half.
/// At most 64 KiB at a time, which cannot overflow.
pub(super) fn sum(bytes: &[u8], start: u32) -> u32 {
    let words = bytes.chunks_exact(2);
    let odd = words.remainder().first().map_or(0, |b| u32::from(*b) << 8);
    let total = words.fold(0u32, |sum, w| sum.wrapping_add(u32::from(u16::from_be_bytes([w[0], w[1]]))));
    u32::from(fold(total)) + odd + start
}

/// Folds the carries in. The checksum is its complement.
pub(super) fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    u16::try_from(twice & 0xffff).unwrap_or_default()
}

/// The sum over the pseudo-header that TCP, UDP and ICMPv6 have under their checksum. `length` in bytes.
pub(super) fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u32 {
    let addresses = match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => sum(&d.octets(), sum(&s.octets(), 0)),
        (IpAddr::V6(s), IpAddr::V6(d)) => sum(&d.octets(), sum(&s.octets(), 0)),
        _ => 0,
    };
    addresses + u32::from(protocol) + u32::try_from(length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{fold, pseudo_header, sum};

    #[test]
    fn the_rfcs_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes, 0)), 0xddf2);
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(65_534).collect();
        let whole = fold(sum(&bytes, 0));
        let (a, b) = bytes.split_at(1000);
        assert_eq!(fold(sum(b, sum(a, 0))), whole);
    }

    #[test]
    fn a_correct_packet_sums_to_ones() {
        let (from, to) = ("10.0.2.100".parse().unwrap(), "10.0.2.2".parse().unwrap());
        let mut packet = vec![0x12, 0x34, 0, 53, 0, 9, 0, 0, 7];
        let checksum = !fold(sum(&packet, pseudo_header(from, to, 17, packet.len())));
        packet[6..8].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(fold(sum(&packet, pseudo_header(from, to, 17, packet.len()))), 0xffff);
    }
}
