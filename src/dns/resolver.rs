//! One VNet's resolver: answers messages. Only `upstream` has sockets.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::HINFO;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::answer::{Reply, look_up};
use super::cache::Cache;
use super::clock;
use super::counters::{Counters, Source, Unanswered};
use super::message::{Answer, BAD_VERSION, Transport, write_unfit};
use super::question::{FORMAT_ERROR, Key, NOT_IMPLEMENTED, ParsedQuery, Question, read};
use super::upstream::{Upstream, target_of};
use crate::snapshot::dns::{DnsPlan, ResolverPlan};

/// RFC 1035 §4.1.1: the client may not ask.
const REFUSED: u8 = 5;

/// RFC 1035 §4.1.1: no answer could be found.
const SERVER_FAILURE: u8 = 2;

/// RFC 8914 §4.19: the client has no right to ask.
const PROHIBITED: u16 = 18;

/// RFC 8914 §4.21: the name is unknown here, and no upstream may be asked.
const NOT_AUTHORITATIVE: u16 = 20;

/// RFC 8914 §4.1.
const OTHER: u16 = 0;

/// Cached answers in each of two generations.
const KEPT: usize = 32_768;

/// The most restarts of a lookup at an alias, in the plan or at an upstream.
const MOST_JOURNEYS: usize = 8;

/// The most records of one answer. A longer chain is a loop, or useless.
const MOST_RECORDS: usize = 1_024;

/// The resolver of one VNet.
pub struct Resolver {
    vnet: String,
    plans: Arc<ArcSwap<DnsPlan>>,
    answers: Mutex<Answers>,
    upstream: Upstream,
    counters: Arc<Counters>,
}

/// Encoded answers, all made with the same plan.
struct Answers {
    plan: Arc<ResolverPlan>,
    kept: Cache<Arc<Answer>>,
}

/// The result for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// The answer is written.
    Answered,
    /// It gets no answer.
    Silence,
    /// An upstream must be asked first.
    Later,
}

/// One step of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// The name at its start.
    pub name: String,
    /// The source of its records.
    pub by: AnswerSource,
    /// Its records.
    pub records: Vec<RecordText>,
}

/// One record, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordText {
    /// Its name, without the dot at its end.
    pub name: String,
    /// Its TTL in seconds.
    pub seconds: u32,
    /// Its type.
    pub kind: String,
    /// Its data.
    pub data: String,
}

impl RecordText {
    pub(super) fn new(record: &Record) -> Self {
        Self {
            name: text_of(&record.name),
            seconds: record.ttl,
            kind: record.record_type().to_string(),
            data: record.data.to_string(),
        }
    }
}

fn text_of(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').filter(|rest| !rest.is_empty()).map_or(text.clone(), str::to_owned)
}

/// The source of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerSource {
    /// The plan.
    Plan,
    /// A cached answer.
    Kept {
        /// The server that gave it.
        server: Option<IpAddr>,
        /// How long it stays cached.
        left: Duration,
    },
    /// A server, just now. `None`: none answered.
    Asked {
        /// Which.
        server: Option<IpAddr>,
        /// How long it took.
        took: Duration,
    },
}

impl Resolver {
    /// The resolver of `vnet`; `None`: the plan has none.
    pub fn new(vnet: &str, plans: Arc<ArcSwap<DnsPlan>>, counters: Arc<Counters>) -> Option<Self> {
        let plan = plans.load().resolvers.get(vnet).cloned()?;
        Some(Self {
            vnet: vnet.to_owned(),
            plans,
            upstream: Upstream::new(&plan.upstream, &plan.listen),
            answers: Mutex::new(Answers { plan, kept: Cache::new(KEPT) }),
            counters,
        })
    }

    /// The plan in force: loaded once for a batch of messages.
    pub fn plan(&self) -> Option<Arc<ResolverPlan>> {
        self.plans.load().resolvers.get(&self.vnet).cloned()
    }

