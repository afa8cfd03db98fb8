//! Watches for namespaces that are deleted, or replaced under the same name, while VNets are attached to them. The
//! attachment stays in the old namespace; this only reports it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{Detached, Detachments};
use crate::host::netns::{Namespace, Standing};

/// The time between two checks for the log. A request for the status checks at once.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Compares the namespace of each VNet with the one that has its name now.
pub(super) fn detachments(attached: BTreeMap<String, Namespace>) -> Detachments {
    Arc::new(move || {
        let detached = attached.iter().filter_map(|(vnet, namespace)| {
            let replaced = match namespace.standing() {
                Standing::Current => return None,
                Standing::Unnamed => false,
                Standing::Replaced => true,
            };
            Some((vnet.clone(), Detached { netns: namespace.id().to_string(), replaced }))
        });
        detached.collect()
    })
}

/// Logs each change once.
pub(super) async fn follow(detachments: Detachments) {
    let mut known = BTreeMap::new();
    loop {
        let now = detachments();
        for (vnet, detached) in now.iter().filter(|(vnet, detached)| known.get(*vnet) != Some(*detached)) {
            tracing::error!("{}; {}", detached.says(vnet), Detached::REMEDY);
        }
        known = now;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
