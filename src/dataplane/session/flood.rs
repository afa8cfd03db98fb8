//! A table under keys that somebody chose who knows its source: what a search reads stays what it is for any keys.

use super::table::tests::{addresses, session};
use super::{Addresses, Session, Table};
use crate::wire::Address;

#[path = "../../../benches/common/adversary.rs"]
mod adversary;

const SESSIONS: u32 = 24_000;

fn address(bits: u128) -> Address {
    Address::from(std::net::IpAddr::from(std::net::Ipv6Addr::from_bits(bits)).to_canonical())
}

/// A session of the consumer that `tuple` names.
fn chosen(([source, destination], ports): adversary::Tuple, number: u32) -> (Addresses, Session) {
    let addresses = Addresses {
        consumer: address(source),
        endpoint: address(destination),
        consumer_port: ports[0],
        endpoint_port: ports[1],
        ..addresses(number * 4)
    };
    let like = session(number);
    let admitted = super::Admitted {
        consumer_attachment: like.consumer_attachment,
        provider_attachment: like.provider_attachment,
        endpoint: like.endpoint,
        link: like.link,
        generation: like.generation,
        resource: like.resource,
        target: like.target,
        idle_limit: like.idle_limit,
        is_limited: false,
    };
    let session = Session::open(&addresses, like.protocol, &admitted, super::Tick(0));
    (addresses, session)
}

#[test]
fn no_choice_of_keys_makes_searches_longer_or_two_hashes_equal() {
    for seeds in [[3, 5], [0, 0], [0x1234_5678_9ABC_DEF1, 0x0FED_CBA9_8765_4321]] {
        let mut least = None;
        for (family, tuple) in adversary::FAMILIES {
            let mut table = Table::new(SESSIONS, seeds);
            let mut hashes = Vec::new();
            for number in 0..SESSIONS {
                let (addresses, session) = chosen(tuple(number), number);
                let key = session.service_key(&addresses);
                if table.find_any(&key).is_some() {
                    continue;
                }
                hashes.push(table.hash(&key).0);
                table.insert(&addresses, session).unwrap_or_else(|| panic!("{family}: no room for {number}"));
            }
            let keys = hashes.len();
            hashes.sort_unstable();
            hashes.dedup();
            assert_eq!(hashes.len(), keys, "{family}: hashes of {keys} keys");
            assert!(keys > SESSIONS as usize / 3, "{family}: {keys}");
            let probes = table.probes();
            assert!(probes.longest <= 30 && probes.refused == 0, "{family}: {probes:?}");
            // The first family is random.
            let (sessions, passed) = (keys as u64, table.index.passed());
            let (random_sessions, random_passed) = *least.get_or_insert((sessions, passed));
            assert!(
                (sessions + passed) * random_sessions * 10 <= (random_sessions + random_passed) * sessions * 13,
                "{family}: {passed} buckets passed by {sessions} sessions, {random_passed} by {random_sessions} random ones",
            );
        }
    }
}
