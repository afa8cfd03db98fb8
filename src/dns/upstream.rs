//! Asks upstream servers for names that are not private. They are asked in order: the next one if one is silent or
//! fails, and by TCP if an answer is truncated or looks forged. Answers are cached as long as their TTLs allow.
//!
//! Protection against forged answers (RFC 5452): every question has its own connected socket, so that the kernel
//! accepts datagrams from that server only and picks a random port; a random identifier; random upper and lower case in
//! the name, which the answer must repeat. Only records that answer the question are used.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;

use super::PORT;
use super::cache::Cache;
use super::clock;
use super::message::{OPT_RECORD, query};
use super::question::{HEADER, Key};

/// No server could be reached (RFC 8914 §4.23).
const NO_REACHABLE_AUTHORITY: u16 = 22;

/// The server does not answer for that name (RFC 8914 §4.21).
const NOT_AUTHORITATIVE: u16 = 20;

/// How long to wait for one server.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(2);

/// For this long a silent server is asked last.
const AVOIDED: Duration = Duration::from_secs(10);

/// Cached answers in each of two generations.
const KEPT: usize = 8_192;

/// The most open questions; each has a socket of its own.
const ASKED_AT_ONCE: usize = 256;

/// The longest time that anything is cached (RFC 8767 §4 asks for a bound of days, RFC 2308 §5 for one of hours).
const LONGEST: u32 = 86_400;
const LONGEST_NEGATIVE: u32 = 3_600;

/// How long a failure is cached (RFC 9520 §3.2: at least one second).
const FAILURE: Duration = Duration::from_secs(1);

/// The upstream servers of one VNet.
pub(super) struct Upstream {
    servers: Vec<Server>,
    /// Whether the configured servers are all the resolver itself.
    itself: bool,
    found: Mutex<Cache<Arc<Found>>>,
    asking: Mutex<HashMap<Box<[u8]>, Pending>>,
    sockets: Semaphore,
}

/// A pending answer.
type Pending = Arc<OnceCell<Arc<Found>>>;

struct Server {
    address: SocketAddr,
    avoided_until: Mutex<Option<Instant>>,
}

/// The upstream's answer for one name and type.
#[derive(Debug)]
pub(super) struct Found {
    /// The response code.
    pub(super) code: ResponseCode,
    /// Only the chain of aliases from the name, and the records at its end.
    pub(super) records: Vec<Record>,
    /// The zone's SOA, if there is no record.
    pub(super) soa: Option<Record>,
    /// Why there is no answer.
    pub(super) why: Option<(u16, String)>,
    /// The server that answered, if any.
    pub(super) server: Option<IpAddr>,
    /// When.
    pub(super) at: Instant,
    /// When it expires.
    pub(super) until: Instant,
}

impl Upstream {
    /// Asks `servers` in this order. Without any, every name is refused. The resolver's own addresses in `listen` are
    /// left out, so that it never asks itself.
    pub(super) fn new(servers: &[IpAddr], listen: &[IpAddr]) -> Self {
        let others = servers.iter().filter(|server| !listen.contains(server));
        let server = |&ip: &IpAddr| Server { address: SocketAddr::new(ip, PORT), avoided_until: Mutex::default() };
        let chosen: Vec<Server> = others.map(server).collect();
        Self {
            itself: chosen.is_empty() && !servers.is_empty(),
            servers: chosen,
            found: Mutex::new(Cache::new(KEPT)),
            asking: Mutex::default(),
            sockets: Semaphore::new(ASKED_AT_ONCE),
        }
    }

    /// The cached answer for `key`, or a new one from the servers. Equal questions share one request, so that a server
    /// that forwards back to this resolver causes no loop.
    pub(super) async fn ask(&self, key: &Key) -> (Arc<Found>, bool) {
        let began = clock();
        if let Some(found) = lock(&self.found).get(key.bytes()).filter(|found| began < found.until) {
            return (found, true);
        }
        let cell = Arc::clone(lock(&self.asking).entry(key.bytes().into()).or_default());
        let waiting = Waiting { upstream: self, key, cell };
        let found = Arc::clone(waiting.cell.get_or_init(|| self.exchange(key)).await);
        let mut asking = lock(&self.asking);
        if asking.get(key.bytes()).is_some_and(|other| Arc::ptr_eq(other, &waiting.cell)) {
            asking.remove(key.bytes());
            lock(&self.found).put(key.bytes().into(), Arc::clone(&found));
        }
        drop(asking);
        (found, false)
    }

