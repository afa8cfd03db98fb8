//! Parses a query once, strictly, without copying and without following pointers (RFC 1035 §4.1).

use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

/// A parsed message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ParsedQuery<'a> {
    /// One question.
    Question(Question<'a>),
    /// An invalid query: it gets an error code.
    Unfit(Unfit),
    /// Not a query: an answer, or too short for a header. It is never answered, because that could cause loops.
    NoQuery,
}

/// One question, and how the client wants it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question<'a> {
    /// Repeated in the answer.
    pub(super) id: u16,
    /// RD: whether the resolver may ask upstreams.
    pub(super) recursion_desired: bool,
    /// CD: repeated in the answer.
    pub(super) checking_disabled: bool,
    /// The question section as it was written: name, type, class.
    pub(super) section: &'a [u8],
    /// EDNS (RFC 6891), if the client speaks it.
    pub(super) edns: Option<ClientEdns>,
}

/// What a client's OPT record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientEdns {
    /// The largest datagram that it accepts.
    pub(super) payload: u16,
    /// Its version; there is only 0.
    pub(super) version: u8,
    /// DO: repeated in the answer (RFC 3225 §3).
    pub(super) dnssec_ok: bool,
}

/// A query that gets a response code only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    /// Repeated in the answer.
    pub(super) id: u16,
    /// Opcode and RD, as in the header's third byte.
    pub(super) operation: u8,
    /// The code.
    pub(super) code: u8,
}

/// RFC 1035 §4.1.1: not understood.
pub(super) const FORMAT_ERROR: u8 = 1;

/// RFC 1035 §4.1.1: this opcode is not implemented.
pub(super) const NOT_IMPLEMENTED: u8 = 4;

/// Bytes of a header.
pub(super) const HEADER: usize = 12;

/// Longest name on the wire (RFC 1035 §3.1).
const LONGEST_NAME: usize = 255;

/// Type OPT (RFC 6891 §6.1.1).
const OPT: u16 = 41;

/// Reads one message.
pub(super) fn read(message: &[u8]) -> ParsedQuery<'_> {
    let Some(&[id0, id1, flags, more, ..]) = message.first_chunk::<HEADER>().map(|header| &header[..]) else {
        return ParsedQuery::NoQuery;
    };
    if flags & 0x80 != 0 {
        return ParsedQuery::NoQuery;
    }
    let id = u16::from_be_bytes([id0, id1]);
    let unfit = |code| ParsedQuery::Unfit(Unfit { id, operation: flags & 0x79, code });
    if flags & 0x78 != 0 {
        return unfit(NOT_IMPLEMENTED);
    }
    match sections(message) {
        Some((section, edns)) => ParsedQuery::Question(Question {
            id,
            recursion_desired: flags & 0x01 != 0,
            checking_disabled: more & 0x10 != 0,
            section,
            edns,
        }),
        None => unfit(FORMAT_ERROR),
    }
}

/// The question and the OPT record. `None` if the message is malformed: not exactly one question (RFC 9619 §4), a
/// second OPT record (RFC 6891 §6.1.1), a compressed name in the question, bytes missing or left over.
fn sections(message: &[u8]) -> Option<(&[u8], Option<ClientEdns>)> {
    let mut rest = Cursor { message, at: 4 };
    let (questions, answers, authorities, additionals) = (rest.two()?, rest.two()?, rest.two()?, rest.two()?);
    if questions != 1 {
        return None;
    }
    rest.question_name()?;
    rest.skip(4)?;
    let section = message.get(HEADER..rest.at)?;
    for _ in 0..u32::from(answers) + u32::from(authorities) {
        rest.record()?;
    }
    let mut edns = None;
    for _ in 0..additionals {
        if let Passed::Opt(found) = rest.record()?
            && edns.replace(found).is_some()
        {
            return None;
        }
    }
    (rest.at == message.len()).then_some((section, edns))
}

/// A record that was skipped.
enum Passed {
    Opt(ClientEdns),
    Other,
}

