//! `dns` of a VNet, and `[[dns_zone]]`.

use crate::config::read::{At, OneOrMany, table};
use crate::config::values::{IdleTime, Keyword};
use crate::model::{RecordType, ResolutionPolicy};

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