    /// The upstream servers.
    pub(super) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Answers one message into `out`, unless an upstream has to be asked first.
    pub fn at_once(
        &self,
        plan: &Arc<ResolverPlan>,
        message: &[u8],
        (client, by): (IpAddr, Transport),
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Handled {
        let question = match read(message) {
            ParsedQuery::Question(question) => question,
            ParsedQuery::Unfit(unfit) => {
                write_unfit(unfit, out);
                self.counters.answered(Source::Refused, unfit.code);
                return Handled::Answered;
            }
            ParsedQuery::NoQuery => {
                self.counters.dropped(Unanswered::NoQuery);
                return Handled::Silence;
            }
        };
        if let Some((code, why)) = refusal(plan, &question, client) {
            self.say(&Answer::bare(code, why, now), &question, by, now, out);
            return Handled::Answered;
        }
        let key = Key::new(question.name(), question.kind());
        let kept = self.answers(plan).kept.get(key.bytes()).filter(|answer| answer.stands(now));
        let answer = kept.or_else(|| self.planned(plan, &key, question.recursion_desired, now));
        match answer {
            Some(answer) if question.recursion_desired || answer.source == Source::Private => {
                self.say(&answer, &question, by, now, out);
            }
            None if question.recursion_desired => return Handled::Later,
            // Without recursion, the cache of upstream answers is not used: it would reveal other clients' queries
            // (cache snooping).
            Some(_) | None => {
                self.say(&Answer::bare(REFUSED, Some((NOT_AUTHORITATIVE, "")), now), &question, by, now, out);
            }
        }
        Handled::Answered
    }

    /// Answers one message, asking upstreams if needed. `None`: it gets no answer.
    pub async fn answer(&self, message: &[u8], client: IpAddr, by: Transport) -> Option<Vec<u8>> {
        let (plan, mut out) = (self.plan()?, Vec::new());
        match self.at_once(&plan, message, (client, by), clock(), &mut out) {
            Handled::Answered => return Some(out),
            Handled::Silence => return None,
            Handled::Later => {}
        }
        let ParsedQuery::Question(question) = read(message) else { return None };
        let key = Key::new(question.name(), question.kind());
        let (reply, hops) = self.resolve(&plan, &key).await;
        let now = clock();
        let answer = Answer::new(&key, &reply, Source::Cached, now);
        let answer = Arc::new(answer.unwrap_or_else(|| Answer::bare(SERVER_FAILURE, None, now)));
        self.keep(&plan, &key, &answer);
        let asked = hops.iter().any(|hop| matches!(hop.by, AnswerSource::Asked { .. }));
        self.counters.answered(if asked { Source::Forwarded } else { Source::Cached }, answer.code);
        answer.write(&question, by, now, &mut out);
        Some(out)
    }

    fn say(&self, answer: &Answer, question: &Question<'_>, by: Transport, now: Instant, out: &mut Vec<u8>) {
        self.counters.answered(answer.source, answer.code);
        answer.write(question, by, now, out);
    }

    /// The cached answers of this plan. Those of another plan are dropped.
    fn answers(&self, plan: &Arc<ResolverPlan>) -> MutexGuard<'_, Answers> {
        // After a panic, at most an answer is missing here.
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&answers.plan, plan) {
            answers.plan = Arc::clone(plan);
            answers.kept.clear();
        }
        answers
    }

    fn keep(&self, plan: &Arc<ResolverPlan>, key: &Key, answer: &Arc<Answer>) {
        // An answer that was started under another plan is used once and not cached.
        if self.plan().is_some_and(|current| Arc::ptr_eq(&current, plan)) {
            self.answers(plan).kept.put(key.bytes().into(), Arc::clone(answer));
        }
    }

    /// The plan's answer, if it needs no upstream.
    fn planned(&self, plan: &Arc<ResolverPlan>, key: &Key, recursive: bool, now: Instant) -> Option<Arc<Answer>> {
        let kind = key.kind();
        let reply = if kind == RecordType::ANY { any(plan, key) } else { look_up(plan, &key.to_name(), kind)? };
        if reply.onward.is_some() && recursive {
            return None;
        }
        let answer = Answer::new(key, &reply, Source::Private, now);
        let answer = Arc::new(answer.unwrap_or_else(|| Answer::bare(SERVER_FAILURE, None, now)));
        if reply.onward.is_none() {
            self.keep(plan, key, &answer);
        }
        Some(answer)
    }

    /// Follows a name to its end: in the plan, and at the upstreams for names that the plan does not know. Stub clients
    /// do not follow aliases themselves.
    pub(super) async fn resolve(&self, plan: &ResolverPlan, key: &Key) -> (Reply, Vec<TraceStep>) {
        let (mut at, kind) = (key.to_name(), key.kind());
        let (mut whole, mut hops) = (Reply::only(ResponseCode::NoError), Vec::new());
        for journey in 0..MOST_JOURNEYS {
            if let Some(own) = look_up(plan, &at, kind) {
                hops.push(TraceStep {
                    name: text_of(&at),
                    by: AnswerSource::Plan,
                    records: own.answers.iter().map(RecordText::new).collect(),
                });
                whole.own |= journey == 0 && own.own;
                whole.answers.extend(own.answers);
                let Some(onward) = own.onward else {
                    return (Reply { code: own.code, soa: own.soa, why: own.why, ..whole }, hops);
                };
                at = onward;
            }
            let began = clock();
            let (found, kept) = self.upstream.ask(&Key::of(&at, kind)).await;
            let now = clock();
            let by = if kept {
                AnswerSource::Kept { server: found.server, left: found.until.saturating_duration_since(now) }
            } else {
                AnswerSource::Asked { server: found.server, took: now.saturating_duration_since(began) }
            };
            let asked = text_of(&at);
            let before = whole.answers.len();
            let passed = u32::try_from(now.saturating_duration_since(found.at).as_secs()).unwrap_or(u32::MAX);
            let aged = |record: &Record| {
                let mut record = record.clone();
                record.ttl = record.ttl.saturating_sub(passed);
                record
            };
            let mut next = None;
            for record in &found.records {
                whole.answers.push(aged(record));
                // At the first name that the plan knows, the lookup returns to the plan.
                let target = target_of(record).filter(|_| kind != RecordType::CNAME);
                if let Some(target) = target.filter(|target| look_up(plan, target, kind).is_some()) {
                    next = Some(target.clone());
                    break;
                }
            }
            let records = whole.answers[before..].iter().map(RecordText::new).collect();
            hops.push(TraceStep { name: asked, by, records });
            match next.or_else(|| found.leads_on(kind).cloned()) {
                Some(next) if whole.answers.len() < MOST_RECORDS => at = next,
                Some(_) => break,
                None => {
                    let alone = whole.answers.is_empty();
                    // Without recursion, the answer still has the plan's aliases.
                    let code =
                        if found.code == ResponseCode::Refused && !alone { ResponseCode::NoError } else { found.code };
                    let soa = found.soa.as_ref().map(aged);
                    return (Reply { code, soa, why: found.why.clone(), ..whole }, hops);
                }
            }
        }
        let why = Some((OTHER, format!("privlink: the aliases of {} lead on and on", key.to_name())));
        (Reply { why, ..Reply::only(ResponseCode::ServFail) }, hops)
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("vnet", &self.vnet).finish_non_exhaustive()
    }
}