struct Cursor<'a> {
    message: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn two(&mut self) -> Option<u16> {
        let bytes = self.message.get(self.at..)?.first_chunk::<2>()?;
        self.at += 2;
        Some(u16::from_be_bytes(*bytes))
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at += bytes;
        (self.at <= self.message.len()).then_some(())
    }

    /// The first name of a message cannot be compressed: there is nothing before it.
    fn question_name(&mut self) -> Option<()> {
        let began = self.at;
        loop {
            let length = *self.message.get(self.at)?;
            self.skip(1 + usize::from(length))?;
            match length {
                0 => return (self.at - began <= LONGEST_NAME).then_some(()),
                1..=63 => {}
                _ => return None,
            }
        }
    }

    /// Any other name is only skipped. A pointer ends it and is not followed.
    fn other_name(&mut self) -> Option<()> {
        loop {
            let length = *self.message.get(self.at)?;
            match length {
                0 => return self.skip(1),
                1..=63 => self.skip(1 + usize::from(length))?,
                192.. => return self.skip(2),
                64..192 => return None,
            }
        }
    }

    /// Skips a record, and returns the content of an OPT record.
    fn record(&mut self) -> Option<Passed> {
        let began = self.at;
        self.other_name()?;
        let at_root = self.at == began + 1;
        let (kind, payload, extended, flags, length) =
            (self.two()?, self.two()?, self.two()?, self.two()?, self.two()?);
        self.skip(usize::from(length))?;
        if kind != OPT {
            return Some(Passed::Other);
        }
        let [_, version] = extended.to_be_bytes();
        at_root.then_some(Passed::Opt(ClientEdns { payload, version, dnssec_ok: flags & 0x8000 != 0 }))
    }
}

impl<'a> Question<'a> {
    /// The requested type.
    pub(super) fn kind(&self) -> u16 {
        self.tail(4)
    }

    /// The requested class.
    pub(super) fn class(&self) -> u16 {
        self.tail(2)
    }

    fn tail(&self, back: usize) -> u16 {
        let from = self.section.len() - back;
        u16::from_be_bytes([self.section[from], self.section[from + 1]])
    }

    /// The name as it was written.
    pub(super) fn name(&self) -> &'a [u8] {
        &self.section[..self.section.len() - 4]
    }
}

/// Name and type: the cache key. The case of names does not matter (RFC 1035 §2.3.3).
#[derive(Clone)]
pub(super) struct Key {
    bytes: [u8; LONGEST_NAME + 2],
    length: usize,
}

impl Key {
    /// From a name in wire format.
    pub(super) fn new(name: &[u8], kind: u16) -> Self {
        let length = name.len().min(LONGEST_NAME) + 2;
        let mut bytes = [0; LONGEST_NAME + 2];
        bytes[..length - 2].copy_from_slice(&name[..length - 2]);
        // Length bytes of labels are smaller than letters, so lower-casing does not change them.
        bytes[..length - 2].make_ascii_lowercase();
        bytes[length - 2..length].copy_from_slice(&kind.to_be_bytes());
        Self { bytes, length }
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// From a name and a type.
    pub(super) fn of(name: &Name, kind: RecordType) -> Self {
        let mut wire: Vec<u8> = Vec::with_capacity(name.len() + 1);
        for label in name {
            // RFC 1035 §3.1: 63 bytes at most.
            wire.push(u8::try_from(label.len()).unwrap_or(0));
            wire.extend_from_slice(label);
        }
        wire.push(0);
        Self::new(&wire, kind.into())
    }

    /// The name in lower case, in wire format.
    pub(super) fn name(&self) -> &[u8] {
        &self.bytes[..self.length - 2]
    }

    /// The same, parsed.
    pub(super) fn to_name(&self) -> Name {
        // A key always holds a complete name; the root is never used.
        Name::read(&mut BinDecoder::new(self.name())).unwrap_or_else(|_| Name::root())
    }

    /// The type.
    pub(super) fn kind(&self) -> RecordType {
        RecordType::from(u16::from_be_bytes([self.bytes[self.length - 2], self.bytes[self.length - 1]]))
    }
}

#[cfg(test)]
mod tests;
