//! A resolver at work: sockets on port 53 of its VNet's network, UDP and TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use hickory_proto::op::{Edns, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Name, RecordType};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::oneshot;

use super::answer::{Reply, look_up};
use super::forward::Upstream;
use crate::snapshot::dns::{DnsPlan, ResolverPlan};

/// Where DNS is asked.
const PORT: u16 = 53;

/// How long a TCP client may be silent (RFC 7766 §6.2.3).
const IDLE: Duration = Duration::from_secs(10);

/// Answers that wait for a TCP client that does not read.
const WAITING: usize = 64;

/// Largest answer by UDP that no path breaks (DNS flag day 2020).
const PAYLOAD: u16 = 1_232;

/// A name may be bound before its address is there: so often, so far apart.
const TRIES: u32 = 50;
const BETWEEN: Duration = Duration::from_millis(100);

/// Serves one VNet until `stop` is dropped or sent; says so by `listening` when it does. Call it inside the VNet's
/// network namespace: every socket made here belongs to it.
///
/// # Errors
/// An address cannot be bound.
pub fn serve(
    vnet: &str,
    plan: Arc<ArcSwap<DnsPlan>>,
    mut stop: oneshot::Receiver<()>,
    listening: impl FnOnce(),
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let Some(resolver) = plan.load().resolvers.get(vnet).cloned() else { return Ok(()) };
        let upstream = Upstream::new(&resolver.upstream).context("upstream")?;
        let handler = Handler { vnet: vnet.to_owned(), plan, upstream };
        let mut server = Server::new(handler);
        for &address in &resolver.listen {
            let at = SocketAddr::new(address, PORT);
            let sockets = tokio::select! {
                sockets = bound(at) => sockets,
                _ = &mut stop => return Ok(()),
            };
            let (datagrams, listener) = sockets.with_context(|| format!("cannot listen on {at}"))?;
            server.register_socket(datagrams);
            server.register_listener(listener, IDLE, WAITING);
            tracing::info!(vnet, %at, "resolver listens");
        }
        listening();
        // Whoever holds the sender goes: that is an end too.
        let _ = stop.await;
        server.shutdown_gracefully().await.context("the resolver ends")
    })
}

async fn bound(at: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut left = TRIES;
    loop {
        let both = match UdpSocket::bind(at).await {
            Ok(datagrams) => TcpListener::bind(at).await.map(|listener| (datagrams, listener)),
            Err(error) => Err(error),
        };
        match both {
            // An IPv6 address is tentative for a moment, and one just given up may still be held.
            Err(error)
                if left > 0 && matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse) =>
            {
                left -= 1;
                tokio::time::sleep(BETWEEN).await;
            }
            other => return other,
        }
    }
}

/// How often an alias may lead from the plan to the upstreams.
const MOST_JOURNEYS: usize = 4;

struct Handler {
    vnet: String,
    plan: Arc<ArcSwap<DnsPlan>>,
    upstream: Upstream,
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut out: R) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = true;
        let reply = self.decide(request).await;
        metadata.response_code = reply.code;
        metadata.authoritative = reply.own;
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD).set_version(0);
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if request.edns.is_some() {
            if let Some((code, words)) = &reply.why {
                let text = [&code.to_be_bytes()[..], words.as_bytes()].concat();
                edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR, text));
            }
            builder.edns(&edns);
        }
        let message = builder.build(metadata, &reply.answers, [], reply.soa.iter(), []);
        match out.send_response(message).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, client = %request.src(), "an answer cannot be sent");
                header(metadata, ResponseCode::ServFail)
            }
        }
    }
}

/// EDNS option of extended errors (RFC 8914 §2).
const EXTENDED_ERROR: u16 = 15;

fn header(mut metadata: Metadata, code: ResponseCode) -> ResponseInfo {
    metadata.response_code = code;
    ResponseInfo::from(hickory_proto::op::Header { metadata, counts: hickory_proto::op::HeaderCounts::default() })
}

impl Handler {
    async fn decide(&self, request: &Request) -> Reply {
        let plan = self.plan.load().resolvers.get(&self.vnet).cloned();
        let (Some(plan), Ok(info)) = (plan, request.request_info()) else { return Reply::only(ResponseCode::FormErr) };
        if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            return Reply::only(ResponseCode::BADVERS);
        }
        if request.metadata.op_code != OpCode::Query {
            return Reply::only(ResponseCode::NotImp);
        }
        let kind = info.query.query_type();
        if !may_ask(&plan, request.src().ip())
            || info.query.query_class() != DNSClass::IN
            || matches!(kind, RecordType::AXFR | RecordType::IXFR)
        {
            return Reply::only(ResponseCode::Refused);
        }
        // As it was written: the answer repeats the client's letters.
        let name: Name = info.query.original().name().clone();
        let mut reply = match look_up(&plan, &name, kind) {
            Some(reply) => reply,
            None => self.upstream.ask(&plan, &name, kind).await,
        };
        for _ in 0..MOST_JOURNEYS {
            let Some(target) = reply.onward.take() else { return reply };
            let next = self.upstream.ask(&plan, &target, kind).await;
            reply.answers.extend(next.answers);
            reply = Reply { answers: reply.answers, own: false, ..next };
        }
        Reply::only(ResponseCode::ServFail)
    }
}

/// Names of a VNet are told to its own clients: those it may have, and programs beside the resolver.
fn may_ask(plan: &ResolverPlan, client: IpAddr) -> bool {
    let client = client.to_canonical();
    client.is_loopback() || plan.listen.contains(&client) || plan.sources.iter().any(|prefix| prefix.contains(&client))
}
