//! A resolver among people who mean it no good: forged, lying, dead and circular upstreams, malformed queries, floods.

/// More questions than a dead upstream lets go.
mod floods;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData};

use crate::dns::{NAME, file, lab};
use crate::lab::{Daemon, ask, cli, eventually, inside, isolated, json, metrics, now};
use crate::peers::ANSWER;
use crate::support::dns::RESOLVER;

const UPSTREAM: &str = "10.1.0.53";
const TRUE: [u8; 4] = [192, 0, 2, 1];
const FORGED: [u8; 4] = [203, 0, 113, 66];

/// A name on the wire.
fn wire(name: &str) -> Vec<u8> {
    let labels =
        name.split('.').flat_map(|label| [&[u8::try_from(label.len()).expect("short")], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

/// A query, with EDNS if a payload is given.
fn query(name: &str, kind: u16, payload: Option<u16>) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(payload.is_some())];
    message.extend([wire(name), kind.to_be_bytes().to_vec(), vec![0, 1]].concat());
    if let Some(payload) = payload {
        message.extend([&[0, 0, 41][..], &payload.to_be_bytes(), &[0; 6]].concat());
    }
    message
}

/// What the resolver says to some bytes, from an address of the VNet; `None`: nothing.
fn say(message: &[u8], patience: Duration) -> Option<Vec<u8>> {
    inside("spoke", || {
        let socket = UdpSocket::bind("10.1.0.5:0").expect("bound");
        socket.set_read_timeout(Some(patience)).expect("set");
        socket.send_to(message, (RESOLVER, 53)).expect("sent");
        let mut buffer = vec![0; 65_535];
        let length = socket.recv(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    })
}

fn resolved(name: &str, kind: u16) -> Message {
    let said = say(&query(name, kind, Some(1_232)), ANSWER).unwrap_or_else(|| panic!("{name}: silence"));
    Message::from_vec(&said).expect("a message")
}

/// Waits until the resolver answers.
fn listens() {
    eventually("the resolver answers", || say(&query(NAME, 1, None), Duration::from_millis(200)).is_some());
}

fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    let four = message.answers.iter().filter_map(|record| {
        let RData::A(four) = &record.data else { return None };
        Some(four.0)
    });
    four.collect()
}

/// An answer to `query`: flags, the question, and records in the answer section.
fn answer(query: &[u8], flags: [u8; 2], records: &[Vec<u8>]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).expect("a name") + 5;
    let mut message = query[..2].to_vec();
    message.extend(flags);
    message.extend([0, 1, 0, u8::try_from(records.len()).expect("few"), 0, 0, 0, 0]);
    message.extend(&query[12..end]);
    message.extend(records.concat());
    message
}

fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("short");
    [owner, &kind.to_be_bytes(), &[0, 1, 0, 0, 1, 44], &length.to_be_bytes(), data].concat()
}

const ASKED: &[u8] = &[0xc0, 12];
const OK: [u8; 2] = [0x81, 0x80];

fn address_of(query: &[u8], address: [u8; 4]) -> Vec<u8> {
    answer(query, OK, &[record(ASKED, 1, &address)])
}

/// The first label that a query asks for, in lower case.
fn label(query: &[u8]) -> String {
    let length = usize::from(query[12]);
    String::from_utf8_lossy(&query[13..13 + length]).to_lowercase()
}

