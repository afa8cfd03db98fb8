//! Half-open sessions make room: a SYN that nobody has answered costs its sender one packet, so what floods of them
//! take is given to whoever finds none left. Candidates are drawn at random; among them the tenant (the VNet of an
//! attachment) with the most gives, so that one who floods gives its own. Whoever has answered is told by a reset, and the
//! NAT port is free at once.

use crate::dataplane::forwarder::{Context, Forwarder};
use crate::dataplane::nat::ports::PoolKey;
use crate::dataplane::record::FlowEndReason;
use crate::dataplane::session::{FlowKey, Phase, Session, Slot};
use crate::snapshot::AttachmentId;

/// Places looked at for a candidate.
const SAMPLES: usize = 32;

/// A table with no more places than this is looked at whole.
const FEW: u32 = 64;

impl Forwarder {
    /// Ends a half-open session that is `of_use`, if one is found.
    pub(super) fn half_open_gives(&mut self, of_use: impl Fn(&Session) -> bool, context: &Context<'_>) -> bool {
        let extent = self.sessions.extent();
        let positions: Vec<u32> = match extent {
            ..=FEW => (0..extent).collect(),
            _ => (0..SAMPLES).map(|_| self.random.u32(..extent)).collect(),
        };
        let candidates = positions.into_iter().filter_map(|position| self.sessions.occupied(position));
        let candidates: Vec<Slot> =
            candidates.filter(|slot| self.sessions.get(*slot).is_some_and(|s| is_half_open(s) && of_use(s))).collect();
        self.heaviest_gives(&candidates, context)
    }

    /// Ends a half-open session that holds a NAT port of one of `pools`, if one is found.
    pub(super) fn half_open_gives_port(
        &mut self,
        pools: &[PoolKey],
        provider: AttachmentId,
        context: &Context<'_>,
    ) -> bool {
        let range = self.ports.range();
        let mut candidates = Vec::new();
        for _ in 0..SAMPLES {
            let Some(pool) = pools.get(self.random.usize(..pools.len().max(1))) else { return false };
            let key = FlowKey {
                attachment: provider,
                protocol: pool.protocol,
                source: pool.backend,
                destination: pool.nat,
                source_port: pool.backend_port,
                destination_port: self.random.u16(range.0..=range.1),
            };
            let found = self.sessions.find_any(&key).map(|(slot, _)| slot);
            candidates.extend(found.filter(|slot| self.sessions.get(*slot).is_some_and(is_half_open)));
        }
        self.heaviest_gives(&candidates, context)
    }

    /// Ends a random one of those that are of the tenant with the most; of tenants with as many, a random one's.
    fn heaviest_gives(&mut self, candidates: &[Slot], context: &Context<'_>) -> bool {
        let Self { sessions, random, .. } = self;
        let tenant = |slot: &Slot| sessions.get(*slot).map(|session| session.consumer_attachment);
        let weight = |slot: &Slot| candidates.iter().filter(|other| tenant(other) == tenant(slot)).count();
        let Some(&slot) = candidates.iter().max_by_key(|slot| (weight(slot), random.u64(..))) else { return false };
        self.reset_ends(slot);
        self.remove(slot, FlowEndReason::Reclaimed, context.now);
        self.departed.tell(&self.shared);
        true
    }
}

/// Whether a TCP connection is being opened: nobody has it yet.
fn is_half_open(session: &Session) -> bool {
    session.phase == Phase::Opening
}
