//! Answers to denied packets: a TCP reset, or an ICMP message; at most so many
//! per second, and never about what must not be answered.

use crate::dataplane::Context;
use crate::dataplane::nat::classify::{Packet, Rx};
use crate::dataplane::session::Tick;
use crate::dataplane::tx::TxQueue;
use crate::snapshot::drop_reason::Reply;
use crate::snapshot::prefixes::is_martian;
use crate::snapshot::{AttachmentId, DropReason, Protocol};
use crate::wire::build::{self, Ends, IcmpError};
use crate::wire::checksum;
use crate::wire::headers::{self, RST};

/// Why a packet does not pass, whose answer mode applies, and what fits if it is too big.
#[derive(Clone, Copy, Debug)]
pub struct DeniedPacket {
    /// What it counts under.
    pub reason: DropReason,
    /// The resource's answer mode; `None`: the daemon's.
    pub answer: Option<bool>,
    /// With [`DropReason::PacketTooBig`]: what fits, bytes.
    pub mtu: u16,
}

/// A token bucket that refills once per tick: the forwarder's answers are bounded whatever arrives
/// (RFC 1812 §4.3.2.8). At random an answer costs two tokens. Otherwise a sender could tell from its own answers how many
/// others were sent meanwhile (a side channel).
#[derive(Debug)]
pub struct Limiter {
    left: u32,
    refilled: Tick,
}

impl Limiter {
    /// A bucket that is full at `now`; `u32::MAX` fills it whatever the rate will be.
    #[must_use]
    pub fn new(rate: u32, now: Tick) -> Self {
        Self { left: rate, refilled: now }
    }

    /// Takes one token or two, if there is one, at `rate` tokens per second.
    pub fn take(&mut self, rate: u32, now: Tick, random: &mut fastrand::Rng) -> bool {
        let refill = u64::from(now.since(self.refilled)) * u64::from(rate) / u64::from(Tick::PER_SECOND);
        if refill > 0 {
            self.refilled = now;
        }
        self.left = u32::try_from(refill.saturating_add(u64::from(self.left))).unwrap_or(u32::MAX).min(rate);
        let granted = self.left > 0;
        self.left = self.left.saturating_sub(1 + u32::from(random.u8(..8) == 0));
        granted
    }
}

/// What a bucket of answers is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// Resets and refusals.
    Refusals,
    /// What tells a sender that a packet is too big: without it a path is a black hole (RFC 2923 §2.1), so a flood of
    /// what is refused takes nothing from it.
    TooBig,
}

/// The answers of one worker: each tenant, the VNet of an attachment, has buckets of its own, so a flood of one takes
/// no answer from another.
#[derive(Debug)]
pub struct Answers {
    tenants: Vec<[Limiter; 2]>,
    random: fastrand::Rng,
}

impl Answers {
    /// Full buckets for everybody; `seed` comes from the system's random numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { tenants: Vec::new(), random: fastrand::Rng::with_seed(seed) }
    }

    /// Whether one more answer may be sent to `tenant` at `rate` per second; if so, it is counted.
    pub fn take(&mut self, (tenant, bucket): (AttachmentId, Bucket), rate: u32, now: Tick) -> bool {
        let tenant = usize::from(tenant.0);
        if self.tenants.len() <= tenant {
            // Full from the start: the first packet after a start is answered too.
            self.tenants.resize_with(tenant + 1, || [(); 2].map(|()| Limiter::new(u32::MAX, Tick(0))));
        }
        self.tenants[tenant][bucket as usize].take(rate, now, &mut self.random)
    }
}

/// Answers a packet that is dropped, where its reason and the rate allow. Returns the reason.
pub fn deny(
    rx: &Rx<'_, '_>,
    refusal: DeniedPacket,
    answers: &mut Answers,
    tx: &mut TxQueue,
    context: &Context<'_>,
) -> DropReason {
    let settings = &context.snapshot.settings;
    let bucket = if refusal.reason == DropReason::PacketTooBig { Bucket::TooBig } else { Bucket::Refusals };
    let tenant = rx.packet.key.attachment;
    if refusal.answer.unwrap_or(settings.answer)
        && let Some(answer) = answer(rx.frame, rx.packet, refusal)
        && answers.take((tenant, bucket), settings.deny_rate, context.now)
    {
        tx.answer(tenant, answer);
    }
    refusal.reason
}

