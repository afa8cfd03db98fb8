//! `dns` of a VNet, and `[[dns_zone]]`.

use crate::config::read::{At, OneOrMany, table};
use crate::config::values::{Address, IdleTime, Keyword};
use crate::model::{ConnectionState, RecordType, ResolutionPolicy};

table! {
    /// A VNet's resolver.
    Dns {
        /// Addresses to listen on.
        "listen" listen Optional OneOrMany<Address>,
        /// Servers for all other names; without any they are refused.
        "upstream" upstream Optional OneOrMany<Address>,
        /// States of a connection that answer with the address: "Approved" unless set.
        "answer" answer Optional OneOrMany<Keyword<ConnectionState>>,
        /// How long an answer may be kept: 10 seconds unless set.
        "ttl" ttl Optional At<IdleTime>,
        /// Names of endpoints in peered VNets that may answer here, such as "api.example.com" or "*.example.com",
        /// besides those that answer by themselves.
        "accept_names" accept_names Optional OneOrMany<String>,
    }
}

table! {
    /// A private DNS zone of your own.
    DnsZone {
        /// Name of the zone, such as "corp.internal"; unique in its resource group.
        "name" name Required At<String>,
        /// Resource group.
        "resource_group" resource_group Optional At<String>,
        /// Owning subscription.
        "subscription" subscription Optional At<String>,
        /// Its records.
        "records" records Optional Vec<Record>,
        /// VNets whose resolvers answer from it.
        "links" links Optional Vec<Link>,
    }
}

table! {
    /// All records of one type that a name of the zone has.
    Record {
        /// Relative to the zone: "www", "@" for the zone itself, "*" for every name that has none of its own.
        "name" name Required At<String>,
        /// Type of the values.
        "type" kind Required At<Keyword<RecordType>>,
        /// How long they may be kept: an hour unless set.
        "ttl" ttl Optional At<IdleTime>,
        /// Addresses, names or texts; "10 mail.example.com" for MX, "0 5 5060 sip.example.com" for SRV.
        "values" values Required OneOrMany<String>,
    }
}

table! {
    /// A VNet whose resolver answers from the zone.
    Link {
        /// Name of the VNet.
        "vnet" vnet Required At<String>,
        /// "Default": a name that the zone does not have does not exist; "NxDomainRedirect": it is asked of the
        /// upstreams.
        "resolution_policy" resolution_policy Optional At<Keyword<ResolutionPolicy>>,
    }
}
