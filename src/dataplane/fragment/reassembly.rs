//! Datagrams in pieces: kept until they are whole, so that policy sees ports and checksums cover all of it
//! (RFC 791 §3.2, RFC 8200 §4.5, RFC 8900; requirements G-1 to G-6). Memory, number and time are bounded. Where
//! room is short the oldest goes: of a source that has its share already, its own; otherwise that of the tenant (the
//! VNet of an attachment) that holds most. So one source's flood displaces its own datagrams, one tenant's its own,
//! from however many sources. Whole packets never come here.

use std::collections::{BTreeMap, HashMap};

use crate::dataplane::session::Tick;
use crate::snapshot::AttachmentId;
use crate::snapshot::DropReason;
use crate::wire::headers::{half, put_half};
use crate::wire::ip::{FRAGMENT, Fragment, Outline};
use crate::wire::{Address, Version, checksum, vnet};

/// Datagrams in pieces that one worker keeps, given-up ones included until their time is over.
pub const MOST_DATAGRAMS: usize = 1_024;
/// Those of one source.
pub const MOST_OF_SOURCE: usize = 64;
/// Bytes of all pieces that one worker keeps.
pub const MOST_BYTES: usize = 8 << 20;
/// Pieces of one datagram: 64 KiB over a path of 576 bytes makes 119.
pub const MOST_PIECES: usize = 128;

/// What pieces of one datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    attachment: AttachmentId,
    source: Address,
    destination: Address,
    identification: u32,
    protocol: u8,
}

/// When a datagram's time is over; of those of one tick, which began first. No two are equal, so that nothing else about
/// a datagram says whether it goes before another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    deadline: Tick,
    number: u64,
}

#[derive(Debug)]
struct Piece {
    offset: usize,
    last: bool,
    bytes: Box<[u8]>,
}

impl Piece {
    fn end(&self) -> usize {
        self.offset + self.bytes.len()
    }
}

/// A datagram of which pieces are missing.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "two flags of headers and two facts, each true or not by itself")]
struct Assembly {
    /// In order, without overlap.
    pieces: Vec<Piece>,
    /// What stands before the first piece's bytes, once that has come.
    header: Option<Box<[u8]>>,
    /// Length of the datagram, once the last piece has come.
    end: Option<usize>,
    held: usize,
    largest: usize,
    dont_fragment: bool,
    congested: bool,
    /// Its first piece has come.
    begun: bool,
    /// It was given up: what comes of it until its time is over is dropped.
    dead: bool,
    turn: Turn,
}

/// What becomes of a piece.
#[derive(Debug)]
pub enum Outcome {
    /// It is kept.
    Held,
    /// It was the last one missing.
    Whole(Datagram),
    /// It is dropped; what is held of its datagram stays.
    Dropped(DropReason),
    /// It is dropped, and so are the pieces held of its datagram.
    Killed {
        /// Why.
        reason: DropReason,
        /// Pieces that were held.
        held: u64,
    },
}

/// A datagram put together.
#[derive(Debug)]
pub struct Datagram {
    /// A zero virtio header and the whole packet, as if it had never been cut.
    pub frame: Vec<u8>,
    /// Pieces it came in.
    pub pieces: u32,
    /// Bytes of the largest of them, IP header included.
    pub largest: usize,
    /// Whether routers might cut it: IPv4 without the don't-fragment flag.
    pub may_cut: bool,
}

/// A datagram whose time is over.
#[derive(Debug)]
pub struct TimedOut {
    /// Where its pieces arrived.
    pub attachment: AttachmentId,
    /// Pieces that were held.
    pub held: u64,
    /// The first piece as it came, if it did: what its sender is told about.
    pub first: Option<Vec<u8>>,
}

/// What is kept of one tenant.
#[derive(Debug, Default)]
struct Tenant {
    /// Its datagrams, oldest first.
    by_turn: BTreeMap<Turn, Key>,
    /// Bytes of their pieces.
    bytes: usize,
}

