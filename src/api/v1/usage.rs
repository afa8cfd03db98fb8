//! `GET /v1/usage`: quotas and rates, and what is used of them.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};

use super::{Call, ListResult};
use crate::access::rights::Right;
use crate::api::ApiState;
use crate::control::View;
use crate::model::rules::{QuotaScope, short};
use crate::model::{Key, LinkResource, PrivateEndpoint, Quota, Rates, Scope, actions, rules};
use crate::observe::{EndpointTotals, Sample};
use crate::types::{List, Usage};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/usage", get(usage))
}

/// For how long traffic is watched where something has a rate: a rate counts by the second.
const WATCHED: Duration = Duration::from_secs(1);

/// Quotas and what counts against them; rates and what passed in the second that the answer took.
async fn usage(Call { state, caller }: Call) -> ListResult<Usage> {
    let view = state.control.view().seen_by(&caller);
    let quota = |line: rules::Usage| Usage {
        quota: line.quota.to_owned(),
        scope: line.scope,
        used: line.used,
        limit: line.limit,
    };
    let whole = state.control.view();
    let (model, rights) = (&whole.state.model, whole.rights(&caller));
    // Whether somebody knows a count follows from rights alone: else what is left out would tell of what is unseen.
    let knows = |quota: Quota, scope: &QuotaScope| match scope {
        QuotaScope::Subscription(name) => {
            let scope = Scope::subscription(name);
            match quota {
                Quota::VnetsPerSubscription => whole.reads(&caller, &[actions::NETWORKS], &scope),
                Quota::EndpointsPerSubscription => whole.reads(&caller, &[actions::ENDPOINTS], &scope),
                Quota::ResourcesPerSubscription
                | Quota::NatIpsPerResource
                | Quota::EndpointsPerVnet
                | Quota::EndpointsPerResource => whole.reads_all(&caller, &scope),
            }
        }
        // Endpoints of any subscription may be in a VNet.
        QuotaScope::Vnet(_) => whole.reads(&caller, &[actions::ENDPOINTS], &Scope::root()),
        QuotaScope::Resource(_) if quota == Quota::NatIpsPerResource => true,
        QuotaScope::Resource(key) => rights.hold(&Right::connections(model, key)),
    };
    let quotas = rules::usage(&view.state.model, model, &view.host.quotas, knows);
    let mut lines: Vec<Usage> = quotas.into_iter().map(quota).collect();
    let rated = Rated::all(&view);
    if !rated.is_empty() {
        let before = state.observer.sample();
        tokio::time::sleep(WATCHED).await;
        let after = state.observer.sample();
        lines.extend(rated.iter().flat_map(|rated| rated.lines(&before, &after)));
    }
    Ok(Json(List::new(lines)))
}

/// Something that has rates.
struct Rated {
    scope: String,
    name: String,
    rates: Rates,
    totals: fn(&Sample) -> &BTreeMap<String, EndpointTotals>,
}

impl Rated {
    fn all(view: &View) -> Vec<Self> {
        let model = &view.state.model;
        let endpoint = |(key, one): (&Key, &PrivateEndpoint)| {
            let (scope, name) = (format!("endpoint {}", short(key)), key.to_string());
            Some(Self { scope, name, rates: one.rates?, totals: |sample| &sample.endpoints })
        };
        let resource = |(key, one): (&Key, &LinkResource)| {
            let (scope, name) = (format!("resource {}", short(key)), key.to_string());
            Some(Self { scope, name, rates: one.rates?, totals: |sample| &sample.resources })
        };
        model.endpoints.iter().filter_map(endpoint).chain(model.resources.iter().filter_map(resource)).collect()
    }

    /// One line for each direction of the bits, and one for the sessions.
    fn lines(&self, before: &Sample, after: &Sample) -> impl Iterator<Item = Usage> {
        let of = |sample| (self.totals)(sample).get(&self.name).copied().unwrap_or_default();
        let (before, after) = (of(before), of(after));
        let bits = |before: u64, after: u64| after.saturating_sub(before) * 8;
        let to_service = bits(before.bytes_to_service, after.bytes_to_service);
        let to_consumer = bits(before.bytes_to_consumer, after.bytes_to_consumer);
        let opened = after.sessions_opened.saturating_sub(before.sessions_opened);
        let Rates { bits_per_second, new_sessions_per_second } = self.rates;
        let sessions = new_sessions_per_second.map(u64::from);
        let lines = [
            ("bits_per_second_to_service", to_service, bits_per_second),
            ("bits_per_second_to_consumer", to_consumer, bits_per_second),
            ("new_sessions_per_second", opened, sessions),
        ];
        let limited = lines.into_iter().filter(|(_, _, limit)| limit.is_some());
        limited.map(|(quota, used, limit)| Usage {
            quota: quota.to_owned(),
            scope: self.scope.clone(),
            used: Some(used),
            limit,
        })
    }
}
