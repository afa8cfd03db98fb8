//! Private DNS zones of somebody's own: records, links to VNets, and the zones that an endpoint puts its records into.

use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::domain::domain_name;
use super::registry::{Kind, Known};
use super::sentence::Mention;
use super::spelled::{Keyword, Named, OneOrMany, Time, in_order, is_default, time};
use super::{ItemKind, Key, Model, Tags, Vnet, actions};
pub use crate::snapshot::dns::{Mx, RecordData, RecordSet, RecordType, ResolutionPolicy, Soa, Srv};

/// A private DNS zone of your own. Its name is that of the zone, such as "corp.internal".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = in_order::<Self>)]
pub struct DnsZone {
    /// Its records.
    // In the order of name and type; those of endpoints are none of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<WrittenRecord>")]
    pub records: Vec<ZoneRecord>,
    /// VNets whose resolvers answer from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<ZoneLink>,
    /// Its start of authority.
    #[serde(default)]
    #[schemars(skip)]
    pub soa: Soa,
    /// See [`Tags`].
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(skip)]
    pub tags: Tags,
}

/// One record set of a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RecordForm", into = "RecordForm")]
pub struct ZoneRecord {
    /// In lower case and relative to the zone: `www`, `@` for the zone itself, `*` for what has no record.
    pub name: String,
    /// Type, values, and how long they may be kept.
    pub set: RecordSet,
    /// Free words of whoever wrote it.
    pub metadata: Tags,
}

/// All records of one type that a name of the zone has.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Record", transform = in_order::<Self>)]
struct WrittenRecord {
    /// Relative to the zone: "www", "@" for the zone itself, "*" for every name that has none of its own.
    name: String,
    /// Type of the values.
    #[serde(rename = "type")]
    #[schemars(with = "Keyword<RecordType>")]
    kind: RecordType,
    /// How long they may be kept: an hour unless set.
    #[serde(default = "an_hour", with = "time")]
    #[schemars(with = "Time")]
    ttl: Duration,
    /// Addresses, names or texts; "10 mail.example.com" for MX, "0 5 5060 sip.example.com" for SRV.
    #[schemars(with = "OneOrMany<String>")]
    values: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(skip)]
    metadata: Tags,
}

fn an_hour() -> Duration {
    Duration::from_secs(RECORD_TTL.into())
}

/// A record set as people write it. What cannot be said so, as a text in pieces of one's own choice, stands as it is.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum RecordForm {
    Written(WrittenRecord),
    Whole {
        name: String,
        set: RecordSet,
        #[serde(default)]
        metadata: Tags,
    },
}

impl TryFrom<RecordForm> for ZoneRecord {
    type Error = String;

    fn try_from(form: RecordForm) -> Result<Self, String> {
        match form {
            RecordForm::Written(WrittenRecord { name, kind, ttl, values, metadata }) => {
                let data = read_values(kind, &values).map_err(|(_, form)| format!("`{name}` needs {form}"))?;
                let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
                Ok(Self { name, set: RecordSet { ttl, data }, metadata })
            }
            RecordForm::Whole { name, set, metadata } => Ok(Self { name, set, metadata }),
        }
    }
}

impl From<ZoneRecord> for RecordForm {
    fn from(ZoneRecord { name, set, metadata }: ZoneRecord) -> Self {
        let (kind, values) = (set.data.kind(), write_values(&set.data));
        if read_values(kind, &values).as_ref() != Ok(&set.data) {
            return Self::Whole { name, set, metadata };
        }
        Self::Written(WrittenRecord { name, kind, ttl: Duration::from_secs(set.ttl.into()), values, metadata })
    }
}

/// A VNet whose resolver answers from the zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Link", transform = in_order::<Self>)]
pub struct ZoneLink {
    /// Unique within the zone.
    #[serde(default)]
    #[schemars(skip)]
    pub name: String,
    /// Name of the VNet.
    #[schemars(with = "Named<Vnet>")]
    pub vnet: Key,
    /// "Default": a name that the zone does not have does not exist; "NxDomainRedirect": it is asked of the
    /// upstreams.
    #[serde(rename = "resolution_policy", alias = "policy", default)]
    #[schemars(with = "Keyword<ResolutionPolicy>")]
    pub policy: ResolutionPolicy,
    /// Stored: no host of the VNet is registered.
    #[serde(default)]
    #[schemars(skip)]
    pub registration: bool,
    /// See [`Tags`].
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(skip)]
    pub tags: Tags,
}

