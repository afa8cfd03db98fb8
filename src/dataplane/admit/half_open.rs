//! Half-open sessions make room: a SYN that nobody has answered costs its sender one packet, so what floods of them
//! take is given to whoever finds none left. Candidates are drawn at random; among them the tenant (the VNet of an
//! attachment) with the most gives, so that one who floods gives its own. Whoever has answered is told by a reset, and the
//! NAT port is free at once.

use crate::dataplane::Context;
use crate::dataplane::lifecycle::Sessions;
use crate::dataplane::nat::ports::PoolKey;
use crate::dataplane::record::FlowEndReason;
use crate::dataplane::session::{FlowKey, Phase, Session, Slot};
use crate::dataplane::tx::TxQueue;
use crate::snapshot::AttachmentId;

/// Places looked at for a candidate.
const SAMPLES: usize = 32;

/// A table with no more places than this is looked at whole.
const FEW: u32 = 64;

/// Ends a half-open session that is `of_use`, if one is found.
pub(super) fn gives_way(
    sessions: &mut Sessions,
    of_use: impl Fn(&Session) -> bool,
    tx: &mut TxQueue,
    context: &Context<'_>,
) -> bool {
    let extent = sessions.table.extent();
    let positions: Vec<u32> = match extent {
        ..=FEW => (0..extent).collect(),
        _ => (0..SAMPLES).map(|_| sessions.random.u32(..extent)).collect(),
    };
    let candidates = positions.into_iter().filter_map(|position| sessions.table.occupied(position));
    let candidates: Vec<Slot> =
        candidates.filter(|slot| sessions.table.get(*slot).is_some_and(|s| is_half_open(s) && of_use(s))).collect();
    heaviest_gives(sessions, &candidates, tx, context)
}

/// Ends a half-open session that holds a NAT port of one of `pools`, if one is found.
pub(super) fn gives_port(
    sessions: &mut Sessions,
    pools: &[PoolKey],
    provider: AttachmentId,
    tx: &mut TxQueue,
    context: &Context<'_>,
) -> bool {
    let range = sessions.ports.range();
    let mut candidates = Vec::new();
    for _ in 0..SAMPLES {
        let Some(pool) = pools.get(sessions.random.usize(..pools.len().max(1))) else { return false };
        let key = FlowKey {
            attachment: provider,
            protocol: pool.protocol,
            source: pool.backend,
            destination: pool.nat,
            source_port: pool.backend_port,
            destination_port: sessions.random.u16(range.0..=range.1),
        };
        let found = sessions.table.find_any(&key).map(|hit| hit.session);
        candidates.extend(found.filter(|slot| sessions.table.get(*slot).is_some_and(is_half_open)));
    }
    heaviest_gives(sessions, &candidates, tx, context)
}

/// Ends a random one of those that are of the tenant with the most; of tenants with as many, a random one's.
fn heaviest_gives(sessions: &mut Sessions, candidates: &[Slot], tx: &mut TxQueue, context: &Context<'_>) -> bool {
    let Sessions { table, random, .. } = sessions;
    let tenant = |slot: &Slot| table.get(*slot).map(|session| session.consumer_attachment);
    let weight = |slot: &Slot| candidates.iter().filter(|other| tenant(other) == tenant(slot)).count();
    let Some(&slot) = candidates.iter().max_by_key(|slot| (weight(slot), random.u64(..))) else { return false };
    sessions.reset_ends(slot, tx);
    sessions.remove(slot, FlowEndReason::Reclaimed, context.now);
    sessions.peers.tell_departed();
    true
}

/// Whether a TCP connection is being opened: nobody has it yet.
fn is_half_open(session: &Session) -> bool {
    session.phase == Phase::Opening
}