impl Tenant {
    /// How much of a worker's room it takes: its share of the datagrams or of the bytes, whichever is greater.
    fn weight(&self) -> usize {
        (self.by_turn.len() * (MOST_BYTES / MOST_DATAGRAMS)).max(self.bytes)
    }
}

/// All datagrams in pieces of one worker.
#[derive(Debug)]
pub struct Reassembler {
    datagrams: HashMap<Key, Assembly>,
    by_turn: BTreeMap<Turn, Key>,
    by_source: BTreeMap<(AttachmentId, Address, Turn), Key>,
    tenants: HashMap<AttachmentId, Tenant>,
    bytes: usize,
    /// Pieces given up to make room, not counted yet.
    displaced: u64,
    /// Datagrams begun so far.
    begun: u64,
    /// Chooses among equals.
    random: fastrand::Rng,
}

impl Reassembler {
    /// An empty one. `seed` comes from the system's random numbers: nobody can foresee which of equals gives way.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            datagrams: HashMap::new(),
            by_turn: BTreeMap::new(),
            by_source: BTreeMap::new(),
            tenants: HashMap::new(),
            bytes: 0,
            displaced: 0,
            begun: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Takes a piece: `packet` is what `outline` describes. Its datagram has `lifetime` ticks from its first
    /// piece on to become whole.
    pub fn add(
        &mut self,
        attachment: AttachmentId,
        packet: &[u8],
        outline: &Outline,
        fragment: &Fragment,
        now: Tick,
        lifetime: u32,
    ) -> Outcome {
        let bytes = packet.get(outline.header()..outline.total()).unwrap_or_default();
        // RFC 791 §3.2, RFC 8200 §4.5: only the last piece may have an odd length, and each says something.
        if bytes.is_empty() || fragment.more && bytes.len() % 8 != 0 {
            return Outcome::Dropped(DropReason::FragmentTiny);
        }
        let key = Key {
            attachment,
            source: outline.source,
            destination: outline.destination,
            identification: fragment.identification,
            protocol: outline.protocol,
        };
        let first = fragment.offset() == 0;
        // A sender that begins once more has given its number to another datagram, which is none the worse for it.
        if first && self.datagrams.get(&key).is_some_and(|assembly| assembly.dead && assembly.begun) {
            self.forget(&key);
        }
        if !self.datagrams.contains_key(&key) {
            self.begin(key, Tick(now.0.wrapping_add(lifetime)));
        }
        while self.bytes + bytes.len() > MOST_BYTES {
            match self.oldest_of_heaviest(Some(&key)) {
                Some(oldest) => self.displace(&oldest),
                None => return Outcome::Dropped(DropReason::FragmentFull),
            }
        }
        let Some(assembly) = self.datagrams.get_mut(&key) else {
            return Outcome::Dropped(DropReason::FragmentFull);
        };
        assembly.begun |= first;
        if assembly.dead {
            return Outcome::Dropped(DropReason::FragmentDead);
        }
        match assembly.place(bytes, fragment) {
            Ok(place) => {
                let piece = Piece { offset: fragment.offset(), last: !fragment.more, bytes: bytes.into() };
                assembly.take(place, piece, packet, outline, fragment);
                self.bytes += bytes.len();
                self.tenants.entry(attachment).or_default().bytes += bytes.len();
            }
            Err(DropReason::FragmentDuplicate) => return Outcome::Dropped(DropReason::FragmentDuplicate),
            Err(reason) => {
                let held = assembly.pieces.len() as u64;
                let freed = assembly.give_up();
                self.bytes -= freed;
                self.tenants.entry(attachment).or_default().bytes -= freed;
                return Outcome::Killed { reason, held };
            }
        }
        if !assembly.is_whole() {
            return Outcome::Held;
        }
        let Some(assembly) = self.forget(&key) else { return Outcome::Held };
        let held = assembly.pieces.len() as u64 - 1;
        match assembly.join(outline.version) {
            Some(datagram) => Outcome::Whole(datagram),
            None => Outcome::Killed { reason: DropReason::FragmentOversize, held },
        }
    }