/// Why a question is refused.
fn refusal<'a>(plan: &ResolverPlan, question: &Question<'_>, client: IpAddr) -> Option<(u8, Option<(u16, &'a str)>)> {
    if question.edns.is_some_and(|edns| edns.version > 0) {
        return Some((BAD_VERSION, None));
    }
    // No text: an answer to a stranger must not be much longer than its query.
    if !may_ask(plan, client) {
        return Some((REFUSED, Some((PROHIBITED, ""))));
    }
    if question.class() != u16::from(DNSClass::IN) {
        return Some((REFUSED, Some((NOT_AUTHORITATIVE, "privlink: class IN alone"))));
    }
    match question.kind() {
        // Not a type (RFC 6895 §3.1), or OPT, which cannot be requested.
        0 | 41 => Some((FORMAT_ERROR, None)),
        // IXFR, AXFR: zones are read over the API, with its access control.
        251 | 252 => Some((REFUSED, Some((PROHIBITED, "privlink: no zone transfers")))),
        // Other query-only types (RFC 6895 §3.1), except ANY.
        128..=254 => Some((NOT_IMPLEMENTED, None)),
        _ => None,
    }
}

/// RFC 8482 §4.2: ANY gets a short HINFO record, because the full answer would be much longer than the question.
fn any(plan: &ResolverPlan, key: &Key) -> Reply {
    let name = key.to_name();
    let known = look_up(plan, &name, RecordType::HINFO);
    let own = known.as_ref().is_some_and(|reply| reply.own);
    match known {
        Some(reply) if reply.code != ResponseCode::NoError && reply.answers.is_empty() => reply,
        _ => {
            let data = RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()));
            let seconds = u32::try_from(plan.ttl.as_secs()).unwrap_or(u32::MAX);
            let answers = vec![Record::from_rdata(name, seconds, data)];
            Reply { answers, own, ..Reply::only(ResponseCode::NoError) }
        }
    }
}

/// Only clients of the VNet get answers: its accepted sources, and programs on the resolver's host.
fn may_ask(plan: &ResolverPlan, client: IpAddr) -> bool {
    let client = client.to_canonical();
    client.is_loopback() || plan.listen.contains(&client) || plan.sources.iter().any(|prefix| prefix.contains(&client))
}

#[cfg(test)]
mod tests;