/// What a hostile network sends for one query, in order; the true answer comes last, where there is one.
fn datagrams(query: &[u8]) -> Vec<Vec<u8>> {
    let (forged, honest) = (address_of(query, FORGED), address_of(query, TRUE));
    let with = |at: usize, value: u8| {
        let mut message = forged.clone();
        message[at] ^= value;
        message
    };
    match &*label(query) {
        "wrong-id" => vec![with(1, 1), with(0, 0x80), honest],
        "a-query" => vec![with(2, 0x80), honest],
        "other-question" => vec![with(14, 1), honest],
        "other-type" => vec![with(forged.len() - 16 - 3, 0x1c ^ 1), honest],
        "two-questions" => vec![with(5, 3), honest],
        "garbage" => vec![vec![], vec![7; 5], forged[..forged.len() - 6].to_vec(), vec![255; 400], honest],
        "pointer-loop" => vec![answer(query, OK, &[record(&[0xc0, 64], 1, &FORGED)]), honest],
        // Nobody repeats the letters: a stream has to tell.
        "letters" => vec![[&forged[..12], &forged[12..].to_ascii_lowercase()].concat()],
        "cut" => vec![answer(query, [0x83, 0x80], &[])],
        "bailiwick" => vec![answer(
            query,
            OK,
            &[
                record(ASKED, 1, &TRUE),
                record(&wire("victim.example.org"), 1, &FORGED),
                record(&wire("account.blob.core.windows.net"), 1, &FORGED),
                record(ASKED, 5, &wire("victim.example.org")),
            ],
        )],
        "unasked" => vec![answer(query, OK, &[record(&wire("victim.example.org"), 1, &FORGED)])],
        "circle" => vec![answer(
            query,
            OK,
            &[
                record(ASKED, 5, &wire("circle2.example.org")),
                record(&wire("circle2.example.org"), 5, &wire("circle.example.org")),
            ],
        )],
        "circle2" => vec![answer(query, OK, &[record(ASKED, 5, &wire("circle.example.org"))])],
        name if name.starts_with("endless") => {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            let next = wire(&format!("endless{}.example.org", NEXT.fetch_add(1, Ordering::Relaxed)));
            vec![answer(query, OK, &[record(ASKED, 5, &next)])]
        }
        "into" => vec![answer(query, OK, &[record(ASKED, 5, &wire(NAME)), record(&wire(NAME), 1, &FORGED)])],
        "nowhere" => vec![answer(query, [0x81, 0x83], &[])],
        "refuses" => vec![answer(query, [0x81, 0x85], &[])],
        "dead" => vec![],
        _ => vec![honest],
    }
}

/// The upstream: `asked` counts its queries. A name that begins with `back` it asks the resolver for.
fn upstream(asked: &Arc<AtomicUsize>, names: &Arc<Mutex<Vec<Vec<u8>>>>) {
    let (socket, elsewhere, listener) = inside("spoke", || {
        (
            UdpSocket::bind((UPSTREAM, 53)).expect("bound"),
            UdpSocket::bind((UPSTREAM, 0)).expect("bound"),
            TcpListener::bind((UPSTREAM, 53)).expect("bound"),
        )
    });
    let (asked, names) = (Arc::clone(asked), Arc::clone(names));
    std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let query = &buffer[..length];
            asked.fetch_add(1, Ordering::Relaxed);
            names.lock().expect("unharmed").push(query.to_vec());
            if label(query) == "other-port" {
                elsewhere.send_to(&address_of(query, FORGED), client).expect("sent");
            }
            if label(query) == "back" {
                elsewhere.send_to(query, (RESOLVER, 53)).expect("sent");
                continue;
            }
            for datagram in datagrams(query) {
                socket.send_to(&datagram, client).expect("sent");
            }
        }
    });
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_err() {
                continue;
            }
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query).expect("a query");
            let answer = address_of(&query, TRUE);
            let length = u16::try_from(answer.len()).expect("short").to_be_bytes();
            stream.write_all(&[&length[..], &answer].concat()).expect("sent");
        }
    });
}