    /// Gives up at most `budget` datagrams whose time is over at `now`.
    pub fn expire(&mut self, now: Tick, budget: usize) -> Vec<TimedOut> {
        let mut over = Vec::new();
        while over.len() < budget {
            let Some((turn, &key)) = self.by_turn.first_key_value() else { break };
            if turn.deadline > now {
                break;
            }
            let Some(assembly) = self.forget(&key) else { break };
            let first = assembly.first_piece();
            over.push(TimedOut { attachment: key.attachment, held: assembly.pieces.len() as u64, first });
        }
        over
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Pieces that were given up to make room since the last call.
    pub fn take_displaced(&mut self) -> u64 {
        std::mem::take(&mut self.displaced)
    }

    /// Makes room for a datagram.
    fn begin(&mut self, key: Key, deadline: Tick) {
        let (attachment, source) = (key.attachment, key.source);
        let later = self.by_source.range((attachment, source, Turn::default())..);
        let mut own = later.map(|(_, key)| *key).take_while(|key| (key.attachment, key.source) == (attachment, source));
        if let Some(oldest) = own.next().filter(|_| own.count() + 1 >= MOST_OF_SOURCE) {
            self.displace(&oldest);
        } else if self.datagrams.len() >= MOST_DATAGRAMS
            && let Some(oldest) = self.oldest_of_heaviest(None)
        {
            self.displace(&oldest);
        }
        let turn = Turn { deadline, number: self.begun };
        self.begun += 1;
        self.datagrams.insert(key, Assembly { turn, ..Assembly::default() });
        self.by_turn.insert(turn, key);
        self.tenants.entry(attachment).or_default().by_turn.insert(turn, key);
        self.by_source.insert((attachment, source, turn), key);
    }

    /// The oldest datagram, `but` for one, of the tenant that holds most; of tenants that hold as much, of a random one.
    fn oldest_of_heaviest(&mut self, but: Option<&Key>) -> Option<Key> {
        let Self { tenants, random, .. } = self;
        let oldest = |tenant: &Tenant| tenant.by_turn.values().copied().find(|key| Some(key) != but);
        let held = tenants.values().filter_map(|tenant| Some((tenant.weight(), oldest(tenant)?)));
        held.max_by_key(|(weight, _)| (*weight, random.u64(..))).map(|(_, oldest)| oldest)
    }

    /// Gives a datagram up for the sake of another.
    fn displace(&mut self, key: &Key) {
        self.displaced += self.forget(key).map_or(0, |assembly| assembly.pieces.len() as u64);
    }

    fn forget(&mut self, key: &Key) -> Option<Assembly> {
        let assembly = self.datagrams.remove(key)?;
        self.by_turn.remove(&assembly.turn);
        self.by_source.remove(&(key.attachment, key.source, assembly.turn));
        self.bytes -= assembly.held;
        if let Some(tenant) = self.tenants.get_mut(&key.attachment) {
            tenant.by_turn.remove(&assembly.turn);
            tenant.bytes -= assembly.held;
            if tenant.by_turn.is_empty() {
                self.tenants.remove(&key.attachment);
            }
        }
        Some(assembly)
    }
}

impl Assembly {
    /// Where among the pieces a new one goes.
    ///
    /// # Errors
    /// Why it does not fit: it has come before, or it contradicts the others (RFC 5722 §4).
    fn place(&self, bytes: &[u8], fragment: &Fragment) -> Result<usize, DropReason> {
        let (offset, end) = (fragment.offset(), fragment.offset() + bytes.len());
        if end > usize::from(u16::MAX) {
            return Err(DropReason::FragmentOversize);
        }
        let place = self.pieces.partition_point(|piece| piece.offset < offset);
        if let Some(same) = self.pieces.get(place).filter(|piece| piece.offset == offset) {
            let equal = *same.bytes == *bytes && same.last != fragment.more;
            return Err(if equal { DropReason::FragmentDuplicate } else { DropReason::FragmentOverlap });
        }
        let overlaps = place > 0 && self.pieces[place - 1].end() > offset
            || self.pieces.get(place).is_some_and(|next| next.offset < end);
        let beyond = match (self.end, fragment.more) {
            (Some(known), true) => end >= known,
            (Some(known), false) => end != known,
            (None, true) => false,
            (None, false) => self.pieces.last().is_some_and(|last| last.end() > end),
        };
        if overlaps || beyond {
            return Err(DropReason::FragmentOverlap);
        }
        if self.pieces.len() >= MOST_PIECES { Err(DropReason::FragmentTooMany) } else { Ok(place) }
    }

