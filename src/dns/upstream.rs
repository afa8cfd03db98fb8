//! Names that are not private: asked of the upstream servers in their order, of the next one when one is silent or
//! fails, by TCP when an answer is cut short or looks forged; kept as long as its records allow.
//!
//! Against forged answers (RFC 5452): a connected socket of its own for every question, so the kernel takes datagrams
//! from that server alone and picks a random port; a random identifier; letters in random case, which the answer must
//! repeat; and of an answer only what was asked is used, never what else it carries.

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

/// Nobody who could answer was reached (RFC 8914 §4.23).
const NO_REACHABLE_AUTHORITY: u16 = 22;

/// This server does not answer for that name (RFC 8914 §4.21).
const NOT_AUTHORITATIVE: u16 = 20;

/// How long one server may take.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(2);

/// A server that was silent is asked last for so long.
const AVOIDED: Duration = Duration::from_secs(10);

/// Answers kept, in each of two generations.
const KEPT: usize = 8_192;

/// Questions that are with servers at a time, each with a socket of its own.
const ASKED_AT_ONCE: usize = 256;

/// Longest time that anything is kept (RFC 8767 §4 asks for a bound of days, RFC 2308 §5 for one of hours).
const LONGEST: u32 = 86_400;
const LONGEST_NEGATIVE: u32 = 3_600;

/// A failure is kept too (RFC 9520 §3.2: for at least one second).
const FAILURE: Duration = Duration::from_secs(1);

/// The upstream servers of one VNet.
pub(super) struct Upstream {
    servers: Vec<Server>,
    /// Whether each of the servers named is the resolver itself.
    itself: bool,
    found: Mutex<Cache<Arc<Found>>>,
    asking: Mutex<HashMap<Box<[u8]>, Pending>>,
    sockets: Semaphore,
}

/// An answer that is waited for.
type Pending = Arc<OnceCell<Arc<Found>>>;

struct Server {
    address: SocketAddr,
    avoided_until: Mutex<Option<Instant>>,
}

/// What the upstream says of one name and type.
#[derive(Debug)]
pub(super) struct Found {
    /// How it ends.
    pub(super) code: ResponseCode,
    /// Aliases from the name on, and the records at the end of them; nothing else.
    pub(super) records: Vec<Record>,
    /// Of the zone, where there is no record.
    pub(super) soa: Option<Record>,
    /// Why there is no answer.
    pub(super) why: Option<(u16, String)>,
    /// Who said so; nobody, where nobody did.
    pub(super) server: Option<IpAddr>,
    /// When.
    pub(super) at: Instant,
    /// Until when it may be given.
    pub(super) until: Instant,
}

impl Upstream {
    /// `servers` in their order; without any, every name is refused. None of the resolver's own addresses, `listen`,
    /// is asked: it would ask itself.
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

    /// What is known of `key`, or what the servers say now; whoever asks the same meanwhile waits for the same answer,
    /// so a server that asks back is not asked again.
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

/// Somebody who waits for an answer, and may be cut short: the last one takes the question with it.
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

/// An answer, or the answer that there is none; anything else may be better elsewhere.
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

/// Nothing that panicked here leaves more than a missing entry.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Found {
    /// Of a message, what answers the question: from its name on, alias by alias, and at the last one the records of
    /// the type. Whatever else a server sends is not used.
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
            // RFC 2308 §5: as long as the smaller of the two says.
            if let RData::SOA(data) = &record.data {
                record.ttl = record.ttl.min(data.minimum).min(LONGEST_NEGATIVE);
            }
            record
        });
        let shortest = records.iter().chain(&soa).map(|record| record.ttl).min();
        let kept = match shortest {
            // RFC 2308 §5: without an SOA it should not be kept; that is a failure of the server.
            _ if !ends && soa.is_none() => FAILURE,
            Some(seconds) => Duration::from_secs(u64::from(seconds)),
            None => FAILURE,
        };
        let code = message.metadata.response_code;
        Self { code, records, soa, why: None, server: Some(server), at, until: at + kept }
    }

    /// Where the last alias leads, if nothing is known of that name yet.
    pub(super) fn leads_on(&self, kind: RecordType) -> Option<&Name> {
        let whole = kind == RecordType::CNAME || self.soa.is_some() || self.why.is_some();
        let target = self.records.last().and_then(target_of)?;
        (!whole && self.code == ResponseCode::NoError).then_some(target)
    }
}

/// Where an alias leads.
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

/// A question as it is sent.
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

    /// The answer; `None`: a stream shall bring it.
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
        // Identifier; an answer to a query; one question, which is ours.
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
    /// Somebody guesses, or the server does not repeat letters: a stream tells, nobody forges that from elsewhere.
    OtherLetters(Box<Message>),
    /// TC: a stream brings the whole.
    CutShort,
    /// Not the answer; the true one may still come.
    Foreign,
}

#[cfg(test)]
mod tests;
