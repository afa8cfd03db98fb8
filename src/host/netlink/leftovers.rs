//! Routes and rules of our protocol that lead to no device.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::IpVersion;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

use super::{Kernel, explain};
use crate::host::step::{Action, PROTOCOL, Rule, RuleVerdict};

const OURS: RouteProtocol = RouteProtocol::Other(PROTOCOL);

impl Kernel {
    /// What a daemon of ours has left in the namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub(in crate::host) fn leftovers(&self) -> anyhow::Result<Vec<Action>> {
        let mut found = Vec::new();
        for (family, version) in [(AddressFamily::Inet, IpVersion::V4), (AddressFamily::Inet6, IpVersion::V6)] {
            found.extend(self.routes(family)?.iter().filter_map(unreachable));
            let rules: Vec<RuleMessage> =
                match self.runtime.block_on(self.handle.rule().get(version).execute().try_collect()) {
                    Ok(rules) => rules,
                    // Without IPv6 there are no rules of it.
                    Err(_) if family == AddressFamily::Inet6 => Vec::new(),
                    Err(error) => return Err(explain(error)),
                };
            found.extend(rules.iter().filter_map(rule).map(Action::Rule));
        }
        Ok(found)
    }
}

fn unreachable(route: &RouteMessage) -> Option<Action> {
    let closes = matches!(route.header.kind, RouteType::Unreachable | RouteType::BlackHole);
    if route.header.protocol != OURS || !closes {
        return None;
    }
    let ipv4 = route.header.address_family == AddressFamily::Inet;
    let mut destination = if ipv4 { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let mut table = u32::from(route.header.table);
    for attribute in &route.attributes {
        if let RouteAttribute::Table(id) = attribute {
            table = *id;
        } else if let RouteAttribute::Destination(RouteAddress::Inet(address)) = attribute {
            destination = (*address).into();
        } else if let RouteAttribute::Destination(RouteAddress::Inet6(address)) = attribute {
            destination = (*address).into();
        }
    }
    let prefix = IpNet::new(destination, route.header.destination_prefix_length).ok()?;
    Some(Action::Unreachable { prefix, table })
}

fn rule(message: &RuleMessage) -> Option<Rule> {
    let (mut priority, mut input, mut ours) = (None, None, false);
    let (mut table, mut target) = (u32::from(message.header.table), None);
    for attribute in &message.attributes {
        if let RuleAttribute::Priority(found) = attribute {
            priority = Some(*found);
        } else if let RuleAttribute::Protocol(protocol) = attribute {
            ours = *protocol == OURS;
        } else if let RuleAttribute::Iifname(name) = attribute {
            input = Some(name.clone());
        } else if let RuleAttribute::Table(found) = attribute {
            table = *found;
        } else if let RuleAttribute::Goto(found) = attribute {
            target = Some(*found);
        }
    }
    let verdict = match (message.header.action, target) {
        (RuleAction::ToTable, _) => RuleVerdict::Lookup(table),
        (RuleAction::Goto, Some(target)) => RuleVerdict::Goto(target),
        (RuleAction::Nop, _) => RuleVerdict::Nop,
        _ => return None,
    };
    let ipv6 = message.header.family == AddressFamily::Inet6;
    ours.then_some(())?;
    Some(Rule { priority: priority?, ipv6, input, verdict })
}
