//! The paths of this program's own.

use axum::Router;
use axum::routing::{delete, get, post};

use super::ApiState;

/// Roles, assignments, tokens.
mod access;

/// Commands.
mod changes;

/// What is not as it should be.
pub(super) mod conditions;

/// Decisions about connections.
mod decisions;

/// Private names.
mod dns;

/// What becomes of a name.
mod dns_explain;

/// Private DNS zones.
mod dns_zones;

/// What `doctor` needs to know.
mod doctor;

/// Documents of any author.
mod documents;

/// Interfaces and groups.
mod inventory;

/// Names that will surprise somebody.
mod lint;

/// Lists, objects, status, flows, explain.
mod reads;

/// Rule sets.
mod security_groups;

/// Quotas and rates.
mod usage;

/// Waiting for a change.
mod watch;

/// Who used a NAT address and port.
mod who;

/// Everything below `/v1`.
pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/status", get(reads::status))
        .route("/flows", get(reads::flows))
        .route("/who", get(who::who))
        .route("/explain", get(reads::explain))
        .route("/endpoints", get(reads::endpoints))
        .route("/endpoints/{endpoint}", get(reads::endpoint).merge(delete(changes::delete_endpoint)))
        .route("/endpoints/{endpoint}/accept-names", post(changes::accept_names))
        .route("/connections", get(reads::connections))
        .route("/connections/{endpoint}", get(reads::connection))
        .route("/connections/{endpoint}/approve", post(decisions::approve))
        .route("/connections/{endpoint}/reject", post(decisions::reject))
        .route("/connections/{endpoint}/remove", post(decisions::remove))
        .route("/resources", get(reads::resources))
        .route("/resources/{resource}", get(reads::resource).merge(delete(changes::delete_resource)))
        .route("/nics", get(inventory::nics))
        .route("/nics/{nic}", get(inventory::nic))
        .route("/groups", get(inventory::groups))
        .route("/resources/{resource}/connections/approve", post(decisions::approve_all))
        .route("/resources/{resource}/connections/reject", post(decisions::reject_all))
        .route("/vnets", get(reads::vnets))
        .route("/vnets/{vnet}/dns", get(dns::plan))
        .route("/vnets/{vnet}/diagnosis", get(doctor::diagnosis))
        .route("/vnets/{vnet}/dns/explain", get(dns_explain::explain))
        .route("/vnets/{vnet}", get(reads::vnet).merge(delete(changes::delete_vnet)))
        .route("/dns-zones", get(dns_zones::list))
        .route("/dns-zones/{zone}", get(dns_zones::one))
        .route("/lint", get(lint::lint))
        .route("/security-groups", get(security_groups::list))
        .route("/security-groups/{group}", get(security_groups::one).delete(security_groups::delete))
        .route("/epoch", get(watch::epoch))
        .route("/roles", get(access::roles).post(access::create_role))
        .route("/roles/{role}", get(access::role).delete(access::delete_role))
        .route("/assignments", get(access::assignments).post(access::create_assignment))
        .route("/assignments/{id}", get(access::assignment).delete(access::delete_assignment))
        .route("/tokens", get(access::tokens).post(access::create_token))
        .route("/tokens/{name}", delete(access::revoke_token))
        .route("/tokens/{name}/rotate", post(access::rotate_token))
        .route("/access/why", get(access::why))
        .route("/whoami", get(access::whoami))
        .route("/apply", post(documents::apply_document))
        .route("/export", get(documents::export))
        .route("/backup", post(documents::backup))
        .route("/usage", get(usage::usage))
        .route("/audit", get(reads::audit))
        .route("/audit/verify", get(reads::verify))
        .route("/audit/export", get(reads::export))
        .route("/ca", get(reads::authority))
        .route("/reload", post(changes::reload))
}
