//! What a flow's key hashes to: nobody who does not know the seeds can foresee it, or make two keys equal.

use super::FlowKey;
use super::index::Hash;

/// Words of secret key material: one for each word of two addresses, one for the ports, two for the last fold.
const SECRETS: usize = 7;

/// Distance between the seeds of one secret and the next (the golden ratio of 2^64).
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// What the words of a key are mixed with before anything is folded.
#[derive(Debug)]
pub(super) struct Secrets([u64; SECRETS]);

impl Secrets {
    /// Drawn from `seeds`, which come from the system's random numbers.
    pub(super) fn new(seeds: [u64; 2]) -> Self {
        Self(std::array::from_fn(|at| spread(seeds[at % 2].wrapping_add(STEP.wrapping_mul(at as u64)))))
    }

    /// The hash of a key.
    ///
    /// Every word of the addresses is added to a secret of its own before it meets another: the sum of the products
    /// (NH, Black and others, UMAC, 1999) of two different keys is the same with a probability of 2⁻⁶⁴ only, whoever
    /// chooses them. Only then is anything folded to 64 bits.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the halves of a product are what is wanted")]
    pub(super) fn hash(&self, key: &FlowKey) -> Hash {
        let secret = &self.0;
        let ports = u64::from(key.source_port) << 48
            | u64::from(key.destination_port) << 32
            | u64::from(key.attachment.0) << 16
            | key.protocol as u64;
        let product = |left: u64, right: u64| u128::from(left) * u128::from(right);
        let mixed =
            |[high, low]: [u64; 2], with: (u64, u64)| product(high.wrapping_add(with.0), low.wrapping_add(with.1));
        let sum = mixed(key.source.words(), (secret[0], secret[1]))
            .wrapping_add(mixed(key.destination.words(), (secret[2], secret[3])))
            .wrapping_add(product(ports, secret[4]));
        let folded = product(sum as u64 ^ secret[5], (sum >> 64) as u64 ^ secret[6]);
        Hash((folded >> 64) as u64 ^ folded as u64)
    }
}

/// Spreads a seed over all 64 bits (the finaliser of `SplitMix64`): a multiplication by a small or even
/// number would leave most of the hash's bits to the sender.
const fn spread(seed: u64) -> u64 {
    let first = (seed ^ 0x9E37_79B9_7F4A_7C15 ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let second = (first ^ (first >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (second ^ (second >> 31)) | 1
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::snapshot::{AttachmentId, Protocol};
    use crate::wire::Address;

    /// A key as five words, so that any bit of it can be chosen.
    fn key([source_high, source_low, destination_high, destination_low, ports]: [u64; 5]) -> FlowKey {
        let address = |high: u64, low: u64| Address::v6(u128::from(high) << 64 | u128::from(low));
        FlowKey {
            attachment: AttachmentId((ports >> 16) as u16),
            protocol: Protocol::Tcp,
            source: address(source_high, source_low),
            destination: address(destination_high, destination_low),
            source_port: (ports >> 48) as u16,
            destination_port: (ports >> 32) as u16,
        }
    }

    /// Every way to change a key by a power of two, added or taken away, in one word or in two at once: what survives a
    /// multiplication by an odd number (the top bit), what cancels between two words, and what leaves the low bits alone.
    fn near(base: [u64; 5]) -> HashSet<FlowKey> {
        let powers = (0..5).flat_map(|word| (if word == 4 { 16 } else { 0 }..64).map(move |bit| (word, 1_u64 << bit)));
        let steps: Vec<(usize, u64)> =
            powers.flat_map(|(word, power)| [(word, power), (word, power.wrapping_neg())]).collect();
        let mut keys = HashSet::from([key(base)]);
        for (at, &(word, step)) in steps.iter().enumerate() {
            let mut changed = base;
            changed[word] = changed[word].wrapping_add(step);
            keys.insert(key(changed));
            for &(word, step) in &steps[at..] {
                let mut changed = changed;
                changed[word] = changed[word].wrapping_add(step);
                keys.insert(key(changed));
            }
        }
        keys
    }

    #[test]
    fn no_difference_of_keys_survives_into_their_hashes() {
        const TWO_ADDRESSES: [u64; 5] = [0xFD01_0001 << 32, 5, 0xFD01_0009 << 32, 4, 40_000 << 48 | 443 << 32];
        const MAPPED: [u64; 5] = [0, 0xFFFF_0A01_0005, 0, 0xFFFF_0A01_0904, 40_000 << 48 | 443 << 32];
        for (base, seeds) in [(TWO_ADDRESSES, [3, 5]), (MAPPED, [0, 0]), (MAPPED, [1 << 63, u64::MAX])] {
            let (keys, secrets) = (near(base), Secrets::new(seeds));
            let hashes: HashSet<u64> = keys.iter().map(|key| secrets.hash(key).0).collect();
            assert_eq!(hashes.len(), keys.len(), "two keys near {base:x?} have one hash under {seeds:?}");
            // The low bits choose a bucket, the high ones tell its entries apart: both are spread as by chance.
            for part in [0, 16, 48] {
                let mut counts = vec![0_u32; 1 << 16];
                for hash in &hashes {
                    counts[usize::from((hash >> part) as u16)] += 1;
                }
                let most = counts.into_iter().max().expect("some");
                assert!(most <= 20, "{most} of {} keys near {base:x?} share bits from {part} on", keys.len());
            }
        }
    }
}
