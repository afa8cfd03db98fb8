//! The networks and the configuration that most tests share.

pub(crate) use crate::support::daemon::*;
pub(crate) use crate::support::namespaces::*;
pub(crate) use crate::support::waiting::*;

/// `[daemon]` with two workers, and whatever `extra` says.
pub(crate) fn daemon_table(extra: &str) -> String {
    let workers = if extra.contains("workers") { "" } else { "workers = 2\n" };
    format!("[daemon]\nstate = \"/run/privlink/state\"\nmetrics = \"{METRICS}\"\n{workers}{extra}\n")
}

/// An attachment in the namespace that is called like its VNet.
pub(crate) fn attachment(vnet: &str) -> String {
    format!("[[attachment]]\nvnet = \"{vnet}\"\nnetns = \"{vnet}\"\n")
}

/// The VNet 10.1.0.0/16 with a dedicated subnet for endpoints.
pub(crate) fn consumer_vnet(name: &str, extra: &str) -> String {
    format!(
        "[[vnet]]\nname = \"{name}\"\naddress_space = [\"10.1.0.0/16\"]\n\
         subnets = [{{ name = \"endpoints\", prefix = \"10.1.9.0/24\", dedicated = true }}]\n{extra}\n"
    )
}

/// The VNet 10.20.0.0/16 with a subnet for NAT addresses.
pub(crate) const CORE: &str = "[[vnet]]\nname = \"core\"\naddress_space = [\"10.20.0.0/16\"]\n\
     subnets = [{ name = \"nat\", prefix = \"10.20.99.0/24\", nat = true }]\n";

/// A service that echoes on port 7 (7000 at the backend), TCP and UDP, and answers pings.
pub(crate) fn echo_service(name: &str, backend: &str, nat: &str) -> String {
    format!(
        "[[resource]]\nname = \"{name}\"\nvnet = \"core\"\nnat = [{nat}]\n\
         targets = [{{ backends = [\"{backend}\"], ports = [{{ protocol = \"tcp\", port = 7, backend_port = 7000 }}, \
         {{ protocol = \"udp\", port = 7, backend_port = 7000 }}, {{ protocol = \"icmp\" }}] }}]\n"
    )
}

/// An endpoint of `resource`; `status` is the owner's first decision.
pub(crate) fn endpoint(name: &str, vnet: &str, ip: &str, resource: &str, status: &str) -> String {
    format!(
        "[[endpoint]]\nname = \"{name}\"\nvnet = \"{vnet}\"\nsubnet = \"endpoints\"\nip = \"{ip}\"\n\
         resource = \"{resource}\"\nmanual = true\nstatus = \"{status}\"\n"
    )
}

/// `spoke` and `core`: the service `echo` at 10.20.0.2, and `endpoints` after it.
pub(crate) fn two_sides(daemon: &str, endpoints: &str) -> String {
    [
        daemon_table(daemon),
        attachment("spoke"),
        attachment("core"),
        consumer_vnet("spoke", ""),
        CORE.to_owned(),
        echo_service("echo", "10.20.0.2", "\"10.20.99.4\", \"10.20.99.5\""),
        endpoints.to_owned(),
    ]
    .concat()
}

/// [`two_sides`] with the endpoint `orders` at 10.1.9.4, decided as `status` says.
pub(crate) fn orders(status: &str) -> String {
    two_sides("", &endpoint("orders", "spoke", "10.1.9.4", "echo", status))
}

/// The namespaces of [`two_sides`]; 172.16.0.9 is a host that is no part of the VNet.
pub(crate) fn two_legs() {
    leg("spoke", &["10.1.0.5", "10.1.0.6", "172.16.0.9"]);
    leg("core", &["10.20.0.2", "10.20.0.3"]);
}
