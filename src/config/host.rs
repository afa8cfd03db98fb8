//! `[daemon]` and `[[attachment]]` to the host's configuration.

use strum::VariantArray as _;

use super::build::Builder;
use super::file::{Attachment, Daemon, File, LimitsTable};
use super::read::At;
use super::values::Shorthand;
use crate::model::ids::ArmId;
use crate::model::rules::Object;
use crate::model::{
    ApiListener, AttachmentSpec, AuditLimits, DEFAULT, FlowLog, HostConfig, Key, Limits, Pinned, Quota, Quotas, Vnet,
    ids,
};

/// Where the durable state is unless the file says otherwise.
const STATE: &str = "/var/lib/privlink";

/// Where the control socket is unless the file says otherwise.
const SOCKET: &str = "/run/privlink/privlink.sock";

/// Sessions the daemon may hold unless the file says otherwise.
const MAX_SESSIONS: u32 = 1 << 20;

/// Answers to denied packets per second, worker and VNet.
const DENY_RATE: u32 = 1_000;

/// Of an attachment's device, bytes: Ethernet's.
const MTU: u16 = 1_500;

impl Builder {
    /// The daemon's file of the release before marks no subnet: for this release, one in which a resource of the file has
    /// NAT addresses counts as marked.
    pub(super) fn imply_nat(&mut self) {
        for (key, name) in crate::model::imply_nat(&mut self.model) {
            let index =
                self.model.vnets.get(&key).and_then(|vnet| vnet.subnets.iter().position(|one| one.name == name));
            let at = Object::Vnet(key.clone()).at(format!("subnets[{}]", index.unwrap_or_default()));
            let span = self.find(at);
            let message = format!("subnet `{name}` holds NAT addresses and has no `nat = true`");
            self.warning(&span, &message, "add `nat = true` to it: the next release refuses new NAT addresses without");
        }
    }

    /// Builds the host's configuration.
    pub(super) fn host(&mut self, file: &File) -> HostConfig {
        let absent = Daemon::default();
        let table = file.daemon.as_ref().unwrap_or(&absent);
        let object = Object::Daemon;
        self.place(object.at(""), &table.span);
        self.broken(&object, table.broken || (file.attachments.is_none() && file.broken));
        let attachments = file.attachments.iter().flatten().enumerate();
        let attachments = attachments.map(|(index, attachment)| self.attachment(index, attachment)).collect();
        HostConfig {
            state: self.value(&object, "state", table.state.as_ref()).unwrap_or_else(|| STATE.to_owned()).into(),
            socket: self.value(&object, "socket", table.socket.as_ref()).unwrap_or_else(|| SOCKET.to_owned()).into(),
            socket_group: self.value(&object, "socket_group", table.socket_group.as_ref()),
            api: self.api(table),
            metrics: self.value(&object, "metrics", table.metrics.as_ref()).map(|listener| listener.0),
            workers: self.value(&object, "workers", table.workers.as_ref()),
            offload: self.value(&object, "offload", table.offload.as_ref()).unwrap_or(true),
            max_sessions: self.value(&object, "max_sessions", table.max_sessions.as_ref()).unwrap_or(MAX_SESSIONS),
            on_exit: self.value(&object, "on_exit", table.on_exit.as_ref()).map(|word| word.0).unwrap_or_default(),
            deny: self.value(&object, "deny", table.deny.as_ref()).map(|word| word.0).unwrap_or_default(),
            deny_rate: self.value(&object, "deny_rate", table.deny_rate.as_ref()).unwrap_or(DENY_RATE),
            timeouts: self.part(&object, "timeouts", table.timeouts.as_ref()),
            limits: limits(table),
            quotas: self.quotas(table),
            on_request: self.on_request(table),
            flow_log: flow_log(table),
            audit: audit(table),
            cloud: self.value(&object, "cloud", table.cloud.as_ref()).map(|word| word.0).unwrap_or_default(),
            attachments,
        }
    }

    fn quotas(&mut self, table: &Daemon) -> Quotas {
        let Some(table) = &table.quotas else { return Quotas::default() };
        Quota::VARIANTS.iter().fold(Quotas::default(), |quotas, &quota| {
            let limit = match quota {
                Quota::VnetsPerSubscription => &table.vnets_per_subscription,
                Quota::ResourcesPerSubscription => &table.resources_per_subscription,
                Quota::NatIpsPerResource => &table.nat_ips_per_resource,
                Quota::EndpointsPerSubscription => &table.endpoints_per_subscription,
                Quota::EndpointsPerVnet => &table.endpoints_per_vnet,
                Quota::EndpointsPerResource => &table.endpoints_per_resource,
            };
            let limit = self.value(&Object::Daemon, &format!("quotas.{}", quota.name()), limit.as_ref());
            quotas.with(quota, limit.map(u64::from))
        })
    }

