//! More questions than a dead upstream lets go.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use super::{TRUE, UPSTREAM, addresses, listens, query, resolved, upstream};
use crate::dns::{NAME, file, lab};
use crate::lab::{Daemon, eventually, inside, isolated, metrics, now};
use crate::peers::ANSWER;
use crate::support::dns::RESOLVER;

/// Questions that wait for an upstream at most.
const WAITING: u64 = 1_024;

#[test]
fn more_questions_than_may_wait_for_a_dead_upstream_are_dropped_and_counted() {
    isolated("dns_hostile::floods::more_questions_than_may_wait_for_a_dead_upstream_are_dropped_and_counted", || {
        const SENT: u64 = 3_000;
        lab();
        // Its port is open and nobody reads: no answer, and no ICMP message either.
        let dead = inside("spoke", || UdpSocket::bind((UPSTREAM, 53)).expect("bound"));
        let settings = format!("listen = \"{RESOLVER}\", upstream = \"{UPSTREAM}\"");
        let daemon = Daemon::start(&file(&settings, "Approved"));
        listens();
        assert_eq!(busy(), 0);
        let (threads, memory, held) = size_of(&daemon);

        let client = inside("spoke", || UdpSocket::bind("10.1.0.5:0").expect("bound"));
        let began = now();
        for number in 0..SENT {
            client.send_to(&query(&format!("flood{number}.example.org"), 1, None), (RESOLVER, 53)).expect("sent");
            // What was sent before a private name has been read when that is answered: nothing is lost on the way.
            if number % 100 == 99 {
                let asked = now();
                assert_eq!(addresses(&resolved(NAME, 1)), [Ipv4Addr::new(10, 1, 9, 8)], "after {number}");
                assert!(asked.elapsed() < Duration::from_secs(1), "after {number}: {:?}", asked.elapsed());
            }
        }
        // Those who wait give up after two seconds, and others take their places.
        let rounds = 1 + began.elapsed().as_secs() / 2;
        let dropped = busy();
        assert!(dropped >= SENT - rounds * WAITING, "{dropped} of {SENT} dropped in {:?}", began.elapsed());
        assert!(dropped <= SENT - WAITING, "{dropped} of {SENT} dropped, though {WAITING} may wait");
        let (more_threads, more_memory, more_held) = size_of(&daemon);
        assert!(more_threads <= threads + 4, "{more_threads} threads, {threads} before");
        assert!(more_memory <= memory + 32 * 1_024, "{more_memory} KiB, {memory} before");
        assert!(more_held <= held + 256 + 8, "{more_held} descriptors, {held} before");

        // Every datagram has one fate.
        eventually("whoever waits is told that no answer could be had", || busy() + failed() == SENT);
        client.set_read_timeout(Some(ANSWER)).expect("set");
        let mut buffer = [0; 1_024];
        client.recv(&mut buffer).expect("an answer");
        assert_eq!(buffer[3] & 0x0f, 2, "SERVFAIL");

        drop(dead);
        upstream(&Arc::default(), &Arc::default());
        eventually("the upstream's names are answered again", || {
            addresses(&resolved("www.example.org", 1)) == [Ipv4Addr::from(TRUE)]
        });
        let before = busy();
        for number in 0..200 {
            let name = format!("after{number}.example.org");
            assert_eq!(addresses(&resolved(&name, 1)), [Ipv4Addr::from(TRUE)], "{name}");
        }
        assert_eq!(busy(), before, "and nothing more is dropped");
        eventually("every socket is given back", || size_of(&daemon).2 <= held + 8);
    });
}

/// Datagrams that were dropped because too many others wait.
fn busy() -> u64 {
    metrics().get("privlink_dns_dropped_total{vnet=\"default/spoke\",reason=\"busy\"}").copied().unwrap_or(0)
}

/// Questions that the upstream did not answer.
fn failed() -> u64 {
    let name = "privlink_dns_queries_total{vnet=\"default/spoke\",source=\"forwarded\",rcode=\"SERVFAIL\"}";
    metrics().get(name).copied().unwrap_or(0)
}

/// Threads, resident memory in KiB, and open descriptors of the daemon.
fn size_of(daemon: &Daemon) -> (u64, u64, usize) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("there");
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    };
    let held = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("its descriptors").count();
    (number("Threads:"), number("VmRSS:"), held)
}
