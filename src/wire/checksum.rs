//! Internet checksums (RFC 1071) and their incremental update (RFC 1624, equation 3).
//!
//! A *sum* is a one's-complement sum of 16-bit words in network order; a *delta* is the sum that
//! turns an old value's sum into a new one's. Header fields hold the complement of a sum.

/// Folds a 32-bit accumulator to 16 bits with end-around carry.
#[inline]
#[must_use]
pub const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xFFFF) + (sum >> 16);
    let twice = (once & 0xFFFF) + (once >> 16);
    (twice & 0xFFFF) as u16
}

/// The sum of two sums: one carry at most, and the sum has room for it.
#[inline]
const fn add(left: u16, right: u16) -> u16 {
    let (sum, carry) = left.overflowing_add(right);
    sum + carry as u16
}

/// Sum of `bytes`; an odd last byte counts as the high byte of a word.
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    let (words, tail) = bytes.as_chunks::<4>();
    let mut total: u64 = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..tail.len()].copy_from_slice(tail);
    total += u64::from(u32::from_be_bytes(last));
    let halves = (total & 0xFFFF_FFFF) + (total >> 32);
    let halves = (halves & 0xFFFF_FFFF) + (halves >> 32);
    // Two folds of 32 bits leave a value below 2³²; words of 32 and of 16 bits sum alike mod 2¹⁶−1.
    fold(u32::try_from(halves & 0xFFFF).unwrap_or(0) + u32::try_from(halves >> 16).unwrap_or(0))
}

/// Whether an IPv4 header without options has the right checksum. All ones are all ones in any byte order (RFC 1071
/// §2 B), so the words are summed as they lie in memory; and a one's-complement sum that is all ones is a multiple of
/// 2¹⁶−1, which one multiplication tells.
#[inline]
#[must_use]
pub fn is_right(header: &[u8; 20]) -> bool {
    let (words, _) = header.as_chunks::<4>();
    let total: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    total.is_multiple_of(0xFFFF) && total != 0
}

/// The delta that replaces a value with sum `old` by one with sum `new`.
#[inline]
#[must_use]
pub const fn delta(old: u16, new: u16) -> u16 {
    add(!old, new)
}

/// A checksum field after the covered bytes change by `delta` (RFC 1624: `HC' = ~(~HC + ~m + m')`).
#[inline]
#[must_use]
pub const fn update(field: u16, delta: u16) -> u16 {
    !add(!field, delta)
}

/// A partial checksum (the un-complemented pseudo-header sum of `NEEDS_CSUM`) after a change.
#[inline]
#[must_use]
pub const fn update_partial(field: u16, delta: u16) -> u16 {
    add(field, delta)
}

/// Sum of two sums.
#[inline]
#[must_use]
pub const fn join(left: u16, right: u16) -> u16 {
    add(left, right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Word by word with a carry loop: slow, and obviously RFC 1071.
    fn naive(bytes: &[u8]) -> u16 {
        let mut total: u32 = 0;
        for pair in bytes.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            if total > 0xFFFF {
                total = (total & 0xFFFF) + 1;
            }
        }
        total as u16
    }

    #[test]
    fn a_second_carry_is_not_lost() {
        assert_eq!(fold(0xFFFF_FFFF), 0xFFFF);
        assert_eq!(fold(0x0001_FFFF), 0x0001);
        assert_eq!(sum(&[0xFF; 65_535]), naive(&[0xFF; 65_535]));
    }

    #[test]
    fn every_field_value_survives_edge_deltas() {
        for field in 0..=u16::MAX {
            for change in [0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF] {
                let updated = update(field, change);
                // Mod 2¹⁶−1: the complement falls by the delta.
                let expected = (u32::from(!field) + u32::from(change)) % 0xFFFF;
                assert_eq!(u32::from(!updated) % 0xFFFF, expected, "field {field:#x} change {change:#x}");
            }
        }
    }

    proptest! {
        #![proptest_config(crate::testing::cases(256))]

        #[test]
        fn the_fast_sum_equals_the_naive_one(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            prop_assert_eq!(sum(&bytes) % 0xFFFF, naive(&bytes) % 0xFFFF);
        }

        #[test]
        fn a_header_is_right_where_its_sum_is_all_ones(mut header in any::<[u8; 20]>(), edge in any::<bool>()) {
            if edge {
                header = header.map(|byte| if byte & 1 == 0 { 0xFF } else { 0 });
            }
            prop_assert_eq!(is_right(&header), naive(&header) == 0xFFFF);
            header[10..12].fill(0);
            let field = !sum(&header);
            header[10..12].copy_from_slice(&field.to_be_bytes());
            prop_assert_eq!(is_right(&header), naive(&header) == 0xFFFF);
        }

        #[test]
        fn an_update_equals_a_recomputation(mut bytes in proptest::collection::vec(any::<u8>(), 40..200), new in any::<[u8; 4]>()) {
            let field = !sum(&bytes);
            let change = delta(sum(&bytes[8..12]), sum(&new));
            bytes[8..12].copy_from_slice(&new);
            prop_assert_eq!(u32::from(update(field, change)) % 0xFFFF, u32::from(!sum(&bytes)) % 0xFFFF);
        }
    }
}
