//! What this host itself says: whom it asks for names, what it is told, which way a packet takes. All of it is asked of
//! the namespace that the command runs in.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RData, RecordType};
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute};

/// Where it stands whom this host asks.
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Names that go before every question.
pub(super) const HOSTS: &str = "/etc/hosts";

/// How long one server may take for an answer, and how often it is asked.
const DNS_TIMEOUT: Duration = Duration::from_secs(2);
const TRIES: usize = 2;

/// How long a server behind the endpoint may take.
const DIAL: Duration = Duration::from_secs(3);

/// EDNS option of extended errors (RFC 8914 §2).
const EXTENDED_ERROR: u16 = 15;

/// What a name server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// Which one.
    pub(super) server: IpAddr,
    /// How it ends.
    pub(super) code: ResponseCode,
    /// The name, and the aliases it leads to.
    pub(super) chain: Vec<String>,
    /// Addresses at its end.
    pub(super) addresses: Vec<IpAddr>,
    /// Words of an extended error (RFC 8914); empty: none.
    pub(super) why: String,
}

/// The way to an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// The interface it leaves by.
    pub(super) device: String,
    /// The next router; `None`: it is on that link.
    pub(super) gateway: Option<IpAddr>,
    /// The address that this host takes for it.
    pub(super) source: Option<IpAddr>,
}

/// The servers of `/etc/resolv.conf`, in its order; without any, a host asks itself (`resolv.conf(5)`).
pub(super) fn servers() -> Vec<IpAddr> {
    let found = named_servers(&fs::read_to_string(RESOLV_CONF).unwrap_or_default());
    if found.is_empty() { vec![IpAddr::from(Ipv4Addr::LOCALHOST)] } else { found }
}

fn named_servers(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    // Of a link-local server only the address counts here.
    servers.filter_map(|server| server.split('%').next()?.parse().ok()).collect()
}

/// Lines of `/etc/hosts` that name `name`: number and address.
pub(super) fn hosts(name: &str) -> Vec<(usize, IpAddr)> {
    in_hosts(&fs::read_to_string(HOSTS).unwrap_or_default(), name)
}

fn in_hosts(text: &str, name: &str) -> Vec<(usize, IpAddr)> {
    let lines = text.lines().zip(1..).filter_map(|(line, number)| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name)).then_some((number, address))
    });
    lines.collect()
}

/// What programs get: `getaddrinfo` with all that this host is set up to ask.
pub(super) fn system(name: &str) -> Result<Vec<IpAddr>, String> {
    let found = (name, 0).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut addresses: Vec<IpAddr> = found.map(|one| one.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// What `server` says of `name`, both families together; `None`: nothing.
pub(super) fn ask(server: IpAddr, name: &str) -> Option<Said> {
    let question = Name::from_utf8(name).ok()?;
    let first = exchange(server, &question, RecordType::A)?;
    let mut said =
        Said { server, code: first.metadata.response_code, chain: Vec::new(), addresses: Vec::new(), why: why(&first) };
    let second = exchange(server, &question, RecordType::AAAA);
    let mut at = Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).ok()?;
    said.chain.push(text(&at));
    let records: Vec<_> = first.answers.iter().chain(second.iter().flat_map(|message| &message.answers)).collect();
    for _ in 0..records.len() {
        let alias = records.iter().find_map(|record| {
            let RData::CNAME(target) = &record.data else { return None };
            same(&record.name, &at).then(|| target.0.clone())
        });
        let Some(target) = alias else { break };
        if said.chain.contains(&text(&target)) {
            break;
        }
        said.chain.push(text(&target));
        at = target;
    }
    for record in records.iter().filter(|record| same(&record.name, &at)) {
        if let RData::A(four) = &record.data {
            said.addresses.push(IpAddr::V4(four.0));
        } else if let RData::AAAA(six) = &record.data {
            said.addresses.push(IpAddr::V6(six.0));
        }
    }
    said.addresses.sort_unstable();
    said.addresses.dedup();
    Some(said)
}

fn same(one: &Name, other: &Name) -> bool {
    text(one) == text(other)
}

fn text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_lowercase()
}

fn why(message: &Message) -> String {
    let option = message.edns.as_ref().and_then(|edns| edns.options().get(EdnsCode::Unknown(EXTENDED_ERROR)).cloned());
    match option {
        Some(EdnsOption::Unknown(_, data)) => String::from_utf8_lossy(data.get(2..).unwrap_or_default()).into_owned(),
        _ => String::new(),
    }
}

