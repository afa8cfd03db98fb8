//! Keys as somebody chooses them who knows the source of the hash, but not its seeds: each family makes some way of
//! combining words without a secret come out the same for all its keys.

/// Source and destination address, source and destination port.
pub(crate) type Tuple = ([u128; 2], [u16; 2]);

/// A family's name, and its key of a number.
pub(crate) type Family = (&'static str, fn(u32) -> Tuple);

/// An endpoint's address.
const ENDPOINT: u128 = 0xFD01_0009 << 96 | 4;

/// The network that all sources are of: 64 bits of an address that are free besides its subnet.
const NETWORK: u64 = 0xFD01_0001 << 32;

/// `count` at random, and every family.
pub(crate) const FAMILIES: [Family; 18] = [
    ("random", |number| {
        let word = |salt: u64| {
            let mixed = (u64::from(number) ^ salt).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (mixed ^ mixed >> 29).wrapping_mul(0x94D0_49BB_1331_11EB)
        };
        (from(NETWORK | word(1) >> 32, word(2)), [(word(3) >> 50) as u16 | 0x8000, 443])
    }),
    ("same_exclusive_or", |number| {
        let high = NETWORK | u64::from(number);
        (from(high, high ^ 0x0123_4567_89AB_CDEF), [40_000, 443])
    }),
    // high ^ low.rotate_left(23), the word that one version of the table hashed.
    ("same_rotated_exclusive_or", |number| {
        let high = NETWORK | u64::from(number);
        (from(high, (high ^ 0x0123_4567_89AB_CDEF).rotate_right(23)), [40_000, 443])
    }),
    ("same_sum", |number| {
        let high = NETWORK | u64::from(number);
        (from(high, 0x0123_4567_89AB_CDEF_u64.wrapping_sub(high)), [40_000, 443])
    }),
    ("counted", |number| (from(NETWORK, u64::from(number)), [40_000, 443])),
    ("counted_high", |number| (from(NETWORK | u64::from(number), 1), [40_000, 443])),
    ("top_bits", |number| (from(NETWORK, u64::from(number) << 40), [40_000, 443])),
    // IPv4 behind one address each: nothing but ports differs.
    ("ports", |number| ([mapped(0x0A01_0005 + (number >> 16)), mapped(0x0A01_0904)], [number as u16 | 1, 443])),
    ("address_against_port", |number| {
        let port = number as u16 | 1;
        (from(NETWORK, (0x0123_4567_89AB_0000 ^ u64::from(port) << 48) | u64::from(number >> 16)), [port, 443])
    }),
    ("complements", |number| {
        let high = NETWORK | u64::from(number >> 1);
        let low = if number & 1 == 0 { high } else { !high };
        (from(high, low.rotate_left(number % 64)), [40_000, 443])
    }),
    // Both halves multiplied with each other are the same number modulo 2^64.
    ("same_product", |number| {
        let high = NETWORK | u64::from(number) << 1 | 1;
        (from(high, 0x0123_4567_89AB_CDEF_u64.wrapping_mul(inverse(high))), [40_000, 443])
    }),
    // The same for a sum of two products: what the source adds, the destination takes away.
    ("source_against_destination", |number| {
        let low = 0x0123_4567_89AB_CDEF_u64.wrapping_add(u64::from(number));
        let [source, _] = from(NETWORK, low);
        ([source, from(NETWORK, low.wrapping_neg())[0]], [40_000, 443])
    }),
    ("swapped", |number| {
        let [one, other] = [from(NETWORK, u64::from(number >> 1))[0], from(NETWORK, !u64::from(number >> 1))[0]];
        (if number & 1 == 0 { [one, other] } else { [other, one] }, [40_000, 443])
    }),
    // The top bit of any word times an odd number is the top bit, whatever the number is: two such cancel.
    ("top_bits_of_two_words", |number| {
        let top = u64::from(number & 1) << 63;
        let [source, _] = from(NETWORK, u64::from(number >> 1) ^ top);
        ([source, ENDPOINT ^ u128::from(top)], [40_000, 443])
    }),
    // Multiples of 2^40: times anything they leave the low bits, which choose a place, alone.
    ("no_low_bits", |number| {
        let low = u64::from(number) << 40;
        ([u128::from(low) << 64 | u128::from(low), ENDPOINT], [40_000, 443])
    }),
    // By IPv4, which has one word an address: every host of a network, and what each adds is taken from its port.
    ("hosts", |number| ([mapped(0x0A01_0000 | number), mapped(0x0A01_0904)], [40_000, 443])),
    ("host_against_port", |number| {
        ([mapped(0x0A01_0000 | number), mapped(0x0A01_0904)], [0_u16.wrapping_sub(number as u16), 443])
    }),
    ("host_as_port", |number| {
        ([mapped(0x0A01_0000 | number), mapped(0x0A01_0904)], [number as u16, number as u16 ^ 0x01BB])
    }),
];

fn from(high: u64, low: u64) -> [u128; 2] {
    [u128::from(high) << 64 | u128::from(low), ENDPOINT]
}

/// An IPv4 address as the table keeps it.
fn mapped(address: u32) -> u128 {
    0xFFFF << 32 | u128::from(address)
}

/// What an odd number has to be multiplied by to become 1, modulo 2^64 (Newton's iteration: each step doubles the bits).
fn inverse(odd: u64) -> u64 {
    (0..6).fold(odd, |inverse, _| inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse))))
}
