//! Rates against real kernels: what is offered beyond them is dropped silently, whichever worker it comes to.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::lab::{Daemon, ask, cli, drops, endpoint, inside, isolated, json, metrics, now, rest, two_legs, two_sides};
use crate::peers::{ANSWER, serve};

/// Bytes of an IP packet that carries [`PAYLOAD`].
const PACKET: u64 = 1_228;
const PAYLOAD: [u8; 1_200] = [7; 1_200];

/// How long packets are offered.
const OFFERED: Duration = Duration::from_secs(10);

/// Counts the bytes of IP packets that come to the server's port.
fn count_at(at: &str) -> Arc<AtomicU64> {
    let socket = inside("core", || UdpSocket::bind(at).expect("bound"));
    let counted = Arc::new(AtomicU64::new(0));
    let bytes = Arc::clone(&counted);
    std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while let Ok(length) = socket.recv(&mut buffer) {
            bytes.fetch_add(length as u64 + 28, Ordering::Relaxed);
        }
    });
    counted
}

/// Sends bits at this rate for ten seconds, from so many sockets in turn; returns the bytes that were offered, and for
/// how long.
fn offer(to: &str, bits_per_second: u64, sockets: usize) -> (u64, Duration) {
    inside("spoke", || {
        let sockets: Vec<_> = (0..sockets).map(|_| UdpSocket::bind("10.1.0.5:0").expect("bound")).collect();
        let began = now();
        let mut offered = 0;
        for number in 0.. {
            // As many as are due: what a busy machine holds up is sent later.
            let due = Duration::from_nanos(offered * 8 * 1_000_000_000 / bits_per_second);
            let passed = began.elapsed();
            if passed >= OFFERED {
                break;
            }
            std::thread::sleep(due.saturating_sub(passed));
            // What a full queue of the device loses was offered, too.
            let _ = sockets[number % sockets.len()].send_to(&PAYLOAD, to);
            offered += PACKET;
        }
        (offered, began.elapsed())
    })
}

/// Bits per second that came, as a percentage of those that are allowed.
fn percent(bytes: u64, within: Duration, allowed: u64) -> u64 {
    let allowed = u128::from(allowed) * within.as_millis() / 1_000;
    u64::try_from(u128::from(bytes) * 8 * 100 / allowed).expect("small")
}