fn exchange(server: IpAddr, name: &Name, kind: RecordType) -> Option<Message> {
    let mut whole = name.clone();
    whole.set_fqdn(true);
    let mut message = Message::query();
    message.metadata.id = fastrand::u16(..);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(whole, kind));
    let mut edns = Edns::new();
    edns.set_max_payload(1_232).set_version(0);
    message.set_edns(edns);
    let packet = message.to_vec().ok()?;
    (0..TRIES).find_map(|_| once(server, &packet, message.metadata.id).ok().flatten())
}

fn once(server: IpAddr, packet: &[u8], id: u16) -> io::Result<Option<Message>> {
    let any = if server.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((server, 53))?;
    socket.set_read_timeout(Some(DNS_TIMEOUT))?;
    socket.send(packet)?;
    let mut buffer = [0; 4_096];
    let length = socket.recv(&mut buffer)?;
    let answer = buffer.get(..length).and_then(|bytes| Message::from_vec(bytes).ok());
    Ok(answer.filter(|answer| answer.metadata.id == id))
}

/// The way that a packet to `address` takes from here.
pub(super) fn way(address: IpAddr) -> Result<Way, String> {
    with_routes(async |handle| {
        let message = match address {
            IpAddr::V4(four) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(four, 32).build(),
            IpAddr::V6(six) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(six, 128).build(),
        };
        let route = handle.route().get(message).execute().try_next().await?;
        let mut way = Way::default();
        let mut index = 0;
        for attribute in route.iter().flat_map(|route| &route.attributes) {
            if let RouteAttribute::Oif(oif) = attribute {
                index = *oif;
            } else if let RouteAttribute::Gateway(gateway) = attribute {
                way.gateway = of_route(gateway);
            } else if let RouteAttribute::PrefSource(source) = attribute {
                way.source = of_route(source);
            }
        }
        let mut links = handle.link().get().match_index(index).execute();
        if let Some(link) = links.try_next().await? {
            let name = link.attributes.iter().find_map(|attribute| {
                let LinkAttribute::IfName(name) = attribute else { return None };
                Some(name.clone())
            });
            way.device = name.unwrap_or_default();
        }
        Ok(way)
    })
}

/// Whether an interface called so is here.
pub(super) fn has_device(name: &str) -> bool {
    let asked = with_routes(async |handle| {
        let mut links = handle.link().get().match_name(name.to_owned()).execute();
        Ok(links.try_next().await?.is_some())
    });
    asked.unwrap_or(false)
}

/// The addresses of this host, those of its loopback left out.
pub(super) fn own_addresses() -> Vec<IpAddr> {
    let asked = with_routes(async |handle| {
        let all: Vec<_> = handle.address().get().execute().try_collect().await?;
        let attributes = all.into_iter().flat_map(|message| message.attributes);
        let addresses = attributes.filter_map(|attribute| {
            let (AddressAttribute::Local(address) | AddressAttribute::Address(address)) = attribute else {
                return None;
            };
            Some(address)
        });
        Ok(addresses.filter(|address| !address.is_loopback()).collect())
    });
    asked.unwrap_or_default()
}

fn of_route(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(four) = address {
        return Some(IpAddr::V4(*four));
    }
    let RouteAddress::Inet6(six) = address else { return None };
    Some(IpAddr::V6(*six))
}

fn with_routes<T>(work: impl AsyncFnOnce(rtnetlink::Handle) -> Result<T, rtnetlink::Error>) -> Result<T, String> {
    let told = |error: io::Error| error.to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(told)?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(told)?;
        let driver = tokio::spawn(connection);
        let result = work(handle).await.map_err(|error| {
            let rtnetlink::Error::NetlinkError(message) = error else { return error.to_string() };
            message.to_io().to_string()
        });
        driver.abort();
        result
    })
}

/// Opens a connection, and closes it at once.
pub(super) fn dial(address: IpAddr, port: u16) -> Result<(), String> {
    match TcpStream::connect_timeout(&SocketAddr::new(address, port), DIAL) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(format!("no answer within {DIAL:?}")),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_files_of_this_host_are_read_as_the_system_does() {
        let text = "# nameserver 192.0.2.1\nnameserver 10.1.255.254\nsearch example.com\nnameserver\tfe80::1%eth0\nnameserver x\n";
        assert_eq!(named_servers(text), [ip("10.1.255.254"), ip("fe80::1")]);
        let text = "127.0.0.1 localhost\n\n10.9.9.9  files.example.com Account.blob.core.windows.net # old\n\
                    #10.9.9.8 account.blob.core.windows.net\nfd00::1 account.blob.core.windows.net.\n";
        assert_eq!(in_hosts(text, "account.blob.core.windows.net"), [(3, ip("10.9.9.9")), (5, ip("fd00::1"))]);
        assert_eq!(in_hosts(text, "blob.core.windows.net"), []);
    }
}
