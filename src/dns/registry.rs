//! The running resolvers, for metrics and for questions from outside their networks.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::rr::{Name, RecordType};
use tokio::sync::{mpsc, oneshot};

use super::counters::Counters;
use super::public::{self, UpstreamProbe};
use super::question::Key;
use super::resolver::{Resolver, TraceStep};
use crate::snapshot::dns::ResolverPlan;

/// The most questions that wait for one resolver.
const WAITING: usize = 16;

/// Every resolver that runs or ran: counters must not fall.
#[derive(Default)]
pub struct ResolverRegistry(Mutex<BTreeMap<String, Place>>);

#[derive(Default)]
struct Place {
    counters: Arc<Counters>,
    door: Option<mpsc::Sender<PendingQuery>>,
}

/// A question that waits for its answer.
#[derive(Debug)]
pub struct PendingQuery(DnsQuery);

#[derive(Debug)]
enum DnsQuery {
    /// Follow a name to its end.
    Follow { question: (Name, RecordType), tell: oneshot::Sender<Explained> },
    /// Ask the upstreams for these names, independent of the plan.
    Public { questions: Vec<(Name, RecordType)>, within: Duration, tell: oneshot::Sender<Vec<UpstreamProbe>> },
}

/// The result of following a name.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The response code, such as `NOERROR`.
    pub code: String,
    /// Why there is no answer: a code of RFC 8914 and a text.
    pub why: Option<(u16, String)>,
    /// The steps, in order.
    pub hops: Vec<TraceStep>,
    /// The plan that was in force.
    pub plan: Arc<ResolverPlan>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// The name is invalid.
    Name,
    /// The record type is invalid.
    Kind,
    /// The VNet has no running resolver, or it is busy.
    Silent,
}

impl ResolverRegistry {
    /// The counters of `vnet`, over all its resolvers.
    pub fn counters(&self, vnet: &str) -> Arc<Counters> {
        Arc::clone(&self.places().entry(vnet.to_owned()).or_default().counters)
    }

    /// Every VNet's counters.
    pub fn all(&self) -> Vec<(String, Arc<Counters>)> {
        self.places().iter().map(|(vnet, place)| (vnet.clone(), Arc::clone(&place.counters))).collect()
    }

    /// A queue of questions for a new resolver of `vnet`. The previous resolver gets no more.
    pub fn open(&self, vnet: &str) -> mpsc::Receiver<PendingQuery> {
        let (door, asks) = mpsc::channel(WAITING);
        self.places().entry(vnet.to_owned()).or_default().door = Some(door);
        asks
    }

    /// Lets the resolver of `vnet` follow a name, within its network.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn ask(&self, vnet: &str, name: &str, kind: &str) -> Result<Explained, QueryError> {
        let question = question(name, kind)?;
        let (tell, told) = oneshot::channel();
        self.hand(vnet, DnsQuery::Follow { question, tell })?;
        told.await.map_err(|_| QueryError::Silent)
    }

    /// Lets the resolver of `vnet` ask its upstreams for names and types, independent of its own names. Returns one
    /// answer for each, in this order, none later than `within`.
    ///
    /// # Errors
    /// The resolver cannot be asked.
    pub async fn public(
        &self,
        vnet: &str,
        questions: impl IntoIterator<Item = (&str, &str)>,
        within: Duration,
    ) -> Result<Vec<UpstreamProbe>, QueryError> {
        let questions = questions.into_iter().map(|(name, kind)| question(name, kind)).collect::<Result<_, _>>()?;
        let (tell, told) = oneshot::channel();
        self.hand(vnet, DnsQuery::Public { questions, within, tell })?;
        told.await.map_err(|_| QueryError::Silent)
    }

    fn hand(&self, vnet: &str, wish: DnsQuery) -> Result<(), QueryError> {
        let door = self.places().get(vnet).and_then(|place| place.door.clone()).ok_or(QueryError::Silent)?;
        door.try_send(PendingQuery(wish)).map_err(|_| QueryError::Silent)
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<String, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ResolverRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResolverRegistry").field(&self.places().keys()).finish()
    }
}

fn question(name: &str, kind: &str) -> Result<(Name, RecordType), QueryError> {
    let mut name = Name::from_ascii(name).map_err(|_| QueryError::Name)?;
    name.set_fqdn(true);
    let kind = RecordType::from_str(&kind.to_ascii_uppercase()).map_err(|_| QueryError::Kind)?;
    if matches!(u16::from(kind), 0 | 41 | 128..=255) { Err(QueryError::Kind) } else { Ok((name, kind)) }
}

impl PendingQuery {
    /// Answers the question. The asker may have gone.
    pub(super) async fn served(self, resolver: &Resolver) {
        match self.0 {
            DnsQuery::Public { questions, within, tell } => {
                let _ = tell.send(public::asked(resolver, questions, within).await);
            }
            DnsQuery::Follow { question: (name, kind), tell } => {
                let Some(plan) = resolver.plan() else { return };
                let (reply, hops) = resolver.resolve(&plan, &Key::of(&name, kind)).await;
                let code = Counters::code_name(u8::try_from(u16::from(reply.code)).unwrap_or(u8::MAX)).to_owned();
                let _ = tell.send(Explained { code, why: reply.why, hops, plan });
            }
        }
    }
}