/// Waits until a count grows no more: what is on its way has come, and is counted.
fn settled(count: impl Fn() -> u64) -> u64 {
    let mut before = u64::MAX;
    loop {
        let came = count();
        if came == before {
            return came;
        }
        before = came;
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn rated(name: &str, ip: &str, rates: &str) -> String {
    let plain = endpoint(name, "spoke", ip, "echo", "Approved");
    plain.replace("status = \"Approved\"", &format!("status = \"Approved\"\n{rates}"))
}

#[test]
fn udp_at_twice_the_rate_passes_once_over_one_worker_or_several() {
    isolated("rates::udp_at_twice_the_rate_passes_once_over_one_worker_or_several", || {
        const RATE: u64 = 4_000_000;
        two_legs();
        let counted = count_at("10.20.0.2:7000");
        let orders = rated("orders", "10.1.9.4", "rates = { bits_per_second = 4_000_000 }");
        for (workers, sockets) in [(1, 16), (2, 1), (2, 16)] {
            let daemon = Daemon::start(&two_sides(&format!("workers = {workers}"), &orders));
            counted.store(0, Ordering::Relaxed);
            let (offered, within) = offer("10.1.9.4:7", RATE * 2, sockets);
            assert!(percent(offered, within, RATE) > 180, "the machine did not offer enough: {offered} bytes");
            let came = settled(|| counted.load(Ordering::Relaxed));
            let share = percent(came, within, RATE);
            println!("{workers} workers, {sockets} sockets: {share} % of the rate");
            assert!((95..=105).contains(&share), "{workers} workers, {sockets} sockets: {share} %");
            let limited = settled(|| drops().get("rate_limited").copied().unwrap_or(0));
            assert!(limited * PACKET > offered * 4 / 10, "{limited} packets were limited");
            assert_eq!(json("status")["totals"]["answered"], 0, "silently");
            assert_eq!(json("endpoint show orders")["traffic"]["rateLimited"], limited);
            let metrics = metrics();
            assert_eq!(metrics[r#"privlink_endpoint_rate_limited_total{endpoint="default/orders"}"#], limited);
            assert_eq!(metrics[r#"privlink_resource_rate_limited_total{resource="default/echo"}"#], limited);
            assert_eq!(metrics[r#"privlink_endpoint_max_bits_per_second{endpoint="default/orders"}"#], RATE);
            let shown = ask("endpoint show orders");
            assert!(shown.contains("4 Mbit/s each way"), "{shown}");
            daemon.stop();
        }
    });
}

#[test]
fn a_greedy_endpoint_leaves_another_its_part_of_the_resources_rate() {
    isolated("rates::a_greedy_endpoint_leaves_another_its_part_of_the_resources_rate", || {
        const RATE: u64 = 4_000_000;
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let greedy = endpoint("greedy", "spoke", "10.1.9.4", "echo", "Approved");
        let modest = endpoint("modest", "spoke", "10.1.9.5", "echo", "Approved");
        let file = two_sides("workers = 2", &format!("{greedy}{modest}"));
        let _daemon = Daemon::start(
            &file.replace("nat = [\"10.20.99.4\"", "rates = { bits_per_second = 4_000_000 }\nnat = [\"10.20.99.4\""),
        );
        let passed = |name: &str| {
            json(&format!("endpoint show {name}"))["traffic"]["bytesToService"].as_u64().expect("a number")
        };
        let within = std::thread::scope(|scope| {
            let other = scope.spawn(|| offer("10.1.9.5:7", RATE / 4, 4));
            let (_, within) = offer("10.1.9.4:7", RATE * 3, 4);
            let (offered, _) = other.join().expect("offered");
            let came = settled(|| passed("modest"));
            assert!(came * 100 >= offered * 95, "{came} of {offered} bytes of the modest one passed");
            within
        });
        let all = percent(settled(|| passed("greedy") + passed("modest")), within, RATE);
        assert!((95..=105).contains(&all), "{all} % of the resource's rate");
        let explained = ask("explain --vnet spoke 10.1.0.5 10.1.9.5:7/udp");
        assert!(explained.contains("default/echo, shared by 2 approved endpoints: 4 Mbit/s each way"), "{explained}");
        assert!(ask("resource show echo").contains("4 Mbit/s each way"));
    });
}

#[test]
fn new_sessions_have_a_rate_and_those_there_are_live_on() {
    isolated("rates::new_sessions_have_a_rate_and_those_there_are_live_on", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let daemon = Daemon::start(&two_sides(
            "workers = 2",
            &rated("orders", "10.1.9.4", "rates = { new_sessions_per_second = 20 }"),
        ));
        let (opened, within) = inside("spoke", || {
            let mut answered = Vec::new();
            let began = now();
            while began.elapsed() < OFFERED {
                let socket = UdpSocket::bind("10.1.0.5:0").expect("bound");
                socket.set_read_timeout(Some(Duration::from_millis(5))).expect("set");
                let _ = socket.send_to(b"x", "10.1.9.4:7");
                if socket.recv(&mut [0; 100]).is_ok() {
                    answered.push(socket);
                }
            }
            let within = began.elapsed();
            for socket in &answered {
                socket.set_read_timeout(Some(ANSWER)).expect("set");
                let _ = socket.send_to(b"x", "10.1.9.4:7");
                socket.recv(&mut [0; 100]).expect("sessions that there are live on");
            }
            (json("endpoint show orders")["traffic"]["sessionsOpened"].as_u64().expect("a number"), within)
        });
        let allowed = 20 * u64::try_from(within.as_millis()).expect("small") / 1_000;
        // A machine that pauses for longer than the meter is deep opens fewer.
        assert!((allowed * 80..=allowed * 105).contains(&(opened * 100)), "{opened} where {allowed} are allowed");
        daemon.stop();
    });
}

/// What a rate is told by, who sets it, and how it goes again.
#[test]
fn a_rate_is_set_and_taken_away_by_a_file_and_by_azures_paths() {
    isolated("rates::a_rate_is_set_and_taken_away_by_a_file_and_by_azures_paths", || {
        two_legs();
        let plain = two_sides("workers = 2", &endpoint("orders", "spoke", "10.1.9.4", "echo", "Approved"));
        let daemon = Daemon::start(&plain);
        let path = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateEndpoints/orders";
        let put = |rates: serde_json::Value| {
            let (_, mut body) = rest("GET", path, "");
            body["properties"]["privlink"]["rates"] = rates;
            rest("PUT", path, &body.to_string())
        };
        let shown = || json("endpoint show orders")["rates"].clone();
        assert!(shown().is_null());
        let (status, body) = put(json!({ "bitsPerSecond": 5_000_000, "newSessionsPerSecond": 7 }));
        assert_eq!(
            (status, &body["properties"]["privlink"]["rates"]["bitsPerSecond"]),
            (200, &json!(5_000_000)),
            "{body}"
        );
        assert_eq!(shown(), json!({ "bitsPerSecond": 5_000_000, "newSessionsPerSecond": 7 }));
        let used = ask("usage --json");
        for quota in ["bits_per_second_to_service", "bits_per_second_to_consumer", "new_sessions_per_second"] {
            assert!(used.contains(quota), "{used}");
        }
        assert_eq!(put(json!({ "bitsPerSecond": 1 })).0, 400);
        assert_eq!(put(json!({ "bitsPerHour": 1 })).0, 400);
        assert_eq!(put(json!({})).0, 200);
        assert!(shown().is_null());
        daemon.apply(
            &plain.replace("status = \"Approved\"", "status = \"Approved\"\nrates = { bits_per_second = 6_000_000 }"),
        );
        assert_eq!(shown(), json!({ "bitsPerSecond": 6_000_000 }));
        daemon.apply(&plain);
        assert!(shown().is_null());
        let refused =
            cli("endpoint create second --vnet spoke --subnet endpoints --resource echo --bits-per-second 10");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("`bits_per_second` is 10"), "{said}");
    });
}
