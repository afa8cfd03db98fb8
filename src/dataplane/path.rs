//! A packet's way, from frame to transmit: parse, find its session, see that it is current, track, account, rewrite.
//!
//! Whatever is not a plain hit leaves to `slow`, which alone allocates, judges and answers.

#![allow(clippy::inline_always, reason = "a hit is one function for each kind of device, as long as it may get")]

use std::io;

use super::Context;
use super::admit::reject::Answers;
use super::counters::{CounterChunk, VerdictCounts, add, find};
use super::fragment::reassembly::{Datagram, Reassembler};
use super::handoff::{Pieces, RxMeta};
use super::io::Batch;
use super::lifecycle::Sessions;
use super::nat::classify::{NotAFlow, Packet, Rx, classify};
use super::nat::{Rewriter, fit};
use super::session::index::{Candidate, Hash};
use super::session::{Direction, Session, SessionFlags, Table, tcp_state};
use super::tx::{Transmit, TxQueue};
use super::verdict::Verdict;
use crate::snapshot::{AttachmentId, DropReason, Protocol};

/// First packets, and packets whose session must be judged again.
pub(super) mod slow;

/// What a packet may change on its way. The `Rewriter` stands apart, since a frame that leaves may borrow from it.
#[derive(Debug)]
pub(super) struct State {
    /// Sessions, and all that begins and ends with one.
    pub(super) sessions: Sessions,
    /// Pieces of datagrams that wait for the others.
    pub(super) fragments: Reassembler,
    /// How many answers may be sent.
    pub(super) answers: Answers,
    /// Frames that are not written in place.
    pub(super) tx: TxQueue,
    /// Verdicts so far; published once per batch.
    pub(super) counts: VerdictCounts,
}

/// All stages of a frame that this worker read, from its parsed headers to the device. A hit takes no lock and no
/// allocation (law 6).
#[inline(always)]
pub(super) fn forward(
    frame: &mut [u8],
    parsed: &ParsedFrame,
    meta: &RxMeta,
    state: &mut State,
    nat: &mut Rewriter,
    context: &Context<'_>,
    sink: &mut impl FnMut(Transmit<'_>) -> io::Result<()>,
) {
    let State { sessions, tx, counts, .. } = state;
    let verdict = match &parsed.headers {
        Err(other) => slow::no_flow(frame, other, meta, state, context),
        Ok(packet) => match sessions.table.lookup(&packet.key, parsed.hash, parsed.candidate) {
            None => slow::miss(Rx { frame, packet, meta }, state, nat, context),
            Some((hit, session, _)) if !is_current(session, frame, packet, hit.direction, context) => {
                slow::revalidate(Rx { frame, packet, meta }, hit, state, nat, context)
            }
            Some((hit, session, leaves)) => {
                let direction = hit.direction;
                if session.protocol != Protocol::Tcp || tcp_state::goes_on(session, direction, packet.segment(frame)) {
                    session.last_seen = context.now;
                    account(&sessions.traffic, session, direction, packet);
                    match nat.rewrite(frame, packet, session, leaves, direction) {
                        Ok(transmit) => return lend(transmit, 1, tx, counts, sink),
                        Err(reason) => Verdict::Drop(reason),
                    }
                } else {
                    slow::pass(frame, packet, hit, sessions, tx, nat, context).into()
                }
            }
        },
    };
    if let Some(datagram) = settle(verdict, meta, &mut state.tx, &mut state.counts, sink) {
        forward_datagram(datagram, meta, state, nat, context, sink);
    }
}

/// A frame as first seen: its headers checked, and where in the session table its flow is likely to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParsedFrame {
    headers: Result<Packet, NotAFlow>,
    hash: Hash,
    candidate: Candidate,
}

impl ParsedFrame {
    /// Of no frame.
    pub(super) const NONE: Self =
        Self { headers: Err(NotAFlow::Drop(DropReason::Malformed)), hash: Hash::NONE, candidate: Candidate::NONE };
}

/// Parses every frame of a batch before the first is decided, and prefetches their sessions: each is in the cache by the
/// time that its packet's turn comes.
#[inline(always)]
pub(super) fn parse(frames: &mut Batch, attachment: AttachmentId, table: &Table, parsed: &mut [ParsedFrame]) {
    let count = frames.len();
    for (frame, parsed) in frames.frames().zip(&mut *parsed) {
        *parsed = match classify(frame, attachment) {
            Ok(packet) => {
                let hash = table.hash(&packet.key);
                ParsedFrame { headers: Ok(packet), hash, candidate: Candidate::NONE }
            }
            Err(other) => ParsedFrame { headers: Err(other), ..ParsedFrame::NONE },
        };
        table.prefetch_index(parsed.hash);
    }
    for parsed in parsed.iter_mut().take(count) {
        let Ok(packet) = &parsed.headers else { continue };
        parsed.candidate = table.prefetch_session(parsed.hash, packet.key.protocol);
    }
}

