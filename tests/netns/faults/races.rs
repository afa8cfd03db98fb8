use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::api::{call, items};
use crate::lab::{Daemon, eventually, inside, ip, isolated, metrics, now, orders, state_of, two_legs, verdict};
use crate::peers::address;
use crate::support::wanted::full;

const CONNECTION: &str = "/v1/connections/orders";
const OWNER: &str =
    "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateLinkServices/echo";

fn asked(method: &str, path: &str, body: &Value) -> (u16, Value) {
    call(method, path, body).expect("the daemon answers")
}

/// Two calls at once, each after a moment of its own: status and body of both.
fn at_once(
    random: &mut fastrand::Rng,
    one: impl FnOnce() -> (u16, Value) + Send,
    other: impl FnOnce() -> (u16, Value) + Send,
) -> [(u16, Value); 2] {
    let start = Barrier::new(2);
    let moments = [random.u64(0..600), random.u64(0..600)].map(Duration::from_micros);
    let begin = |moment| {
        start.wait();
        std::thread::sleep(moment);
    };
    std::thread::scope(|scope| {
        let one = scope.spawn(|| {
            begin(moments[0]);
            one()
        });
        let other = scope.spawn(|| {
            begin(moments[1]);
            other()
        });
        [one.join().expect("answered"), other.join().expect("answered")]
    })
}

/// `orders`, asked for anew and not decided.
fn ask_anew() {
    let (status, body) = asked("DELETE", "/v1/endpoints/orders", &Value::Null);
    assert!([200, 404].contains(&status), "{body}");
    let document = "[[endpoint]]\nname = \"orders\"\nvnet = \"spoke\"\nsubnet = \"endpoints\"\nip = \"10.1.9.4\"\n\
                    resource = \"echo\"\nmanual = true\n";
    let (status, body) = asked("POST", "/v1/apply", &json!({ "name": "x", "document": document, "createOnly": true }));
    assert_eq!(status, 200, "{body}");
}

/// The one of two callers who won, given that one has; the other has to have been told `state`.
fn winner(answers: &[(u16, Value); 2], refusal: u16) -> usize {
    let statuses = [answers[0].0, answers[1].0];
    let won = statuses.iter().position(|status| *status == 200).unwrap_or_else(|| panic!("{answers:?}"));
    assert_eq!(statuses[1 - won], refusal, "{answers:?}");
    won
}

#[test]
fn of_two_who_decide_at_once_one_wins_and_the_other_sees_the_new_state() {
    isolated("faults::races::of_two_who_decide_at_once_one_wins_and_the_other_sees_the_new_state", || {
        two_legs();
        let rounds = if full() { 500 } else { 60 };
        let mut random = fastrand::Rng::with_seed(7);
        let _daemon = Daemon::start(&orders("Approved"));
        let mut won = [[0; 2]; 2];
        for _ in 0..rounds {
            ask_anew();
            let decide =
                |action| move || asked("POST", &format!("{CONNECTION}/{action}"), &json!({ "ifState": "Pending" }));
            let answers = at_once(&mut random, decide("approve"), decide("reject"));
            let first = winner(&answers, 409);
            let state = ["Approved", "Rejected"][first];
            assert_eq!(state_of("orders"), state);
            let told = answers[1 - first].1["error"]["message"].as_str().expect("a message");
            assert!(told.contains(&format!("it is {} by ", state.to_lowercase())), "{told}");
            won[0][first] += 1;

            // The same by Azure's paths: both hold the tag of what they have read.
            ask_anew();
            let list = format!("{OWNER}/privateEndpointConnections?api-version=2024-05-01");
            let (_, listed) = asked("GET", &list, &Value::Null);
            let (id, tag) = (&listed["value"][0]["id"], &listed["value"][0]["etag"]);
            let path = format!("{}?api-version=2024-05-01", id.as_str().expect("an identifier"));
            let put = |status: &str| {
                let state = json!({ "properties": { "privateLinkServiceConnectionState": { "status": status } } });
                let (path, tag) = (path.clone(), tag.as_str().expect("a tag").to_owned());
                move || super::api::call_if("PUT", &path, &tag, &state).expect("the daemon answers")
            };
            let answers = at_once(&mut random, put("Approved"), put("Rejected"));
            let first = winner(&answers, 412);
            let (_, shown) = asked("GET", &path, &Value::Null);
            let state = &shown["properties"]["privateLinkServiceConnectionState"]["status"];
            assert_eq!(state, ["Approved", "Rejected"][first], "{shown}");
            assert_ne!(shown["etag"], *tag);
            won[1][first] += 1;
        }
        println!("approve and reject won {won:?} of {rounds} rounds by privlink's and by Azure's paths");
        assert!(won.iter().flatten().all(|count| *count > 0), "both can win");
    });
}

