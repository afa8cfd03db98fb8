//! Fragments on their way through a worker: a look at the rules before any memory is spent (requirement P-7),
//! reassembly, the whole packet path, and fresh pieces for the other side.

use crate::dataplane::Context;
use crate::dataplane::admit::reject::{Answers, Bucket};
use crate::dataplane::counters::VerdictCounts;
use crate::dataplane::handoff::Peers;
use crate::dataplane::session::Tick;
use crate::dataplane::tx::TxQueue;
use crate::snapshot::DropReason;
use crate::snapshot::policy::{self, is_spoofed};
use crate::snapshot::{AttachmentId, Protocol, Query, Timeouts};
use crate::wire::fragment::Identifications;
use crate::wire::ip::{self, Outline};
use crate::wire::{Version, build, fragment, segment, vnet};
use reassembly::{Datagram, Outcome, Reassembler};

/// Keeping pieces, and putting them together.
pub mod reassembly;

/// Datagrams given up per batch.
const EXPIRE_SLICE: usize = 64;

/// The worker that puts a fragment's datagram together.
pub(super) fn owner(outline: &Outline, peers: &Peers) -> u16 {
    let identification = outline.fragment.map_or(0, |piece| piece.identification);
    let (source, destination) = (outline.source, outline.destination);
    let workers = peers.position.workers;
    peers.shared.steering().fragment_queue(source, destination, identification, outline.protocol, workers)
}

/// Keeps a fragment until the others of its datagram have come; the last one makes it whole.
///
/// # Errors
/// Why the fragment is dropped.
pub(super) fn add(
    frame: &[u8],
    outline: &Outline,
    attachment: AttachmentId,
    pieces: &mut Reassembler,
    counts: &mut VerdictCounts,
    context: &Context<'_>,
) -> Result<Option<Datagram>, DropReason> {
    let piece = outline.fragment.ok_or(DropReason::Malformed)?;
    let (timeouts, _) = welcome(outline, attachment, context)?;
    // What the kernel cuts is complete, whatever a virtio header says.
    let packet = &frame[vnet::LENGTH..];
    let outcome = pieces.add(attachment, packet, outline, &piece, context.now, Tick::span(timeouts.fragment));
    let displaced = pieces.take_displaced();
    counts.held -= displaced;
    counts.dropped[DropReason::FragmentFull as usize] += displaced;
    match outcome {
        Outcome::Held => Ok(None),
        Outcome::Dropped(reason) => Err(reason),
        Outcome::Killed { reason, held } => {
            counts.held -= held;
            counts.dropped[reason as usize] += held;
            Err(reason)
        }
        Outcome::Whole(datagram) => {
            counts.held -= u64::from(datagram.pieces) - 1;
            Ok(Some(datagram))
        }
    }
}

/// Cuts a packet that was translated into pieces of at most `limit` bytes, under an identification that no other packet
/// of this source has (RFC 6864 §5.3.1; requirement G-4). A super-packet becomes the datagrams that it stands for first.
/// They stand for `frames` frames read.
///
/// # Errors
/// It cannot be cut so small.
pub(super) fn cut(
    to: AttachmentId,
    packet: &[u8],
    frames: u64,
    limit: usize,
    identifications: &mut Identifications,
    tx: &mut TxQueue,
) -> Result<(), DropReason> {
    let packets = segment::segments(packet).ok_or(DropReason::PacketTooBig)?;
    let mut pieces = Vec::with_capacity(packets.len());
    for packet in packets {
        if packet.len() - vnet::LENGTH <= limit {
            pieces.push(packet);
            continue;
        }
        let identification = match packet[vnet::LENGTH] >> 4 {
            4 => u32::from(identifications.take16(1)),
            _ => identifications.take32(),
        };
        let cut = fragment::split(&packet[vnet::LENGTH..], limit, identification);
        pieces.extend(cut.ok_or(DropReason::PacketTooBig)?);
    }
    for (frames, frame) in std::iter::once(frames).chain(std::iter::repeat(0)).zip(pieces) {
        tx.forward(to, frame, frames);
    }
    Ok(())
}

/// Gives up datagrams that did not become whole in time; tells the sender, if its first piece came (RFC 792,
/// RFC 8200 §4.5). Returns whether more wait.
pub(super) fn expire(
    pieces: &mut Reassembler,
    answers: &mut Answers,
    tx: &mut TxQueue,
    counts: &mut VerdictCounts,
    context: &Context<'_>,
) -> bool {
    if pieces.is_empty() {
        return false;
    }
    let over = pieces.expire(context.now, EXPIRE_SLICE);
    let settings = &context.snapshot.settings;
    let more = over.len() == EXPIRE_SLICE;
    for datagram in over {
        counts.held -= datagram.held;
        counts.dropped[DropReason::FragmentTimeout as usize] += datagram.held;
        let Some(first) = datagram.first else { continue };
        let Ok(outline) = ip::outline(&first) else { continue };
        // Whom the rules have shut out meanwhile is told nothing, nor is who asks a silent resource.
        let answer = welcome(&outline, datagram.attachment, context).map(|(_, answer)| answer);
        if !answer.is_ok_and(|answer| answer.unwrap_or(settings.answer)) {
            continue;
        }
        let bucket = (datagram.attachment, Bucket::Refusals);
        if answers.take(bucket, settings.deny_rate, context.now) {
            let told = build::icmp_error(outline.destination, &first, build::IcmpError::ReassemblyTime);
            tx.answer(datagram.attachment, told);
        }
    }
    more
}

/// Whether a packet from this sender to this address could pass at some port: only then is memory spent on its pieces.
/// Returns the resource's timeouts and answer mode.
fn welcome(
    outline: &Outline,
    attachment: AttachmentId,
    context: &Context<'_>,
) -> Result<(Timeouts, Option<bool>), DropReason> {
    let (source, destination) = (outline.source.ip(), outline.destination.ip());
    let protocol = match (outline.protocol, outline.version) {
        (ip::TCP, _) => Protocol::Tcp,
        (ip::ICMP, Version::V4) | (ip::ICMPV6, Version::V6) => Protocol::Icmp,
        // In IPv6 the transport may stand behind extension headers within the fragments.
        (ip::UDP, _) | (_, Version::V6) => Protocol::Udp,
        _ => return Err(DropReason::UnsupportedProtocol),
    };
    let query = Query { attachment, source, destination, protocol, port: 0 };
    if let Some(resource) = context.snapshot.nat_owner(attachment, destination) {
        let resource = context.snapshot.resource(resource).ok_or(DropReason::NoSession)?;
        let backends = || resource.targets.iter().flat_map(|target| &target.backends);
        let known = backends().any(|backend| backend.address == source);
        return if known { Ok((resource.timeouts, resource.answer)) } else { Err(DropReason::NoSession) };
    }
    if is_spoofed(context.snapshot, &query) {
        return Err(DropReason::SpoofedSource);
    }
    let endpoint = policy::admits_source(context.snapshot, &query).map_err(|denial| denial.reason)?;
    let resource = context.snapshot.resource(endpoint.resource);
    Ok(resource.map_or((context.snapshot.settings.timeouts, None), |resource| (resource.timeouts, resource.answer)))
}