/// The zones that an endpoint's records stand in (Azure: `privateDnsZoneGroups`); an endpoint has at most one group. Where
/// nobody gave it a name, it is written as the list of its zones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenGroup", into = "WrittenGroup")]
pub struct ZoneGroup {
    /// Its name.
    pub name: String,
    /// At most five.
    pub zones: Vec<GroupZone>,
}

/// One zone of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupZone {
    /// Unique within the group.
    pub name: String,
    /// The zone.
    pub zone: Key,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenGroup {
    Zones(Vec<Key>),
    Group { name: String, zones: Vec<GroupZone> },
}

impl From<WrittenGroup> for ZoneGroup {
    fn from(written: WrittenGroup) -> Self {
        match written {
            WrittenGroup::Zones(zones) => Self::of(zones),
            WrittenGroup::Group { name, zones } => Self { name, zones },
        }
    }
}

impl From<ZoneGroup> for WrittenGroup {
    fn from(group: ZoneGroup) -> Self {
        let zones: Vec<Key> = group.zones.iter().map(|one| one.zone.clone()).collect();
        if group == ZoneGroup::of(zones.clone()) {
            return Self::Zones(zones);
        }
        Self::Group { name: group.name, zones: group.zones }
    }
}

impl ZoneGroup {
    /// What a group is called that nobody named.
    pub const DEFAULT: &'static str = "default";

    /// A group of `zones`, each named after its zone as Azure's portal does.
    pub fn of(zones: impl IntoIterator<Item = Key>) -> Self {
        let named = |zone: Key| GroupZone { name: zone.name.to_lowercase().replace('.', "-"), zone };
        Self { name: Self::DEFAULT.to_owned(), zones: zones.into_iter().map(named).collect() }
    }
}

impl ZoneRecord {
    /// The whole name in `zone`, in lower case and without the dot at the end.
    pub fn fqdn(&self, zone: &str) -> String {
        whole(&self.name, zone)
    }
}

/// `name` of `zone` in full, in lower case.
pub fn whole(name: &str, zone: &str) -> String {
    let zone = zone.to_lowercase();
    if name == APEX { zone } else { format!("{}.{zone}", name.to_lowercase()) }
}

/// Stands for the zone itself.
pub const APEX: &str = "@";

/// How long a record of one's own may be kept unless it says so, as in Azure: an hour.
pub const RECORD_TTL: u32 = 3_600;

/// Values of one type as people write them: an address, a name, `10 mail.example.com` for MX, `0 5 5060
/// sip.example.com` for SRV, any text for TXT.
///
/// # Errors
/// Which value is not one of the type, and what one looks like.
pub fn read_values(kind: RecordType, values: &[String]) -> Result<RecordData, (usize, &'static str)> {
    let numbered = || values.iter().enumerate();
    let name = |text: &str| domain_name(text, false).map(|name| name.as_str().into());
    let each = |index: usize, form: &'static str| move || (index, form);
    Ok(match kind {
        RecordType::A => {
            let form = "an IPv4 address, such as \"10.1.9.4\"";
            let read = |(at, text): (usize, &String)| text.parse().map_err(|_| (at, form));
            RecordData::A(numbered().map(read).collect::<Result<_, _>>()?)
        }
        RecordType::Aaaa => {
            let form = "an IPv6 address, such as \"fd00::4\"";
            let read = |(at, text): (usize, &String)| text.parse().map_err(|_| (at, form));
            RecordData::Aaaa(numbered().map(read).collect::<Result<_, _>>()?)
        }
        RecordType::Cname => {
            let form = "one whole name, such as \"db.example.com\"";
            match values {
                [] => RecordData::none(kind),
                [one] => RecordData::Cname(name(one).ok_or((0, form))?),
                _ => return Err((1, form)),
            }
        }
        RecordType::Ptr => {
            let form = "a whole name, such as \"db.example.com\"";
            RecordData::Ptr(
                numbered().map(|(at, text)| name(text).ok_or_else(each(at, form))).collect::<Result<_, _>>()?,
            )
        }
        RecordType::Mx => {
            let form = "a preference and a server, such as \"10 mail.example.com\"";
            let read = |text: &str| match text.split_whitespace().collect::<Vec<_>>().as_slice() {
                [preference, exchange] => Some(Mx { preference: preference.parse().ok()?, exchange: name(exchange)? }),
                _ => None,
            };
            RecordData::Mx(
                numbered().map(|(at, text)| read(text).ok_or_else(each(at, form))).collect::<Result<_, _>>()?,
            )
        }
        RecordType::Srv => {
            let form = "priority, weight, port and server, such as \"0 5 5060 sip.example.com\"";
            let read = |text: &str| match text.split_whitespace().collect::<Vec<_>>().as_slice() {
                [priority, weight, port, target] => Some(Srv {
                    priority: priority.parse().ok()?,
                    weight: weight.parse().ok()?,
                    port: port.parse().ok()?,
                    target: name(target)?,
                }),
                _ => None,
            };
            RecordData::Srv(
                numbered().map(|(at, text)| read(text).ok_or_else(each(at, form))).collect::<Result<_, _>>()?,
            )
        }
        RecordType::Txt => RecordData::Txt(values.iter().map(|text| pieces(text)).collect()),
    })
}