/// Datagrams through the endpoint, numbered, at a steady rate.
struct Stream {
    /// The last that was sent, or is about to be.
    sent: AtomicU64,
    paused: AtomicBool,
    idle: AtomicBool,
    over: AtomicBool,
    arrived: AtomicU64,
}

/// Datagrams in a second.
const RATE: u64 = 2_500;

impl Stream {
    fn send(&self) {
        let socket = inside("spoke", || UdpSocket::bind(address("10.1.0.5:5000"))).expect("bound");
        let (mut began, mut due) = (now(), 0);
        while !self.over.load(Ordering::SeqCst) {
            if self.paused.load(Ordering::SeqCst) {
                self.idle.store(true, Ordering::SeqCst);
                std::thread::sleep(Duration::from_micros(100));
                (began, due) = (now(), 0);
                continue;
            }
            self.idle.store(false, Ordering::SeqCst);
            // As many as are due by now: the rate holds on a machine that is late.
            while due <= u64::try_from(began.elapsed().as_micros()).expect("soon") * RATE / 1_000_000 {
                let number = self.sent.fetch_add(1, Ordering::SeqCst) + 1;
                // Without an endpoint the kernel may refuse; the number is spent.
                let _ = socket.send_to(&number.to_be_bytes(), address("10.1.9.4:7"));
                due += 1;
            }
            std::thread::sleep(Duration::from_micros(400));
        }
    }

    /// What the backend hears, until the end.
    fn hear(&self, socket: &UdpSocket) -> BTreeSet<u64> {
        let mut heard = BTreeSet::new();
        let mut buffer = [0; 8];
        while !self.over.load(Ordering::SeqCst) {
            if socket.recv(&mut buffer).is_ok() {
                let number = u64::from_be_bytes(buffer);
                heard.insert(number);
                self.arrived.fetch_max(number, Ordering::SeqCst);
            }
        }
        heard
    }

    /// Nothing is sent any more, and the forwarder has read all that was: what it still holds was judged by now.
    fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        eventually("the sender is idle", || self.idle.load(Ordering::SeqCst));
        let sent = || {
            let shown = ip("-n spoke -s -j link show pl-spoke") + &ip("-n core -s -j link show pl-core");
            let links: Vec<Value> =
                serde_json::Deserializer::from_str(&shown).into_iter().collect::<Result<_, _>>().expect("JSON");
            links.iter().filter_map(|link| link[0]["stats64"]["tx"]["packets"].as_u64()).sum::<u64>()
        };
        eventually("the forwarder has read everything", || verdict(&metrics(), "read") == sent());
    }

    fn go_on(&self) {
        self.idle.store(false, Ordering::SeqCst);
        self.paused.store(false, Ordering::SeqCst);
    }
}

