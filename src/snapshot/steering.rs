//! Which worker a packet belongs to. The steering program that `host` loads into the kernel and the
//! hand-over between workers both compute exactly these functions (DESIGN §2 *Workers and devices*).
//!
//! Consumer-side packets go by a hash of their tuple, provider-side packets by the range that their
//! NAT port (or echo identifier) lies in, fragments by (source, destination, identification,
//! protocol), ICMP errors by the tuple they quote. All inputs are in host byte order.

/// First port of the NAT range: ports below stay free for services of the host (RFC 6056 §3.2).
pub const FIRST_NAT_PORT: u16 = 1024;

/// Ports a NAT address offers per (protocol, backend address and port): 1024 to 65535.
pub const NAT_PORTS: u32 = 64_512;

/// Odd multiplier of the tuple hash (golden ratio of 2³²): spreads consecutive client ports, and
/// Linux's habit of choosing even ones, over the high bits that choose the queue.
pub const MIX: u32 = 0x9E37_79B1;

/// Worker of a consumer-side packet. IPv6 addresses are folded to 32 bits by [`fold`] first.
/// For ICMP echo the ports are (identifier, 0).
#[must_use]
pub fn consumer_queue(source: u32, destination: u32, source_port: u16, destination_port: u16, workers: u16) -> u16 {
    let ports = (u32::from(source_port) << 16) | u32::from(destination_port);
    scale(mix(mix(source).wrapping_add(destination)).wrapping_add(ports), workers)
}

/// Worker of a provider-side packet towards NAT port (or echo identifier) `port`.
#[must_use]
pub fn nat_queue(port: u16, workers: u16) -> u16 {
    let offset = u32::from(port.saturating_sub(FIRST_NAT_PORT));
    u16::try_from(offset * u32::from(workers) / NAT_PORTS).unwrap_or(0)
}

/// Worker of a fragment, the first one too: all fragments of a datagram meet in one place.
/// `identification` is the IPv4 field, or the IPv6 fragment header's 32 bits.
#[must_use]
pub fn fragment_queue(source: u32, destination: u32, identification: u32, protocol: u8, workers: u16) -> u16 {
    let tail = identification.wrapping_add(u32::from(protocol) << 24);
    scale(mix(mix(source).wrapping_add(destination)).wrapping_add(tail), workers)
}

/// Ports that worker `worker` of `workers` may hand out, first and last.
#[must_use]
pub fn nat_range(worker: u16, workers: u16) -> (u16, u16) {
    let (worker, workers) = (u32::from(worker), u32::from(workers.max(1)));
    let first = (worker * NAT_PORTS).div_ceil(workers);
    let end = ((worker + 1) * NAT_PORTS).div_ceil(workers);
    let port = |offset: u32| u16::try_from(u32::from(FIRST_NAT_PORT) + offset).unwrap_or(u16::MAX);
    (port(first), port(end - 1))
}

/// Folds an IPv6 address to the 32 bits that steering hashes.
#[must_use]
pub fn fold(address: u128) -> u32 {
    let word = |shift: u32| u32::try_from((address >> shift) & 0xFFFF_FFFF).unwrap_or(0);
    word(96) ^ word(64) ^ word(32) ^ word(0)
}

/// One multiply and one shift-xor: what fits a classic steering program comfortably.
fn mix(value: u32) -> u32 {
    let product = value.wrapping_mul(MIX);
    product ^ (product >> 15)
}

/// Multiply-shift of the mixed hash onto `0..workers`.
fn scale(hash: u32, workers: u16) -> u16 {
    let spread = u64::from(mix(hash)) * u64::from(workers);
    u16::try_from(spread >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nat_port_lies_in_the_range_of_the_worker_that_receives_it() {
        for workers in 1..=16 {
            for port in FIRST_NAT_PORT..=u16::MAX {
                let (first, last) = nat_range(nat_queue(port, workers), workers);
                assert!((first..=last).contains(&port), "port {port} of {workers} workers");
            }
        }
    }

    #[test]
    fn even_client_ports_use_every_worker() {
        let mut hits = [0_u32; 4];
        for port in (32_768_u16..60_000).step_by(2) {
            hits[usize::from(consumer_queue(0x0A01_0005, 0x0A01_0904, port, 443, 4))] += 1;
        }
        assert!(hits.iter().all(|&count| count > 3_000), "{hits:?}");
    }
}