/// The frame that answers a refused packet; `None`: such packets are never answered.
#[must_use]
pub fn answer(frame: &[u8], packet: &Packet, refusal: DeniedPacket) -> Option<Vec<u8>> {
    // A host may send to a group or a broadcast address; nothing answers for it (RFC 1812 §4.3.2.7).
    if is_martian(packet.key.destination.ip()) {
        return None;
    }
    // Nobody is known to have sent it.
    if !packet.is_sound(frame) {
        return None;
    }
    let error = match refusal.reason.reply() {
        Reply::Nothing => return None,
        Reply::Refused if packet.key.protocol == Protocol::Tcp => return reset(frame, packet),
        Reply::Refused => IcmpError::Prohibited,
        Reply::HostUnreachable => IcmpError::HostUnreachable,
        Reply::TimeExceeded => IcmpError::TimeExceeded,
        Reply::TooBig => IcmpError::TooBig { mtu: refusal.mtu },
    };
    if packet.key.protocol == Protocol::Tcp && packet.segment(frame).has(RST) {
        return None;
    }
    Some(build::icmp_error(packet.key.destination, &quotable(frame, packet), error))
}

/// The reset that answers a segment, mirrored; a reset is never answered with one (RFC 9293 §3.5.2).
#[must_use]
pub fn reset(frame: &[u8], packet: &Packet) -> Option<Vec<u8>> {
    let segment = packet.segment(frame);
    if segment.has(RST) {
        return None;
    }
    let key = &packet.key;
    let ends = Ends { from: (key.destination, key.destination_port), to: (key.source, key.source_port) };
    Some(build::reset_answering(ends, segment))
}

/// The packet as its sender put it on the wire: a partial checksum is completed for the quote. A
/// super-packet has no single checksum; its quote carries the partial one.
fn quotable(frame: &[u8], packet: &Packet) -> Vec<u8> {
    let mut ip = packet.ip(frame).to_vec();
    if packet.vnet.needs_csum() && packet.vnet.gso_size == 0 {
        let transport = &mut ip[packet.transport() - crate::wire::vnet::LENGTH..];
        let sum = !checksum::sum(transport);
        let sum = if sum == 0 { 0xFFFF } else { sum };
        headers::put_half(transport, usize::from(packet.vnet.csum_offset), sum);
    }
    ip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_no_more_answers_than_the_rate_and_nobody_can_count_on_how_many() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut limiter = Limiter::new(1_000, Tick(0));
        let mut granted = |tick| (0..5_000).filter(|_| limiter.take(1_000, Tick(tick), &mut random)).count();
        let mut seconds = Vec::new();
        for second in 0..50 {
            let one: usize = (0..10).map(|tick| granted(second * 1_000 + tick)).sum();
            let (least, most) = if second == 0 { (1_600, 1_900) } else { (1_600, 2_000) };
            assert!((least..=most).contains(&one), "{one} answers in second {second}, the full bucket included");
            seconds.push(one);
        }
        seconds.sort_unstable();
        seconds.dedup();
        assert!(seconds.len() > 10, "as many each time: {seconds:?}");
        let mut slow = Limiter::new(1, Tick(0));
        let total: usize = (0..50).map(|tick| usize::from(slow.take(1, Tick(tick), &mut random))).sum();
        assert_eq!(total, 5, "a rate below one per tick still grants");
    }

    #[test]
    fn one_tenants_flood_takes_no_answer_from_another_nor_from_what_is_too_big() {
        let mut answers = Answers::new(7);
        let mut granted = |tenant, bucket, tick, asked| {
            let mut take = || answers.take((AttachmentId(tenant), bucket), 1_000, Tick(tick));
            (0..asked).filter(|_| take()).count()
        };
        for tick in 0..50 {
            granted(0, Bucket::Refusals, tick, 10_000);
            assert!(granted(3, Bucket::Refusals, tick, 20) == 20, "the neighbour, at tick {tick}");
            assert!(granted(0, Bucket::TooBig, tick, 20) == 20, "what is too big, at tick {tick}");
        }
    }

    #[test]
    fn the_first_packet_after_a_start_is_answered_at_the_rate_in_force() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut limiter = Limiter::new(u32::MAX, Tick(0));
        let granted = (0..5_000).filter(|_| limiter.take(1_000, Tick(0), &mut random)).count();
        assert!((800..=1_000).contains(&granted), "{granted}");
        assert!(!Limiter::new(u32::MAX, Tick(0)).take(0, Tick(0), &mut random), "a rate of zero answers nothing");
    }
}