#[test]
fn no_packet_passes_that_the_last_of_racing_callers_forbids() {
    isolated("faults::races::no_packet_passes_that_the_last_of_racing_callers_forbids", || {
        two_legs();
        let rounds = if full() { 1_000 } else { 100 };
        let mut random = fastrand::Rng::with_seed(11);
        let _daemon = Daemon::start(&orders("Approved"));
        let backend = inside("core", || UdpSocket::bind(address("10.20.0.2:7000"))).expect("bound");
        backend.set_read_timeout(Some(Duration::from_millis(50))).expect("set");
        let stream = Stream {
            sent: AtomicU64::new(0),
            paused: AtomicBool::new(true),
            idle: AtomicBool::new(true),
            over: AtomicBool::new(false),
            arrived: AtomicU64::new(0),
        };
        // Numbers after the first and up to the second were sent while no packet may pass.
        let mut forbidden: Vec<(u64, u64)> = Vec::new();
        // Approved and Rejected at the end of approve against reject; approve before and after delete.
        let mut outcomes = [[0; 2]; 2];
        let mut under_way = Duration::ZERO;
        let heard = std::thread::scope(|scope| {
            scope.spawn(|| stream.send());
            let hearing = scope.spawn(|| stream.hear(&backend));
            for round in 0..rounds {
                let deletes = round % 2;
                ask_anew();
                let began = now();
                stream.go_on();
                if random.bool() {
                    // Sessions are open when the race begins.
                    assert_eq!(asked("POST", &format!("{CONNECTION}/approve"), &json!({})).0, 200);
                    let from = stream.sent.load(Ordering::SeqCst);
                    eventually("packets pass", || stream.arrived.load(Ordering::SeqCst) > from);
                }
                let approve = || asked("POST", &format!("{CONNECTION}/approve"), &json!({}));
                let forbid = || match deletes {
                    0 => asked("POST", &format!("{CONNECTION}/reject"), &json!({})),
                    _ => asked("DELETE", "/v1/endpoints/orders", &Value::Null),
                };
                let [approved, forbade] = at_once(&mut random, approve, forbid);
                let since = stream.sent.load(Ordering::SeqCst);
                assert_eq!(forbade.0, 200, "{forbade:?}");
                let passes = if deletes == 0 {
                    assert_eq!(approved.0, 200, "{approved:?}");
                    let state = state_of("orders");
                    // Whoever came later found what the other had left.
                    let [first, last] = if state == "Approved" { [&forbade, &approved] } else { [&approved, &forbade] };
                    assert_eq!(last.1["items"][0]["to"], *state, "{first:?}, {last:?}");
                    assert_eq!(last.1["items"][0]["from"], first.1["items"][0]["to"], "{first:?}, {last:?}");
                    state == "Approved"
                } else {
                    assert!([200, 404].contains(&approved.0), "{approved:?}");
                    assert_eq!(items("/v1/connections"), Vec::<Value>::new());
                    false
                };
                outcomes[deletes][usize::from(approved.0 != 200 || (deletes == 0 && !passes))] += 1;
                if passes {
                    eventually("packets pass", || stream.arrived.load(Ordering::SeqCst) > since);
                } else {
                    // Long enough for some to be sent.
                    eventually("packets are sent", || stream.sent.load(Ordering::SeqCst) > since + 20);
                }
                under_way += began.elapsed();
                stream.pause();
                if !passes {
                    forbidden.push((since, stream.sent.load(Ordering::SeqCst)));
                }
            }
            stream.over.store(true, Ordering::SeqCst);
            hearing.join().expect("heard")
        });
        let sent = stream.sent.load(Ordering::SeqCst);
        let tried: u64 = forbidden.iter().map(|(since, until)| until - since).sum();
        let rate = u128::from(sent) * 1_000 / under_way.as_millis();
        println!(
            "{sent} datagrams at {rate} a second, {} arrived; {tried} were sent when none may pass; outcomes {outcomes:?}",
            heard.len()
        );
        let passed: Vec<u64> =
            forbidden.iter().flat_map(|(since, until)| heard.range(since + 1..=*until)).copied().collect();
        assert_eq!(passed, Vec::<u64>::new(), "of {tried} that were sent too late");
        assert!(rate >= 1_000, "{rate} a second");
        assert!(tried > 20 * u64::try_from(rounds / 4).expect("small") && heard.len() > rounds / 2);
        assert!(outcomes.iter().flatten().all(|count| *count > 0), "{outcomes:?}: each was seen");
    });
}