/// A text in strings of at most 255 bytes (RFC 1035 §3.3.14), no character cut in two.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for letter in text.chars() {
        match pieces.last_mut() {
            Some(last) if last.len() + letter.len_utf8() <= TXT_PIECE => last.push(letter),
            _ => pieces.push(letter.to_string()),
        }
    }
    pieces
}

/// Bytes of one string of a TXT record at most (RFC 1035 §3.3).
pub const TXT_PIECE: usize = 255;

/// The values as people write them; what [`read_values`] reads.
pub fn write_values(data: &RecordData) -> Vec<String> {
    match data {
        RecordData::A(all) => all.iter().map(|one| IpAddr::from(*one).to_string()).collect(),
        RecordData::Aaaa(all) => all.iter().map(|one| IpAddr::from(*one).to_string()).collect(),
        RecordData::Cname(one) if one.is_empty() => Vec::new(),
        RecordData::Cname(one) => vec![one.to_string()],
        RecordData::Mx(all) => all.iter().map(|one| format!("{} {}", one.preference, one.exchange)).collect(),
        RecordData::Ptr(all) => all.iter().map(ToString::to_string).collect(),
        RecordData::Srv(all) => {
            all.iter().map(|one| format!("{} {} {} {}", one.priority, one.weight, one.port, one.target)).collect()
        }
        RecordData::Txt(all) => all.iter().map(|pieces| pieces.concat()).collect(),
    }
}

impl DnsZone {
    /// The record set of `kind` at `name`, which is in lower case.
    pub fn record(&self, name: &str, kind: RecordType) -> Option<&ZoneRecord> {
        self.place(name, kind).ok().and_then(|at| self.records.get(at))
    }

    /// Where the set stands, or would.
    fn place(&self, name: &str, kind: RecordType) -> Result<usize, usize> {
        self.records.binary_search_by(|one| (one.name.as_str(), one.set.data.kind()).cmp(&(name, kind)))
    }

    /// Makes or replaces a record set.
    pub fn put(&mut self, record: ZoneRecord) {
        match self.place(&record.name, record.set.data.kind()) {
            Ok(at) => self.records.get_mut(at).into_iter().for_each(|place| *place = record.clone()),
            Err(at) => self.records.insert(at, record),
        }
    }

    /// Removes a record set, and returns whether there was one.
    pub fn remove(&mut self, name: &str, kind: RecordType) -> bool {
        let place = self.place(name, kind);
        place.map(|at| self.records.remove(at)).is_ok()
    }
}

impl Kind for DnsZone {
    const SINGULAR: &'static str = "dns zone";
    const TYPE: &'static str = actions::DNS_ZONES;

    /// A link is called as its VNet unless it has a name.
    fn complete(&mut self, _: &Known<'_>) {
        for link in self.links.iter_mut().filter(|link| link.name.is_empty()) {
            link.name.clone_from(&link.vnet.name);
        }
    }

    /// Tags, the start of authority, metadata of records, and what links are called.
    fn adopt(&self, live: &Self) -> Self {
        let mut zone = Self { tags: live.tags.clone(), soa: live.soa.clone(), ..self.clone() };
        for record in &mut zone.records {
            if let Some(before) = live.record(&record.name, record.set.data.kind()) {
                record.metadata.clone_from(&before.metadata);
            }
        }
        for link in &mut zone.links {
            if let Some(before) = live.links.iter().find(|before| before.vnet == link.vnet) {
                *link = ZoneLink { policy: link.policy, ..before.clone() };
            }
        }
        zone
    }