    async fn exchange(&self, key: &Key) -> Arc<Found> {
        let Ok(_socket) = timeout(UPSTREAM_TIMEOUT, self.sockets.acquire()).await else {
            return failed(ResponseCode::ServFail, "too many questions are with the upstream");
        };
        if self.servers.is_empty() {
            let (code, info, words) = if self.itself {
                (ResponseCode::ServFail, NO_REACHABLE_AUTHORITY, "the upstream is this resolver itself")
            } else {
                (ResponseCode::Refused, NOT_AUTHORITATIVE, "not a private name, and the VNet names no upstream")
            };
            return nothing(code, Some((info, format!("privlink: {words}"))), None);
        }
        let now = clock();
        let avoided = |server: &&Server| lock(&server.avoided_until).is_some_and(|until| now < until);
        let (last, first): (Vec<&Server>, Vec<&Server>) = self.servers.iter().partition(avoided);
        let (mut said, mut why) = (None, String::new());
        for server in first.into_iter().chain(last) {
            match server.ask(key).await {
                Ok(message) if usable(&message) => {
                    return Arc::new(Found::new(message, key, server.address.ip(), clock()));
                }
                Ok(message) => {
                    said = said.or(Some((message.metadata.response_code, server.address.ip())));
                }
                Err(error) => {
                    *lock(&server.avoided_until) = Some(clock() + AVOIDED);
                    why = format!("{}: {error}", server.address.ip());
                }
            }
        }
        match said {
            Some((code, server)) => nothing(code, None, Some(server)),
            None => failed(ResponseCode::ServFail, &format!("upstream {why}")),
        }
    }
}

/// A waiting client. When the last one is cancelled, the question is cancelled too.
struct Waiting<'a> {
    upstream: &'a Upstream,
    key: &'a Key,
    cell: Pending,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut asking = lock(&self.upstream.asking);
        let ours = asking.get(self.key.bytes()).is_some_and(|other| Arc::ptr_eq(other, &self.cell));
        // The table's own, and this one.
        if ours && Arc::strong_count(&self.cell) <= 2 {
            asking.remove(self.key.bytes());
        }
    }
}

/// A final answer, positive or negative. After anything else, the next server is asked.
fn usable(message: &Message) -> bool {
    matches!(message.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
}

fn failed(code: ResponseCode, why: &str) -> Arc<Found> {
    nothing(code, Some((NO_REACHABLE_AUTHORITY, format!("privlink: {why}"))), None)
}

fn nothing(code: ResponseCode, why: Option<(u16, String)>, server: Option<IpAddr>) -> Arc<Found> {
    let at = clock();
    Arc::new(Found { code, records: Vec::new(), soa: None, why, server, at, until: at + FAILURE })
}

/// After a panic, at most an entry is missing here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Found {
    /// The part of a message that answers the question: the chain of aliases from its name, and the records of the type
    /// at its end. Other records are ignored.
    fn new(message: Message, key: &Key, server: IpAddr, at: Instant) -> Self {
        let (mut name, kind) = (key.to_name(), key.kind());
        let mut records: Vec<Record> = Vec::new();
        let answers = message.answers;
        for _ in 0..answers.len() {
            let here = |record: &&Record| record.dns_class == DNSClass::IN && record.name == name;
            if answers.iter().filter(here).any(|record| record.record_type() == kind) {
                let wanted = answers.iter().filter(here).filter(|record| record.record_type() == kind);
                records.extend(wanted.cloned());
                break;
            }
            let alias = answers.iter().filter(here).find_map(|record| Some((record, target_of(record)?)));
            let Some((record, target)) = alias else { break };
            if records.contains(record) {
                break;
            }
            records.push(record.clone());
            name.clone_from(target);
        }
        let ends = records.last().is_some_and(|record| record.record_type() == kind);
        let soa = message.authorities.into_iter().find(|record| {
            !ends
                && record.dns_class == DNSClass::IN
                && record.name.zone_of(&name)
                && record.record_type() == RecordType::SOA
        });
        for record in &mut records {
            record.ttl = record.ttl.min(LONGEST);
        }
        let soa = soa.map(|mut record| {
            // RFC 2308 §5: the smaller of the two values.
            if let RData::SOA(data) = &record.data {
                record.ttl = record.ttl.min(data.minimum).min(LONGEST_NEGATIVE);
            }
            record
        });
        let shortest = records.iter().chain(&soa).map(|record| record.ttl).min();
        let kept = match shortest {
            // RFC 2308 §5: without an SOA it should not be cached; it counts as a failure of the server.
            _ if !ends && soa.is_none() => FAILURE,
            Some(seconds) => Duration::from_secs(u64::from(seconds)),
            None => FAILURE,
        };
        let code = message.metadata.response_code;
        Self { code, records, soa, why: None, server: Some(server), at, until: at + kept }
    }

    /// The target of the last alias, if the message has no records for it.
    pub(super) fn leads_on(&self, kind: RecordType) -> Option<&Name> {
        let whole = kind == RecordType::CNAME || self.soa.is_some() || self.why.is_some();
        let target = self.records.last().and_then(target_of)?;
        (!whole && self.code == ResponseCode::NoError).then_some(target)
    }
}

