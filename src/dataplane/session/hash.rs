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
