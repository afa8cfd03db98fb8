//! Fragments on their way through a worker: a look at the rules before any memory is spent (requirement P-7),
//! reassembly, the whole packet path, and fresh pieces for the other side.

use crate::dataplane::admit::reject::Bucket;
use crate::dataplane::forwarder::{Context, Forwarder, Transmit};
use crate::dataplane::fragment::reassembly::{Datagram, Outcome};
use crate::dataplane::handoff::{Pieces, RxMeta};
use crate::dataplane::session::Tick;
use crate::dataplane::verdict::Verdict;
use crate::snapshot::DropReason;
use crate::snapshot::policy::{self, is_spoofed};
use crate::snapshot::{AttachmentId, Protocol, Query, Timeouts};
use crate::wire::ip::{self, Outline};
use crate::wire::{Version, build, fragment, segment, vnet};

/// Keeping pieces, and putting them together.
pub mod reassembly;

/// Datagrams given up per batch.
const EXPIRE_SLICE: usize = 64;

impl Forwarder {
    /// Decides a fragment.
    pub(super) fn fragment(
        &mut self,
        frame: &[u8],
        outline: &Outline,
        arrival: &RxMeta,
        context: &Context<'_>,
    ) -> Verdict {
        let Some(piece) = outline.fragment else { return Verdict::Drop(DropReason::Malformed) };
        let owner = self.shared.steering().fragment_queue(
            outline.source,
            outline.destination,
            piece.identification,
            outline.protocol,
            self.position.workers,
        );
        if owner != self.position.worker && !arrival.handed {
            return Verdict::HandOut { worker: owner, refused: false };
        }
        let timeouts = match welcome(outline, arrival.attachment, context) {
            Ok((timeouts, _)) => timeouts,
            Err(reason) => return Verdict::Drop(reason),
        };
        // What the kernel cuts is complete, whatever a virtio header says.
        let packet = &frame[vnet::LENGTH..];
        let lifetime = Tick::span(timeouts.fragment);
        let outcome = self.pieces.add(arrival.attachment, packet, outline, &piece, context.now, lifetime);
        let displaced = self.pieces.take_displaced();
        self.counts.held -= displaced;
        self.counts.dropped[DropReason::FragmentFull as usize] += displaced;
        match outcome {
            Outcome::Held => Verdict::Held,
            Outcome::Dropped(reason) => Verdict::Drop(reason),
            Outcome::Killed { reason, held } => {
                self.counts.held -= held;
                self.counts.dropped[reason as usize] += held;
                Verdict::Drop(reason)
            }
            Outcome::Whole(datagram) => self.datagram(datagram, arrival, context),
        }
    }

    /// Sends a datagram that has become whole on the way of any packet. Its verdict is that of all its pieces.
    fn datagram(&mut self, mut datagram: Datagram, arrival: &RxMeta, context: &Context<'_>) -> Verdict {
        let pieces = Pieces { count: datagram.pieces, largest: datagram.largest, may_cut: datagram.may_cut };
        self.counts.held -= u64::from(datagram.pieces) - 1;
        let whole = RxMeta { pieces: Some(pieces), handed: false, ..*arrival };
        let verdict = self.forward_slowly(&mut datagram.frame, &whole, context);
        let verdict = match self.taken_out(verdict, &datagram.frame) {
            // Its frame is nobody's who would write it: it leaves by the outbox.
            Some((to, frame)) => {
                self.tx_queue.push(Transmit { to, frame, carries: whole.frames() });
                Verdict::Emitted
            }
            None => verdict,
        };
        self.settle(verdict, &datagram.frame, &whole);
        Verdict::Settled
    }

    /// The frame that a verdict says to write, as one piece; `None`: it says nothing of the kind.
    pub(super) fn taken_out(&self, verdict: Verdict, frame: &[u8]) -> Option<(AttachmentId, Vec<u8>)> {
        match verdict {
            Verdict::Forward { to, length } => Some((to, frame[..length].to_vec())),
            Verdict::Rebuilt { to, from, end } => Some((to, [self.head.bytes(), &frame[from..end]].concat())),
            Verdict::Emitted
            | Verdict::Absorbed
            | Verdict::Held
            | Verdict::Settled
            | Verdict::Drop(_)
            | Verdict::HandOut { .. } => None,
        }
    }

    /// Cuts a packet that was translated into pieces of at most `limit` bytes, under an identification that no
    /// other packet of this source has (RFC 6864 §5.3.1; requirement G-4). A super-packet becomes the datagrams
    /// that it stands for first.
    pub(super) fn cut(&mut self, verdict: Verdict, frame: &[u8], limit: usize, arrival: &RxMeta) -> Verdict {
        let Some((to, whole)) = self.taken_out(verdict, frame) else { return verdict };
        let Some(packets) = segment::segments(&whole) else { return Verdict::Drop(DropReason::PacketTooBig) };
        let mut pieces = Vec::with_capacity(packets.len());
        for packet in packets {
            if packet.len() - vnet::LENGTH <= limit {
                pieces.push(packet);
                continue;
            }
            let identification = match packet[vnet::LENGTH] >> 4 {
                4 => u32::from(self.identifications.take16(1)),
                _ => self.identifications.take32(),
            };
            let Some(cut) = fragment::split(&packet[vnet::LENGTH..], limit, identification) else {
                return Verdict::Drop(DropReason::PacketTooBig);
            };
            pieces.extend(cut);
        }
        for (carries, frame) in std::iter::once(arrival.frames()).chain(std::iter::repeat(0)).zip(pieces) {
            self.tx_queue.push(Transmit { to, frame, carries });
        }
        Verdict::Emitted
    }

    /// Gives up datagrams that did not become whole in time; tells the sender, if its first piece came (RFC 792,
    /// RFC 8200 §4.5). Returns whether more wait.
    pub(in crate::dataplane) fn expire_pieces(&mut self, context: &Context<'_>) -> bool {
        if self.pieces.is_empty() {
            return false;
        }
        let over = self.pieces.expire(context.now, EXPIRE_SLICE);
        let settings = &context.snapshot.settings;
        let more = over.len() == EXPIRE_SLICE;
        for datagram in over {
            self.counts.held -= datagram.held;
            self.counts.dropped[DropReason::FragmentTimeout as usize] += datagram.held;
            let Some(first) = datagram.first else { continue };
            let Ok(outline) = ip::outline(&first) else { continue };
            // Whom the rules have shut out meanwhile is told nothing, nor is who asks a silent resource.
            let answer = welcome(&outline, datagram.attachment, context).map(|(_, answer)| answer);
            if !answer.is_ok_and(|answer| answer.unwrap_or(settings.answer)) {
                continue;
            }
            let bucket = (datagram.attachment, Bucket::Refusals);
            if self.answers.take(bucket, settings.deny_rate, context.now, &mut self.random) {
                let told = build::icmp_error(outline.destination, &first, build::IcmpError::ReassemblyTime);
                self.originate(datagram.attachment, told);
                self.counts.answered += 1;
            }
        }
        more
    }
}

/// Whether anything of this sender to this address could pass, whatever the ports: nothing else costs memory. The
/// resource's times and answer mode.
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