    fn api(&mut self, table: &Daemon) -> Option<ApiListener> {
        let object = Object::Daemon;
        let api = self.value(&object, "api", table.api.as_ref());
        let mut certificate = None;
        if let Some(tls) = &table.tls {
            self.place(object.at("tls"), &tls.span);
            let (cert, key) =
                (self.value(&object, "tls.cert", tls.cert.as_ref()), self.value(&object, "tls.key", tls.key.as_ref()));
            certificate = cert.zip(key).map(|(cert, key)| (cert.into(), key.into()));
            if certificate.is_none() {
                self.error(&object, &tls.span, "`tls` needs both `cert` and `key`", "name both files, or leave it out");
            } else if api.is_none_or(|api| api.1) {
                let remedy = "set `api` to an address without `http://`, or leave `tls` out";
                self.warning(&tls.span, "nothing is served over HTTPS: `tls` has no effect", remedy);
            }
        }
        api.map(|api| ApiListener { address: api.0, plain: api.1, certificate })
    }

    /// One string is split at blanks; a list is taken as it stands, so that an argument may hold blanks.
    fn on_request(&mut self, table: &Daemon) -> Vec<String> {
        let Some(list) = &table.on_request else { return Vec::new() };
        let mut words = self.values(&Object::Daemon, "on_request", Some(list));
        if let [line] = list.items.as_slice()
            && line.span == list.span
        {
            words = line.value.split_whitespace().map(str::to_owned).collect();
        }
        if words.first().is_none_or(|program| program.trim().is_empty()) {
            let remedy = "write a program and its arguments, such as \"/usr/local/bin/notify approvals\"";
            self.error(&Object::Daemon, &list.span, "`on_request` names no program", remedy);
        }
        words
    }

    /// The VNet of an attachment. One named in full may be created later, over the API.
    fn attached(&mut self, name: &At<String>) -> Key {
        let key = match ArmId::parse(&name.value) {
            Ok(id) if id.is(ids::VNET) => Some(id.key().clone()),
            Ok(_) | Err(_) if ArmId::is_meant(&name.value) => None,
            Ok(_) | Err(_) => Some(&name.value)
                .filter(|text| text.split('/').count() == 3)
                .map(|text| Key::new(DEFAULT, "").beside(text)),
        };
        match key.filter(|key| self.known().get::<Vnet>(key).is_none() && !self.declares::<Vnet>(key)) {
            Some(later) => later,
            None => self.refer::<Vnet>(&Key::new(DEFAULT, ""), name),
        }
    }

    fn attachment(&mut self, index: usize, table: &Attachment) -> AttachmentSpec {
        let object = Object::Attachment(index);
        self.place(object.at(""), &table.span);
        self.broken(&object, table.broken);
        self.value(&object, "vnet", table.vnet.as_ref());
        let vnet = match &table.vnet {
            Some(name) => {
                // A derived device name is wrong where the name that it comes from stands.
                self.place(object.at("device"), &name.span);
                self.attached(name)
            }
            None => Key::new("", ""),
        };
        let device = self.value(&object, "device", table.device.as_ref());
        AttachmentSpec {
            netns: self.value(&object, "netns", table.netns.as_ref()),
            device: device.unwrap_or_else(|| format!("pl-{}", vnet.name)),
            mtu: self.value(&object, "mtu", table.mtu.as_ref()).unwrap_or(MTU),
            proxy_on: self.values(&object, "proxy_on", table.proxy_on.as_ref()),
            reach: self.values(&object, "reach", table.reach.as_ref()).into_iter().map(|prefix| prefix.0).collect(),
            allow: table
                .allow
                .as_ref()
                .map(|list| self.values(&object, "allow", Some(list)).into_iter().map(|prefix| prefix.0).collect()),
            pinned: Pinned { allow: table.allow.is_some(), reach: table.reach.is_some() },
            vnet,
        }
    }
}

fn limits(table: &Daemon) -> Limits {
    let (base, rows) = match &table.limits {
        None => return Limits::default(),
        Some(Shorthand::Keyword(word)) => return word.value.0,
        Some(Shorthand::Table(rows)) => (rows.base.as_ref().map_or(Limits::TODAY, |base| base.value.0), rows),
    };
    let LimitsTable { network_policies, service_endpoints, cross_region, workloads, .. } = &**rows;
    let row = |named: &Option<super::read::At<bool>>, base| named.as_ref().map_or(base, |named| named.value);
    Limits {
        network_policies: row(network_policies, base.network_policies),
        service_endpoints: row(service_endpoints, base.service_endpoints),
        cross_region: row(cross_region, base.cross_region),
        workloads: row(workloads, base.workloads),
    }
}

fn audit(table: &Daemon) -> AuditLimits {
    let default = AuditLimits::default();
    table.audit.as_ref().map_or(default, |table| AuditLimits {
        retain: table.retain.as_ref().map_or(default.retain, |retain| retain.value.0),
        max_bytes: table.max_bytes.as_ref().map_or(default.max_bytes, |size| size.value.0),
    })
}

fn flow_log(table: &Daemon) -> Option<FlowLog> {
    let default = FlowLog::default();
    match &table.flow_log {
        Some(Shorthand::Keyword(on)) if !on.value => None,
        None | Some(Shorthand::Keyword(_)) => Some(default),
        Some(Shorthand::Table(table)) => Some(FlowLog {
            retain: table.retain.as_ref().map_or(default.retain, |retain| retain.value.0),
            max_bytes: table.max_bytes.as_ref().map_or(default.max_bytes, |size| size.value.0),
        }),
    }
}