#[test]
fn nothing_of_a_forging_or_lying_upstream_is_used() {
    isolated("dns_hostile::nothing_of_a_forging_or_lying_upstream_is_used", || {
        lab();
        let (asked, names) = (Arc::default(), Arc::default());
        upstream(&asked, &names);
        let settings = format!("listen = \"{RESOLVER}\", upstream = \"{UPSTREAM}\"");
        let _daemon = Daemon::start(&file(&settings, "Approved"));
        listens();

        for name in [
            "wrong-id",
            "other-port",
            "a-query",
            "other-question",
            "other-type",
            "two-questions",
            "garbage",
            "pointer-loop",
            "letters",
            "cut",
            "bailiwick",
        ] {
            let said = resolved(&format!("{name}.example.org"), 1);
            assert_eq!(addresses(&said), [Ipv4Addr::from(TRUE)], "{name}: {said}");
            assert_eq!(said.answers.len(), 1, "{name}: {said}");
        }
        // What came along has poisoned nothing.
        assert_eq!(addresses(&resolved("victim.example.org", 1)), [Ipv4Addr::from(TRUE)]);
        assert_eq!(addresses(&resolved(NAME, 1)), [Ipv4Addr::new(10, 1, 9, 8)]);
        let unasked = resolved("unasked.example.org", 1);
        assert!(unasked.answers.is_empty(), "{unasked}");
        // An alias that leads into the plan: the plan's address, not the one beside it.
        assert_eq!(addresses(&resolved("into.example.org", 1)), [Ipv4Addr::new(10, 1, 9, 8)]);

        for name in ["circle", "endless"] {
            let before = asked.load(Ordering::Relaxed);
            let said = resolved(&format!("{name}.example.org"), 1);
            assert_eq!(
                (said.metadata.response_code, said.answers.len()),
                (ResponseCode::ServFail, 0),
                "{name}: {said}"
            );
            assert!(asked.load(Ordering::Relaxed) - before <= 10, "{name} is followed for a while");
        }
        for (name, code) in
            [("nowhere", ResponseCode::NXDomain), ("refuses", ResponseCode::Refused), ("dead", ResponseCode::ServFail)]
        {
            assert_eq!(resolved(&format!("{name}.example.org"), 1).metadata.response_code, code, "{name}");
        }
        // A server that asks back is asked once, and the resolver itself never.
        let before = asked.load(Ordering::Relaxed);
        assert_eq!(resolved("back.example.org", 1).metadata.response_code, ResponseCode::ServFail);
        assert!(asked.load(Ordering::Relaxed) - before <= 2, "a circle of servers is bounded");

        // Identifiers and letters are random: no two of many questions are alike in both.
        for number in 0..16 {
            resolved(&format!("randomly-written-{number}.example.org"), 1);
        }
        let seen = names.lock().expect("unharmed");
        let of = |query: &Vec<u8>| label(query).starts_with("randomly-written");
        let (mut ids, mut letters): (Vec<[u8; 2]>, Vec<Vec<u8>>) =
            seen.iter().filter(|query| of(query)).map(|query| ([query[0], query[1]], query[13..29].to_vec())).unzip();
        for count in [
            {
                ids.sort_unstable();
                ids.dedup();
                ids.len()
            },
            {
                letters.sort_unstable();
                letters.dedup();
                letters.len()
            },
        ] {
            assert!(count >= 12, "{count} different of 16");
        }
    });
}

