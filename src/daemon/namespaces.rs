//! Namespaces that are deleted, or deleted and made anew under the same name, while VNets are attached to them. The
//! attachment goes on in the old one; this only says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{Detached, Detachments};
use crate::host::netns::{Namespace, Standing};

/// Between two looks at the names, for the log; whoever asks for the status has them looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Compares the namespace of each VNet with what its name stands for now.
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
