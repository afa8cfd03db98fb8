//! Encoded answers. An answer is encoded once and cached; for each client only its spelling of the name, its identifier
//! and the remaining TTLs are filled in.

use std::time::{Duration, Instant};

use hickory_proto::rr::DNSClass;
use hickory_proto::serialize::binary::{BinEncodable as _, BinEncoder};

use super::answer::Reply;
use super::counters::Source;
use super::question::{ClientEdns, HEADER, Key, Question, Unfit};

/// The largest UDP answer that is safe from fragmentation (DNS flag day 2020).
pub(super) const PAYLOAD: u16 = 1_232;

/// The largest datagram for a client without EDNS (RFC 1035 §2.3.4).
const PLAIN: u16 = 512;

/// RFC 6891 §9: the version of EDNS is not known here.
pub(super) const BAD_VERSION: u8 = 16;

/// EDNS option of extended errors (RFC 8914 §2).
const EXTENDED_ERROR: u16 = 15;

/// Bits of the header's flags (RFC 1035 §4.1.1, RFC 4035 §3.2).
const RESPONSE: u16 = 0x8000;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;
const CHECKING_DISABLED: u16 = 0x0010;

/// How an answer travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In one datagram, which may not be large.
    Datagram,
    /// In a stream.
    Stream,
}

/// An encoded answer, the same for every client that asks the same question.
#[derive(Debug)]
pub(super) struct Answer {
    /// Where it came from.
    pub(super) source: Source,
    /// The response code. The upper bits of codes above 15 are in the OPT record.
    pub(super) code: u8,
    own: bool,
    /// Records in the answer and the authority section.
    counts: [u16; 2],
    /// Everything after the question.
    records: Box<[u8]>,
    /// Offsets of the TTLs, and their values at `made`.
    times: Box<[(u16, u32)]>,
    /// The extended error option.
    why: Box<[u8]>,
    made: Instant,
    /// When it expires. `None`: when the plan changes.
    until: Option<Instant>,
}

impl Answer {
    /// A response code, with the reason for clients that understand it.
    pub(super) fn bare(code: u8, why: Option<(u16, &str)>, now: Instant) -> Self {
        Self {
            source: Source::Refused,
            code,
            own: false,
            counts: [0, 0],
            records: Box::default(),
            times: Box::default(),
            why: why.map_or_else(Box::default, |(info, words)| extended_error(info, words)),
            made: now,
            until: Some(now),
        }
    }

    /// Encodes `reply` to the question `key`. TTLs of an upstream's records count down from now; the plan's are fixed.
    pub(super) fn new(key: &Key, reply: &Reply, source: Source, now: Instant) -> Option<Self> {
        let mut whole = Vec::with_capacity(256);
        let mut encoder = BinEncoder::new(&mut whole);
        encoder.emit_vec(&[0; HEADER]).ok()?;
        // Compared as bytes: names in answers keep their own spelling, not the client's.
        encoder.emit_vec(key.name()).ok()?;
        encoder.emit_vec(&[0; 4]).ok()?;
        let (asked, mut times) = (key.to_name(), Vec::new());
        for record in reply.answers.iter().chain(&reply.soa) {
            if record.name == asked {
                encoder.emit_u16(ASKED).ok()?;
            } else {
                record.name.emit(&mut encoder).ok()?;
            }
            let time = encoder.offset() + 4 - HEADER - key.name().len() - 4;
            times.push((u16::try_from(time).ok()?, record.ttl));
            record.record_type().emit(&mut encoder).ok()?;
            record.dns_class.emit(&mut encoder).ok()?;
            encoder.emit_u32(record.ttl).ok()?;
            let length = encoder.place::<u16>().ok()?;
            record.data.emit(&mut encoder).ok()?;
            let written = u16::try_from(encoder.len_since_place(&length)).ok()?;
            length.replace(&mut encoder, written).ok()?;
        }
        let shortest = times.iter().map(|(_, seconds)| *seconds).min().unwrap_or(0);
        let private = source == Source::Private;
        Some(Self {
            source,
            code: u8::try_from(u16::from(reply.code)).unwrap_or(2),
            own: reply.own,
            counts: [u16::try_from(reply.answers.len()).ok()?, u16::from(reply.soa.is_some())],
            records: whole.get(HEADER + key.name().len() + 4..)?.into(),
            times: if private { Box::default() } else { times.into() },
            why: reply.why.as_ref().map_or_else(Box::default, |(info, words)| extended_error(*info, words)),
            made: now,
            until: (!private).then(|| now + Duration::from_secs(u64::from(shortest))),
        })
    }