/// The target of an alias.
pub(super) fn target_of(record: &Record) -> Option<&Name> {
    if let RData::CNAME(target) = &record.data { Some(&target.0) } else { None }
}

impl Server {
    async fn ask(&self, key: &Key) -> io::Result<Message> {
        let question = Asked::new(key)?;
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        match timeout(UPSTREAM_TIMEOUT, question.by_datagram(self.address)).await.map_err(late)?? {
            Some(message) => Ok(message),
            None => timeout(UPSTREAM_TIMEOUT, question.by_stream(self.address)).await.map_err(late)?,
        }
    }
}

/// An outgoing question.
struct Asked {
    message: Vec<u8>,
}

impl Asked {
    fn new(key: &Key) -> io::Result<Self> {
        let mut random = [0; 34];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let [id0, id1, cases @ ..] = random;
        let mut mixed = key.name().to_vec();
        for (at, byte) in mixed.iter_mut().enumerate().filter(|(_, byte)| byte.is_ascii_alphabetic()) {
            if cases[at / 8 % cases.len()] & (1 << (at % 8)) != 0 {
                byte.make_ascii_uppercase();
            }
        }
        Ok(Self { message: query(u16::from_be_bytes([id0, id1]), &mixed, key.kind().into()) })
    }

    /// The answer. `None`: ask by TCP.
    async fn by_datagram(&self, server: SocketAddr) -> io::Result<Option<Message>> {
        let unspecified: IpAddr =
            if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(unspecified, 0)).await?;
        socket.connect(server).await?;
        socket.send(&self.message).await?;
        let mut buffer = vec![0; 4_096];
        loop {
            let length = socket.recv(&mut buffer).await?;
            match self.judge(&buffer[..length]) {
                Judged::Answer(message) => return Ok(Some(*message)),
                Judged::OtherLetters(_) | Judged::CutShort => return Ok(None),
                Judged::Foreign => {}
            }
        }
    }

    async fn by_stream(&self, server: SocketAddr) -> io::Result<Message> {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(self.message.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), &*self.message].concat()).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        match self.judge(&answer) {
            Judged::Answer(message) | Judged::OtherLetters(message) => Ok(*message),
            Judged::CutShort | Judged::Foreign => Err(io::Error::other("what it answers is no answer")),
        }
    }

    /// Whether a message answers this question.
    fn judge(&self, message: &[u8]) -> Judged {
        let question = &self.message[HEADER..self.message.len() - OPT_RECORD];
        let said = message.get(HEADER..HEADER + question.len());
        let (Some(header), Some(said)) = (message.first_chunk::<HEADER>(), said) else { return Judged::Foreign };
        // It must have our identifier, be an answer to a query, and repeat our question.
        if header[..2] != self.message[..2]
            || header[2] & 0xf8 != 0x80
            || header[4..6] != [0, 1]
            || !said.eq_ignore_ascii_case(question)
        {
            return Judged::Foreign;
        }
        if header[2] & 0x02 != 0 {
            return Judged::CutShort;
        }
        match Message::from_vec(message) {
            Ok(message) if said == question => Judged::Answer(Box::new(message)),
            Ok(message) => Judged::OtherLetters(Box::new(message)),
            Err(_) => Judged::Foreign,
        }
    }
}

enum Judged {
    Answer(Box<Message>),
    /// The answer is forged, or the server does not repeat the case. TCP decides: it cannot be forged from outside the
    /// path.
    OtherLetters(Box<Message>),
    /// TC: the full answer needs TCP.
    CutShort,
    /// Not an answer to this question. The real one may still come.
    Foreign,
}

#[cfg(test)]
mod tests;