    fn users(model: &Model, key: &Key, stays: &dyn Fn(&Key) -> bool) -> Vec<Mention> {
        let users = model.endpoints.iter().filter(|(name, endpoint)| {
            let mut groups = endpoint.zone_group.iter();
            groups.any(|group| group.zones.iter().any(|one| one.zone == *key)) && stays(name)
        });
        users.map(|(name, _)| Mention::of(ItemKind::Endpoint, name, format_args!("endpoint {name}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_are_written_and_what_is_none_says_how_one_looks() {
        let lists = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        for (kind, values) in [
            (RecordType::A, vec!["10.1.9.4", "10.1.9.5"]),
            (RecordType::Aaaa, vec!["fd00::4"]),
            (RecordType::Cname, vec!["db.example.com"]),
            (RecordType::Cname, vec![]),
            (RecordType::A, vec![]),
            (RecordType::Mx, vec!["10 mail.example.com", "20 spare.example.com"]),
            (RecordType::Ptr, vec!["db.example.com"]),
            (RecordType::Srv, vec!["0 5 5060 sip.example.com"]),
            (RecordType::Txt, vec!["v=spf1 -all", ""]),
        ] {
            let data = read_values(kind, &lists(&values)).unwrap_or_else(|(_, form)| panic!("{kind}: {form}"));
            assert_eq!((data.kind(), write_values(&data)), (kind, lists(&values)));
        }
        for (kind, values, at) in [
            (RecordType::A, vec!["10.1.9.4", "fd00::4"], 1),
            (RecordType::Aaaa, vec!["10.1.9.4"], 0),
            (RecordType::Cname, vec!["a.example", "b.example"], 1),
            (RecordType::Mx, vec!["mail.example.com"], 0),
            (RecordType::Srv, vec!["0 5 99999 sip.example.com"], 0),
            (RecordType::Ptr, vec!["not a name"], 0),
        ] {
            assert_eq!(read_values(kind, &lists(&values)).map_err(|(at, _)| at), Err(at), "{kind} {values:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "é".repeat(300);
        let Ok(RecordData::Txt(texts)) = read_values(RecordType::Txt, std::slice::from_ref(&text)) else {
            panic!("a text");
        };
        assert!(texts[0].len() == 3 && texts[0].iter().all(|piece| piece.len() <= TXT_PIECE), "{texts:?}");
        assert_eq!(texts[0].concat(), text);
    }

    #[test]
    fn a_name_is_of_labels_that_fit() {
        for (text, wildcard, expected) in [
            ("Db.Example.com.", false, Some("db.example.com")),
            ("_sip._tcp", false, Some("_sip._tcp")),
            ("*.dev", true, Some("*.dev")),
            ("*.dev", false, None),
            ("dev.*", true, None),
            ("a..b", false, None),
            ("", false, None),
            ("bücher.example", false, None),
        ] {
            assert_eq!(domain_name(text, wildcard).as_deref(), expected, "{text}");
        }
        assert!(domain_name(&"a".repeat(64), false).is_none());
        assert!(domain_name(&["a"; 128].join("."), false).is_none());
    }

    #[test]
    fn a_set_is_found_by_name_and_type_and_stands_once() {
        let mut zone = DnsZone::default();
        let record = |name: &str, kind, value: &str| ZoneRecord {
            name: name.into(),
            set: RecordSet { ttl: 10, data: read_values(kind, &[value.to_owned()]).expect("a value") },
            metadata: Tags::new(),
        };
        for (name, kind, value) in [
            ("www", RecordType::A, "10.0.0.1"),
            ("@", RecordType::Txt, "hello"),
            ("www", RecordType::Txt, "there"),
            ("www", RecordType::A, "10.0.0.2"),
        ] {
            zone.put(record(name, kind, value));
        }
        let names: Vec<_> = zone.records.iter().map(|one| (one.name.as_str(), one.set.data.kind())).collect();
        assert_eq!(names, [("@", RecordType::Txt), ("www", RecordType::A), ("www", RecordType::Txt)]);
        let found = zone.record("www", RecordType::A).expect("there");
        assert_eq!(
            (found.fqdn("Example.com"), write_values(&found.set.data)),
            ("www.example.com".into(), vec!["10.0.0.2".to_owned()])
        );
        assert!(zone.remove("www", RecordType::A) && !zone.remove("www", RecordType::A));
    }
}