#[test]
fn bad_queries_are_answered_with_a_code_or_not_at_all_and_counted() {
    isolated("dns_hostile::bad_queries_are_answered_with_a_code_or_not_at_all_and_counted", || {
        lab();
        let (asked, names) = (Arc::default(), Arc::default());
        upstream(&asked, &names);
        let settings = format!("listen = \"{RESOLVER}\", upstream = \"{UPSTREAM}\"");
        let daemon = Daemon::start(&file(&settings, "Approved"));
        listens();

        let sound = query(NAME, 1, None);
        let changed = |at: usize, value: u8| {
            let mut message = sound.clone();
            message[at] = value;
            message
        };
        let class = |class: u8| changed(sound.len() - 1, class);
        let silent = Duration::from_millis(200);
        for (what, message, code) in [
            ("nothing", vec![], None),
            ("half a header", sound[..7].to_vec(), None),
            ("an answer", changed(2, 0x81), None),
            ("a status query", changed(2, 0x10), Some(4)),
            ("an update", changed(2, 0x28), Some(4)),
            ("no question", changed(5, 0), Some(1)),
            ("two questions", changed(5, 2), Some(1)),
            ("a name without its end", sound[..20].to_vec(), Some(1)),
            ("a name that points to itself", [&sound[..12], &[0xc0, 12, 0, 1, 0, 1]].concat(), Some(1)),
            ("bytes left over", [&*sound, &[0; 9]].concat(), Some(1)),
            ("class CH", class(3), Some(5)),
            ("class ANY", class(255), Some(5)),
            ("AXFR", query(NAME, 252, None), Some(5)),
            ("IXFR", query(NAME, 251, None), Some(5)),
            ("MAILB", query(NAME, 253, None), Some(4)),
            ("no type", query(NAME, 0, None), Some(1)),
        ] {
            let patience = if code.is_some() { ANSWER } else { silent };
            let said = say(&message, patience);
            assert_eq!(said.as_ref().map(|said| said[3] & 0x0f), code, "{what}: {said:?}");
            if let Some(said) = said {
                assert!(said[2] & 0x80 != 0 && said[..2] == [0x12, 0x34], "{what}");
                assert!(said.len() <= message.len(), "{what}: no more than was sent");
            }
        }
        let counted = metrics();
        let count = |labels: &str| counted.get(labels).copied().unwrap_or(0);
        assert_eq!(count("privlink_dns_dropped_total{vnet=\"default/spoke\",reason=\"no_query\"}"), 3);
        for (code, expected) in [("FORMERR", 6), ("NOTIMP", 3), ("REFUSED", 4)] {
            let name =
                format!("privlink_dns_queries_total{{vnet=\"default/spoke\",source=\"refused\",rcode=\"{code}\"}}");
            assert_eq!(count(&name), expected, "{code}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0, "nobody was asked for any of it");

        // RFC 8482: everything at once is one short record; of a public name, too.
        for name in [NAME, "www.example.org"] {
            let said = resolved(name, 255);
            assert_eq!(said.answers.len(), 1, "{said}");
            assert!(matches!(&said.answers[0].data, RData::HINFO(_)), "{said}");
        }
        // Strangers: refused, and nothing to gain by their asking.
        let stranger = inside("spoke", || {
            let socket = UdpSocket::bind("172.16.0.9:0").expect("bound");
            socket.set_read_timeout(Some(ANSWER)).expect("set");
            socket.send_to(&query(NAME, 1, Some(4_096)), (RESOLVER, 53)).expect("sent");
            let mut buffer = [0; 4_096];
            let length = socket.recv(&mut buffer).expect("an answer");
            buffer[..length].to_vec()
        });
        assert_eq!(stranger[3] & 0x0f, 5);
        assert!(stranger.len() <= query(NAME, 1, Some(4_096)).len() + 6, "{stranger:?}");
        // Without leave to ask others (RD), nothing of what others were told.
        resolved("kept.example.org", 1);
        let mut alone = query("kept.example.org", 1, None);
        alone[2] = 0;
        assert_eq!(say(&alone, ANSWER).expect("an answer")[3] & 0x0f, 5);

        slow_clients(&daemon);
    });
}

/// More TCP clients than there is room for, none of which asks anything: those who do are served all the same.
fn slow_clients(daemon: &Daemon) {
    let dial = || inside("spoke", || TcpStream::connect((RESOLVER, 53)).expect("connected"));
    let idle: Vec<TcpStream> = (0..600)
        .map(|number| {
            let mut stream = dial();
            if number % 2 == 0 {
                stream.write_all(&[0, 40, 1]).expect("sent");
            }
            stream
        })
        .collect();
    let began = now();
    let mut stream = dial();
    let message = query(NAME, 1, None);
    stream.write_all(&[&[0, u8::try_from(message.len()).expect("short")][..], &message].concat()).expect("sent");
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("an answer");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let held = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("its descriptors").count();
    assert!(held < 400, "{held} descriptors for 601 clients");
    drop(idle);
    assert_eq!(addresses(&resolved(NAME, 1)), [Ipv4Addr::new(10, 1, 9, 8)]);
}

#[test]
fn long_answers_fit_their_clients_and_new_names_are_known_at_once() {
    isolated("dns_hostile::long_answers_fit_their_clients_and_new_names_are_known_at_once", || {
        lab();
        let (asked, names) = (Arc::default(), Arc::default());
        upstream(&asked, &names);
        let settings = format!("listen = \"{RESOLVER}\", upstream = \"{UPSTREAM}\"");
        let many: String = (20..120)
            .map(|last| {
                crate::lab::endpoint(&format!("e{last}"), "spoke", &format!("10.1.9.{last}"), "account", "Approved")
                    .replace("[[endpoint]]", "[[endpoint]]\nsubresource = \"blob\"")
            })
            .collect();
        let _daemon = Daemon::start(&(file(&settings, "Approved") + &many));
        listens();
        for (payload, most) in [(None, 512), (Some(0), 512), (Some(900), 900), (Some(65_535), 1_232)] {
            let said = say(&query(NAME, 1, payload), ANSWER).expect("an answer");
            assert!(said.len() <= most, "{payload:?}: {}", said.len());
            assert!(said[2] & 0x02 != 0, "{payload:?}: it says that there is more");
        }
        let whole = inside("spoke", || {
            let mut stream =
                TcpStream::connect(SocketAddr::new(RESOLVER.parse().expect("one"), 53)).expect("connected");
            let message = query(NAME, 1, Some(512));
            stream
                .write_all(&[&[0, u8::try_from(message.len()).expect("short")][..], &message].concat())
                .expect("sent");
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("an answer");
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).expect("the whole of it");
            Message::from_vec(&answer).expect("a message")
        });
        assert_eq!(addresses(&whole).len(), 101);
        let owner = &whole.answers[0].name;
        assert_eq!(owner, &Name::from_ascii(format!("{NAME}.")).expect("a name"));

        // Three new endpoints, and how long after the call their address is told; a loaded machine may be late once.
        let waited = ["late1", "late2", "late3"].map(|name| {
            ask(&format!(
                "endpoint create {name} --vnet spoke --subnet endpoints --resource account --subresource blob"
            ));
            let address: Ipv4Addr = json(&format!("endpoint show {name}"))["addresses"][0]["ip"]
                .as_str()
                .expect("it has one")
                .parse()
                .expect("IPv4");
            let began = now();
            let mut told = false;
            while !told && began.elapsed() < Duration::from_secs(5) {
                told = tcp(NAME).contains(&address);
            }
            began.elapsed()
        });
        let best = waited.iter().min().expect("three");
        assert!(*best < Duration::from_millis(50), "{waited:?}");
    });
}

/// The addresses of `name`, asked by TCP.
fn tcp(name: &str) -> Vec<Ipv4Addr> {
    inside("spoke", || {
        let mut stream = TcpStream::connect((RESOLVER, 53)).expect("connected");
        let message = query(name, 1, None);
        stream.write_all(&[&[0, u8::try_from(message.len()).expect("short")][..], &message].concat()).expect("sent");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).expect("the whole of it");
        addresses(&Message::from_vec(&answer).expect("a message"))
    })
}

