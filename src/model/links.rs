//! Link identifiers: each is used once, and none reveals how many others there are.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Rounds of the cipher that turns numbers into identifiers.
const ROUNDS: u8 = 8;

/// The key of that cipher: a secret of this state.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkKey([u8; 16]);

impl LinkKey {
    /// A key of random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// The identifier of `number`. A Feistel cipher over its two halves makes it unique for each.
    fn identifier(self, number: u32) -> u32 {
        let [first, second, third, fourth] = number.to_be_bytes();
        let halves = (u16::from_be_bytes([first, second]), u16::from_be_bytes([third, fourth]));
        let (left, right) = (0..ROUNDS).fold(halves, |(left, right), round| (right, left ^ self.mixed(round, right)));
        (u32::from(left) << 16) | u32::from(right)
    }

    fn mixed(self, round: u8, half: u16) -> u16 {
        let digest =
            Sha256::new().chain_update(self.0).chain_update([round]).chain_update(half.to_be_bytes()).finalize();
        u16::from_be_bytes([digest[0], digest[1]])
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey(secret)")
    }
}

/// How a state makes identifiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// `None`: identifiers are plain numbers, as in older releases.
    pub key: Option<LinkKey>,
    /// The last plain number. Later identifiers must be none of these.
    pub counted: u32,
}

impl Links {
    /// The number and identifier after `last`. `None`: all are used.
    pub fn after(&self, last: u32) -> Option<(u32, u32)> {
        let numbers = last.checked_add(1)?..=u32::MAX;
        let identified = |number: u32| (number, self.key.map_or(number, |key| key.identifier(number)));
        // 0 is not an identifier.
        numbers.map(identified).find(|(_, identifier)| *identifier > self.counted || self.key.is_none())
    }

    /// Switches to `key`, if no key is used yet and `last` was the last number.
    #[must_use]
    pub fn keyed(self, key: LinkKey, last: u32) -> Self {
        if self.key.is_some() { self } else { Self { key: Some(key), counted: last } }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn given(links: Links, mut last: u32, count: usize) -> Vec<u32> {
        let mut all = Vec::new();
        while all.len() < count {
            let (number, identifier) = links.after(last).expect("more");
            assert!(number > last);
            last = number;
            all.push(identifier);
        }
        all
    }

    #[test]
    fn identifiers_are_given_out_once_and_tell_nothing_of_their_number() {
        let key = LinkKey::new([7; 16]);
        // Half of all numbers were used as plain ones, so collisions with them are common here.
        for counted in [0, 1, 1000, u32::MAX / 2] {
            let links = Links::default().keyed(key, counted);
            let all = given(links, counted, 20_000);
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
            assert!(all.iter().all(|identifier| *identifier > counted), "{counted}");
            let ascending = all.windows(2).filter(|pair| pair[0] < pair[1]).count();
            assert!((9_000..11_000).contains(&ascending), "{ascending} of 20,000 are above the one before");
        }
        let other = Links::default().keyed(LinkKey::new([8; 16]), 0);
        assert_ne!(given(Links::default().keyed(key, 0), 0, 8), given(other, 0, 8), "each state has its own");
    }

    #[test]
    fn a_state_keeps_its_key_and_what_it_counted() {
        let links = Links::default();
        assert_eq!(given(links, 3, 2), [4, 5]);
        let keyed = links.keyed(LinkKey::new([7; 16]), 5);
        assert_eq!(keyed.keyed(LinkKey::new([8; 16]), 9), keyed);
        assert_eq!(keyed.after(u32::MAX), None);
        assert_eq!(format!("{keyed:?}"), "Links { key: Some(LinkKey(secret)), counted: 5 }");
    }
}
