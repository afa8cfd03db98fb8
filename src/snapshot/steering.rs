//! Which worker a packet belongs to. The steering program that `host` loads into the kernel and the
//! hand-over between workers both compute exactly these functions.
//!
//! Consumer-side packets go by a hash of their tuple, provider-side packets by the range that their
//! NAT port (or echo identifier) lies in, fragments by (source, destination, identification,
//! protocol), ICMP errors by the tuple they quote. All inputs are in host byte order.

use crate::wire::Address;

/// First port of the NAT range: ports below stay free for services of the host (RFC 6056 §3.2).
pub const FIRST_NAT_PORT: u16 = 1024;

/// Ports a NAT address offers per (protocol, backend address and port): 1024 to 65535.
pub const NAT_PORTS: u32 = 64_512;

/// Words that the hash takes: four of each address, ports or identification, protocol.
const WORDS: usize = 10;

/// What the hash that chooses a worker is made of, drawn at every start: nobody who does not know it can choose packets
/// that all come to one worker.
///
/// Every word of a packet, of 32 bits, is multiplied by one of 64 bits of its own before any two are added (multilinear
/// hashing, Carter and Wegman, 1979): two different packets get the same sum with a probability of 2⁻³³ at most. The sum is mixed once more, so that
/// packets that differ by little do not lie side by side.
#[derive(Clone, Copy)]
pub struct Secret {
    /// What the sum begins with.
    pub start: u64,
    /// By which the words of a packet are multiplied: source, destination, then [`Secret::TAIL`] and [`Secret::PROTOCOL`].
    pub factors: [u64; WORDS],
    /// By which the sum is mixed; odd.
    pub mix: u64,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

impl Secret {
    /// Place of the first word of the source among the factors.
    pub const SOURCE: usize = 0;
    /// Of the first word of the destination.
    pub const DESTINATION: usize = 4;
    /// Of both ports as one word, or of a fragment's identification.
    pub const TAIL: usize = 8;
    /// Of a fragment's protocol.
    pub const PROTOCOL: usize = 9;
    /// Bits by which the sum is shifted down before it is mixed.
    pub const FOLD: u32 = 32;