    fn take(&mut self, place: usize, piece: Piece, packet: &[u8], outline: &Outline, fragment: &Fragment) {
        if piece.offset == 0 {
            self.header = packet.get(..outline.header()).map(Into::into);
        }
        if piece.last {
            self.end = Some(piece.end());
        }
        self.held += piece.bytes.len();
        self.largest = self.largest.max(outline.total());
        self.dont_fragment |= fragment.repeated() == outline.header() && packet[6] & 0x40 != 0;
        self.congested |= crate::wire::ip::traffic_class(packet, outline.version) & 3 == 3;
        self.pieces.insert(place, piece);
    }

    /// Frees what is held; returns how many bytes that was.
    fn give_up(&mut self) -> usize {
        self.dead = true;
        (self.pieces, self.header) = (Vec::new(), None);
        std::mem::take(&mut self.held)
    }

    fn is_whole(&self) -> bool {
        self.end == Some(self.held) && self.header.is_some()
    }

    /// The packet without a trace of its pieces; `None` when it is longer than a packet can be.
    fn join(self, version: Version) -> Option<Datagram> {
        let header = self.header?;
        let mut frame = Vec::with_capacity(vnet::LENGTH + header.len() + self.held);
        frame.resize(vnet::LENGTH, 0);
        match version {
            Version::V4 => frame.extend_from_slice(&header),
            Version::V6 => frame.extend_from_slice(&without_fragment_header(&header)?),
        }
        self.pieces.iter().for_each(|piece| frame.extend_from_slice(&piece.bytes));
        let ip = frame.get_mut(vnet::LENGTH..)?;
        let total = ip.len();
        match version {
            Version::V4 => {
                let flags = half(ip, 6) & 0x4000;
                put_half(ip, 2, u16::try_from(total).ok()?);
                put_half(ip, 6, flags);
                // RFC 3168 §5.3: one piece that met congestion speaks for all.
                ip[1] |= if self.congested { 3 } else { 0 };
                put_half(ip, 10, 0);
                let sum = checksum::sum(ip.get(..header.len())?);
                put_half(ip, 10, !sum);
            }
            Version::V6 => {
                put_half(ip, 4, u16::try_from(total - Version::V6.header()).ok()?);
                ip[1] |= if self.congested { 0x30 } else { 0 };
            }
        }
        Some(Datagram {
            pieces: u32::try_from(self.pieces.len()).unwrap_or(u32::MAX),
            largest: self.largest,
            may_cut: version == Version::V4 && !self.dont_fragment,
            frame,
        })
    }

    /// The first piece as a packet.
    fn first_piece(&self) -> Option<Vec<u8>> {
        let (header, first) = (self.header.as_ref()?, self.pieces.first()?);
        Some([&header[..], &first.bytes[..]].concat())
    }
}

/// What stands before the fragment header, its last next-header field naming what the fragments carry.
fn without_fragment_header(header: &[u8]) -> Option<Vec<u8>> {
    let repeated = header.len().checked_sub(8)?;
    let mut out = header[..repeated].to_vec();
    // The field that names the fragment header is the fixed header's, or the last extension header's.
    let (mut field, mut at) = (6, Version::V6.header());
    while at < repeated {
        (field, at) = (at, at + (usize::from(*header.get(at + 1)?) + 1) * 8);
    }
    let named = out.get_mut(field).filter(|next| **next == FRAGMENT)?;
    *named = header[repeated];
    Some(out)
}

#[cfg(test)]
mod tests;