#[test]
fn explain_shows_zone_chain_cache_and_upstream() {
    isolated("dns_hostile::explain_shows_zone_chain_cache_and_upstream", || {
        lab();
        let (asked, names) = (Arc::default(), Arc::default());
        upstream(&asked, &names);
        let settings = format!("listen = \"{RESOLVER}\", upstream = \"{UPSTREAM}\"");
        let _daemon = Daemon::start(&file(&settings, "Approved"));
        listens();

        let own = json(&format!("dns query {NAME} --vnet spoke --explain"));
        let hop = &own["hops"][0];
        assert_eq!((own["code"].as_str(), hop["source"].as_str()), (Some("NOERROR"), Some("plan")), "{own}");
        let told: Vec<&str> =
            hop["records"].as_array().expect("records").iter().filter_map(|one| one["data"].as_str()).collect();
        assert_eq!(told, ["account.privatelink.blob.core.windows.net.", "10.1.9.8"]);
        let text = ask(&format!("dns query {NAME} --vnet spoke --explain"));
        assert!(text.contains("zone privatelink.blob.core.windows.net") && text.contains("NOERROR"), "{text}");

        let first = json("dns query www.example.org --vnet spoke --explain");
        let hop = &first["hops"][0];
        assert_eq!((hop["source"].as_str(), hop["server"].as_str()), (Some("upstream"), Some(UPSTREAM)), "{first}");
        let again = json("dns query WWW.example.org --vnet spoke --explain");
        let hop = &again["hops"][0];
        assert_eq!((hop["source"].as_str(), hop["server"].as_str()), (Some("cache"), Some(UPSTREAM)), "{again}");
        let left = hop["secondsLeft"].as_u64().expect("time left");
        assert!((1..=300).contains(&left), "{again}");
        assert!(ask("dns query www.example.org --vnet spoke --explain").contains("s left), from 10.1.0.53"));

        let into = json("dns query into.example.org --vnet spoke --explain");
        let sources: Vec<&str> =
            into["hops"].as_array().expect("hops").iter().filter_map(|hop| hop["source"].as_str()).collect();
        assert_eq!(sources, ["upstream", "plan"], "{into}");
        let nowhere = json("dns query nowhere.example.org --vnet spoke --explain --type AAAA");
        assert_eq!(nowhere["code"].as_str(), Some("NXDOMAIN"), "{nowhere}");
        for (arguments, said) in [
            (format!("dns query {} --vnet spoke --explain", "a".repeat(64)), "is no domain name"),
            ("dns query a.example --vnet spoke --explain --type NONSENSE".to_owned(), "is no type of records"),
            ("dns query a.example --vnet core --explain".to_owned(), "resolver"),
            ("dns query a.example --vnet nowhere --explain".to_owned(), "nowhere"),
        ] {
            let output = cli(&arguments);
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && text.contains(said), "{arguments}: {text}");
        }
    });
}