    /// Drawn from `seeds`, which come from the system's random numbers.
    #[must_use]
    pub fn new(seeds: [u64; 2]) -> Self {
        let mut state = seeds[0];
        // SplitMix64 (Steele, Lea and Flood, 2014), each word with the other seed besides.
        let mut next = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let first = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let second = (first ^ (first >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            seeds[1].wrapping_add(second ^ (second >> 31))
        };
        Self { start: next(), factors: std::array::from_fn(|_| next()), mix: next() | 1 }
    }

    /// Worker of a consumer-side packet. For ICMP echo the ports are (identifier, 0).
    #[must_use]
    pub fn consumer_queue(
        &self,
        source: impl Into<Address>,
        destination: impl Into<Address>,
        source_port: u16,
        destination_port: u16,
        workers: u16,
    ) -> u16 {
        let ports = (u32::from(source_port) << 16) | u32::from(destination_port);
        self.choose(
            self.addresses(source.into(), destination.into()).wrapping_add(self.term(Self::TAIL, ports)),
            workers,
        )
    }

    /// Worker of a fragment, the first one too: all fragments of a datagram meet in one place.
    /// `identification` is the IPv4 field, or the IPv6 fragment header's 32 bits.
    #[must_use]
    pub fn fragment_queue(
        &self,
        source: impl Into<Address>,
        destination: impl Into<Address>,
        identification: u32,
        protocol: u8,
        workers: u16,
    ) -> u16 {
        let tail = self.term(Self::TAIL, identification);
        let protocol = self.term(Self::PROTOCOL, protocol.into());
        self.choose(
            self.addresses(source.into(), destination.into()).wrapping_add(tail).wrapping_add(protocol),
            workers,
        )
    }

    /// What the sum over two IPv4 addresses begins with: they differ from others of theirs in the last word alone.
    #[must_use]
    pub fn start_v4(&self) -> u64 {
        self.addresses(Address::v4(0), Address::v4(0))
    }

    fn addresses(&self, source: Address, destination: Address) -> u64 {
        let words = words(source).into_iter().chain(words(destination));
        (0..).zip(words).fold(self.start, |sum, (at, word)| sum.wrapping_add(self.term(at, word)))
    }

    fn term(&self, at: usize, word: u32) -> u64 {
        self.factors[at].wrapping_mul(u64::from(word))
    }

    /// The sum, mixed, onto `0..workers`.
    fn choose(&self, sum: u64, workers: u16) -> u16 {
        let mixed = (sum ^ (sum >> Self::FOLD)).wrapping_mul(self.mix) >> 32;
        u16::try_from((mixed * u64::from(workers)) >> 32).unwrap_or(0)
    }
}

/// The words of an address, the highest first; mapped for IPv4.
#[allow(clippy::cast_possible_truncation, reason = "the halves of a word are what is wanted")]
const fn words(address: Address) -> [u32; 4] {
    let [high, low] = address.words();
    [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32]
}

/// A number below `count` that always is the same for the same words: which of equal backends or NAT addresses a client
/// gets. It is no secret: who has one client address has one place, whichever that is.
#[must_use]
pub fn place(one: u32, other: u32, ports: (u16, u16), count: u16) -> u16 {
    /// Golden ratio of 2³²: spreads consecutive client ports over the high bits, which choose.
    const MIX: u32 = 0x9E37_79B1;
    let mix = |value: u32| {
        let product = value.wrapping_mul(MIX);
        product ^ (product >> 15)
    };
    let ports = (u32::from(ports.0) << 16) | u32::from(ports.1);
    let hash = mix(mix(mix(one).wrapping_add(other)).wrapping_add(ports));
    u16::try_from((u64::from(hash) * u64::from(count)) >> 32).unwrap_or(0)
}

/// Worker of a provider-side packet towards NAT port (or echo identifier) `port`.
#[must_use]
pub fn nat_queue(port: u16, workers: u16) -> u16 {
    let offset = u32::from(port.saturating_sub(FIRST_NAT_PORT));
    u16::try_from(offset * u32::from(workers) / NAT_PORTS).unwrap_or(0)
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

    /// Source and port of the packet of a number.
    type Maker<'a> = &'a dyn Fn(u32) -> (Address, u16);

    const ENDPOINT: Address = Address::v4(0x0A01_0904);

    fn secrets() -> impl Iterator<Item = Secret> {
        (0..50_u64).map(|seed| Secret::new([seed, seed.wrapping_mul(0x1234_5678_9ABC_DEF1)]))
    }

    /// Packets that each of four workers gets, of those that `packets` describes.
    fn spread(secret: &Secret, packets: impl Iterator<Item = (Address, u16)>) -> [u32; 4] {
        let mut hits = [0; 4];
        for (source, port) in packets {
            hits[usize::from(secret.consumer_queue(source, ENDPOINT, port, 443, 4))] += 1;
        }
        hits
    }

    fn assert_even(what: &str, hits: [u32; 4]) {
        let all: u32 = hits.iter().sum();
        assert!(hits.iter().all(|&count| count > all / 8), "{what}: {hits:?}");
    }

    #[test]
    fn what_clients_do_uses_every_worker() {
        for secret in secrets() {
            let one = Address::v4(0x0A01_0005);
            assert_even("even ports", spread(&secret, (32_768_u16..60_000).step_by(2).map(|port| (one, port))));
            assert_even("neighbours", spread(&secret, (0..4_096).map(|last| (Address::v4(0x0A01_0000 + last), 5_000))));
        }
    }

    /// Chosen with full knowledge of the code, by the secret of another start: every packet comes to the first worker
    /// there. And IPv6 sources that an exclusive or of their words makes equal.
    #[test]
    fn sources_that_are_chosen_without_the_secret_come_to_every_worker() {
        let known = Secret::new([7, 7]);
        let wide = |number: u64| Address::v6(0xFD01 << 112 | u128::from(number) << 64 | u128::from(number << 32));
        let folded = |number: u64| {
            let (high, low) = ((number << 32 | number), number.rotate_left(7));
            Address::v6(0xFD01 << 112 | u128::from(high) << 48 | u128::from(low) << 16 | 0x1_0000_0000)
        };
        let equal =
            |number: u32| Address::v6(0xFD01_0000 << 96 | u128::from(number) << 64 | u128::from(number) << 32 | 0x99);
        let makers: [(&str, Maker<'_>); 5] = [
            ("ports", &|number| (Address::v4(0x0A01_0005), number as u16)),
            ("IPv4 sources", &|number| (Address::v4(0x0A00_0000 + number), 5_000)),
            ("IPv6 sources", &|number| (wide(number.into()), 5_000)),
            ("IPv6 sources of several words", &|number| (folded(number.into()), 5_000)),
            ("IPv6 sources of one folded word", &|number| (equal(number), 5_000)),
        ];
        for (what, make) in makers {
            let chosen: Vec<_> = (0..60_000_u32)
                .map(make)
                .filter(|&(source, port)| known.consumer_queue(source, ENDPOINT, port, 443, 4) == 0)
                .collect();
            assert!(chosen.len() > 5_000, "{what}: {}", chosen.len());
            for secret in secrets() {
                assert_even(what, spread(&secret, chosen.iter().copied()));
            }
        }
    }

    #[test]
    fn fragments_that_are_chosen_without_the_secret_come_to_every_worker() {
        let known = Secret::new([7, 7]);
        let queue = |secret: &Secret, identification: u32| {
            secret.fragment_queue(Address::v6(0xFD01 << 112 | 5), ENDPOINT, identification, 17, 4)
        };
        let chosen: Vec<u32> = (0..60_000).filter(|&identification| queue(&known, identification) == 0).collect();
        assert!(chosen.len() > 5_000, "{}", chosen.len());
        for secret in secrets() {
            let mut hits = [0; 4];
            for &identification in &chosen {
                hits[usize::from(queue(&secret, identification))] += 1;
            }
            assert_even("identifications", hits);
        }
    }
}