    /// Whether it has not expired.
    pub(super) fn stands(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Writes the message for one client. If it does not fit into the datagram, it is truncated and TC is set; the
    /// client asks again by TCP (RFC 2181 §9).
    pub(super) fn write(&self, question: &Question<'_>, by: Transport, now: Instant, out: &mut Vec<u8>) {
        let most = usize::from(match by {
            Transport::Stream => u16::MAX,
            Transport::Datagram => question.edns.map_or(PLAIN, |edns| edns.payload.clamp(PLAIN, PAYLOAD)),
        });
        let edns = if question.edns.is_some() { OPT_RECORD } else { 0 };
        let least = HEADER + question.section.len() + edns;
        let fits = least + self.records.len() <= most;
        let why = if least + self.records.len() + self.why.len() <= most { &*self.why } else { &[] };
        let mut flags = RESPONSE | RECURSION_AVAILABLE | u16::from(self.code & 0x0f);
        for (set, flag) in [
            (self.own, AUTHORITATIVE),
            (!fits, TRUNCATED),
            (question.recursion_desired, RECURSION_DESIRED),
            (question.checking_disabled, CHECKING_DISABLED),
        ] {
            flags |= if set { flag } else { 0 };
        }
        let [answers, authorities] = if fits { self.counts } else { [0, 0] };
        out.clear();
        for two in [question.id, flags, 1, answers, authorities, u16::from(question.edns.is_some())] {
            out.extend_from_slice(&two.to_be_bytes());
        }
        out.extend_from_slice(question.section);
        if fits {
            self.write_records(now, out);
        }
        if let Some(client) = question.edns {
            write_opt(client, self.code, why, out);
        }
    }

    fn write_records(&self, now: Instant, out: &mut Vec<u8>) {
        let began = out.len();
        out.extend_from_slice(&self.records);
        if self.times.is_empty() {
            return;
        }
        let passed = u32::try_from(now.saturating_duration_since(self.made).as_secs()).unwrap_or(u32::MAX);
        for (at, seconds) in &self.times {
            let at = began + usize::from(*at);
            out[at..at + 4].copy_from_slice(&seconds.saturating_sub(passed).to_be_bytes());
        }
    }
}

/// A pointer to the question's name (RFC 1035 §4.1.4), so that the answer repeats the client's spelling.
const ASKED: u16 = 0xc00c;

/// Bytes of an OPT record without options.
pub(super) const OPT_RECORD: usize = 11;

fn write_opt(client: ClientEdns, code: u8, option: &[u8], out: &mut Vec<u8>) {
    let dnssec_ok = if client.dnssec_ok { 0x80 } else { 0 };
    // Name (the root), type, payload.
    out.extend_from_slice(&[0, 0, 41]);
    out.extend_from_slice(&PAYLOAD.to_be_bytes());
    // The code's upper bits, version 0, flags.
    out.extend_from_slice(&[code >> 4, 0, dnssec_ok, 0]);
    out.extend_from_slice(&u16::try_from(option.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(option);
}

fn extended_error(info: u16, words: &str) -> Box<[u8]> {
    // Longer texts are cut at a character boundary.
    let mut end = words.len().min(300);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    let length = u16::try_from(2 + end).unwrap_or(2);
    let parts = [&EXTENDED_ERROR.to_be_bytes(), &length.to_be_bytes(), &info.to_be_bytes(), &words.as_bytes()[..end]];
    parts.concat().into()
}

/// The answer to an invalid query: only a header.
pub(super) fn write_unfit(unfit: Unfit, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&unfit.id.to_be_bytes());
    out.extend_from_slice(&[0x80 | unfit.operation, unfit.code, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// A query of our own (RFC 1035 §4.1): the name as given, recursion desired, EDNS.
pub(super) fn query(id: u16, name: &[u8], kind: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + name.len() + 4 + OPT_RECORD);
    for two in [id, RECURSION_DESIRED, 1, 0, 0, 1] {
        out.extend_from_slice(&two.to_be_bytes());
    }
    out.extend_from_slice(name);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&u16::from(DNSClass::IN).to_be_bytes());
    write_opt(ClientEdns { payload: PAYLOAD, version: 0, dnssec_ok: false }, 0, &[], &mut out);
    out
}