/// Whether a session passes this packet as it is: judged by the rules in force, neither ended nor closing
/// (a SYN may want its place), limited by no rate, not idle, no TTL used up, no larger than its way carries.
#[inline(always)]
fn is_current(session: &Session, frame: &[u8], packet: &Packet, direction: Direction, context: &Context<'_>) -> bool {
    context.snapshot.generation(session.endpoint) == Some(session.generation)
        && session.is_live()
        && !session.flags.contains(SessionFlags::LIMITED)
        && context.now.since(session.last_seen) <= session.idle_limit
        && packet.hops > 1
        && fit::surely(session, frame, packet, direction, context)
}

/// Adds a packet to its session and its endpoint.
#[inline(always)]
fn account(traffic: &[CounterChunk], session: &mut Session, direction: Direction, packet: &Packet) {
    let (packets, bytes) = packet.wire_size();
    session.count(direction, (packets, bytes));
    let Some(endpoint) = find(traffic, session.endpoint) else { return };
    let (packet_counter, byte_counter) = match direction {
        Direction::ToService => (&endpoint.packets_to_service, &endpoint.bytes_to_service),
        Direction::ToConsumer => (&endpoint.packets_to_consumer, &endpoint.bytes_to_consumer),
    };
    add(packet_counter, packets);
    add(byte_counter, bytes);
}

/// Lends a frame to `sink`, behind what it must follow, and counts what becomes of it.
#[inline(always)]
fn lend(
    transmit: Transmit<'_>,
    frames: u64,
    tx: &mut TxQueue,
    counts: &mut VerdictCounts,
    sink: &mut impl FnMut(Transmit<'_>) -> io::Result<()>,
) {
    if !tx.is_empty() {
        flush(tx, counts, sink);
    }
    if sink(transmit).is_ok() {
        counts.forwarded += frames;
    } else {
        counts.dropped[DropReason::WriteFailed as usize] += frames;
    }
}

/// Lends the frames that wait. A packet that was made here and cannot be written is lost, like any.
#[cold]
fn flush(tx: &mut TxQueue, counts: &mut VerdictCounts, sink: &mut impl FnMut(Transmit<'_>) -> io::Result<()>) {
    while let Some((transmit, frames)) = tx.pop() {
        if sink(transmit).is_err() {
            counts.forwarded -= frames;
            counts.dropped[DropReason::WriteFailed as usize] += frames;
        }
    }
}

/// Counts how a frame (or a datagram, for all its pieces) ended, and lends what leaves. Returns a datagram that the frame
/// made whole.
pub(super) fn settle(
    verdict: Verdict<'_>,
    meta: &RxMeta,
    tx: &mut TxQueue,
    counts: &mut VerdictCounts,
    sink: &mut impl FnMut(Transmit<'_>) -> io::Result<()>,
) -> Option<Datagram> {
    let frames = meta.frames();
    let whole = match verdict {
        Verdict::Transmit(transmit) => {
            lend(transmit, frames, tx, counts, sink);
            None
        }
        Verdict::Whole(datagram) => Some(datagram),
        Verdict::Forwarded => {
            counts.forwarded += frames;
            None
        }
        Verdict::Held => {
            counts.held += frames;
            None
        }
        Verdict::HandedOff => {
            counts.handed_out += frames;
            None
        }
        Verdict::Drop(reason) => {
            counts.dropped[reason as usize] += frames;
            None
        }
    };
    flush(tx, counts, sink);
    whole
}

/// Sends a datagram that has become whole on the way of any packet. Its verdict is that of all its pieces.
#[cold]
pub(super) fn forward_datagram(
    mut datagram: Datagram,
    meta: &RxMeta,
    state: &mut State,
    nat: &mut Rewriter,
    context: &Context<'_>,
    sink: &mut impl FnMut(Transmit<'_>) -> io::Result<()>,
) {
    let pieces = Pieces { count: datagram.pieces, largest: datagram.largest, may_cut: datagram.may_cut };
    let meta = RxMeta { pieces: Some(pieces), handed: false, ..*meta };
    let verdict = slow::forward(&mut datagram.frame, &meta, state, nat, context);
    let whole = settle(verdict, &meta, &mut state.tx, &mut state.counts, sink);
    debug_assert!(whole.is_none(), "what is whole is no piece");
}
